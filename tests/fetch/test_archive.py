"""Hostile and damaged archives, one by one; and that good ones come out as they went in."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinysight.errors import FetchError
from tinysight.fetch import Limits, extract
from tinysight.fetch.archive import name_problem

GOOD = {
    "m/inference.pdmodel": b"program",
    "m/inference.pdiparams": bytes(range(256)) * 300,
    "m/empty": b"",
    "é/ü.txt": b"x",
}


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, body in files.items():
            archive.addfile(entry(name, body), io.BytesIO(body))
    return buffer.getvalue()


def entry(name: str, body: bytes = b"", **attributes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def tar_of(*infos: tarfile.TarInfo, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
        for info in infos:
            archive.addfile(info, io.BytesIO(b"\0" * info.size))
    return buffer.getvalue()


def zipped(
    *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return buffer.getvalue()


def zip_link() -> bytes:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped((info, b"/etc/passwd"))


def zip_device() -> bytes:
    info = zipfile.ZipInfo("device")
    info.external_attr = (stat.S_IFCHR | 0o666) << 16
    return zipped((info, b""))


def zip_encrypted() -> bytes:
    data = bytearray(zipped(("a", b"x")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def zip_name(raw: bytes) -> bytes:
    """A name as raw bytes, without the flag that says UTF-8."""
    return zipped(("N" * len(raw), b"x")).replace(b"N" * len(raw), raw)


def zip_lying_size() -> bytes:
    data = bytearray(zipped(("a", b"x" * 1000)))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        where = data.index(mark) + offset
        data[where : where + 4] = (10).to_bytes(4, "little")
    return bytes(data)


def tar_lying_size() -> bytes:
    info = entry("a")
    info.size = 20_000
    return info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048


def tar_negative_size() -> bytes:
    block = bytearray(entry("a").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 11 + b"\x00"  # base-256: -256
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"\0" * 1024


def tar_long_header() -> bytes:
    info = entry("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 30
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"a" * (4 << 20))


def tar_bad_second_header() -> bytes:
    good = tar({"a": b"x", "b": b"y"})
    return good[:1024] + b"#" * 512 + good[1536:]


def tar_sparse() -> bytes:
    info = entry("a", type=tarfile.GNUTYPE_SPARSE)
    return info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "parent": (lambda: tar({"ok": b"", "../evil": b"x"}), "leads out"),
    "parent inside": (lambda: tar({"a/../../evil": b"x"}), "leads out"),
    "parent folder": (lambda: tar_of(entry("../evil", type=tarfile.DIRTYPE)), "leads out"),
    "absolute": (lambda: tar({"/evil": b"x"}), "absolute"),
    "drive letter": (lambda: tar({"C:evil": b"x"}), "drive"),
    "backslash": (lambda: tar({"..\\evil": b"x"}), "backslash"),
    "symbolic link": (
        lambda: tar_of(entry("l", type=tarfile.SYMTYPE, linkname="/etc")),
        "links are refused",
    ),
    "hard link": (
        lambda: tar_of(entry("l", type=tarfile.LNKTYPE, linkname="../x")),
        "links are refused",
    ),
    "link, then through it": (
        lambda: tar_of(entry("l", type=tarfile.SYMTYPE, linkname=".."), entry("l/evil")),
        "links are refused",
    ),
    "character device": (
        lambda: tar_of(entry("d", type=tarfile.CHRTYPE)),
        "neither a file nor a folder",
    ),
    "block device": (
        lambda: tar_of(entry("d", type=tarfile.BLKTYPE)),
        "neither a file nor a folder",
    ),
    "fifo": (lambda: tar_of(entry("d", type=tarfile.FIFOTYPE)), "neither a file nor a folder"),
    "sparse": (tar_sparse, "refused"),
    "same name twice": (lambda: tar_of(entry("a"), entry("a")), "same name"),
    "names that differ by case": (lambda: tar({"Readme": b"", "README": b""}), "same name"),
    "folders that differ by case": (lambda: tar({"A/x": b"", "a/y": b""}), "same name"),
    "names that differ by composition": (lambda: tar({"\u00e9": b"", "e\u0301": b""}), "same name"),
    "a file that is also a folder": (lambda: tar({"a": b"", "a/b": b""}), "same name"),
    "a folder that is also a file": (lambda: tar({"a/b": b"", "a": b""}), "same name"),
    "name not UTF-8": (lambda: tar_of(entry("caf\udce9")), "not UTF-8"),
    "line break in a name": (lambda: tar({"a\nb": b""}), "control characters"),
    "Windows device": (lambda: tar({"sub/NUL.txt": b""}), "Windows"),
    "trailing dot": (lambda: tar({"a.": b""}), "Windows"),
    "very long name": (lambda: tar({"a" * 300: b""}), "too long"),
    "very deep": (lambda: tar({"a/" * 40 + "b": b""}), "too long"),
    "bomb by size": (lambda: tar_of(entry("zeros", b"\0" * 3_000_000)), "bomb"),
    "bomb by ratio": (lambda: tar_of(entry("zeros", b"\0" * 900_000), mode="w:gz"), "bomb"),
    "bomb of folders and files": (
        lambda: tar_of(*(entry(str(i)) for i in range(101))),
        "more than 100 members",
    ),
    "size that is not there": (tar_lying_size, "damaged"),
    "negative size": (tar_negative_size, "refused"),
    "long header": (tar_long_header, "header of"),
    "broken second header": (tar_bad_second_header, "damaged"),
    "no end mark": (lambda: tar({"a": b"x"})[:1024], "damaged"),
    "broken gzip": (lambda: tar({"a": b"x"}, "w:gz")[:-40], "damaged"),
    "gzip without its last byte": (lambda: tar({"a": b"x"}, "w:gz")[:-1], "damaged"),
    "gzip with another checksum": (lambda: tar({"a": b"x"}, "w:gz")[:-8] + b"checksum", "CRC"),
    "bomb after the end": (lambda: gzip.compress(tar({"a": b"x"}) + b"\0" * (70 << 20)), "bomb"),
    "gzip of nothing": (lambda: gzip.compress(b""), "neither"),
    "not an archive": (lambda: b"<html>not found</html>", "neither"),
    "empty": (lambda: b"", "neither"),
    "zip: parent": (lambda: zipped(("../evil", b"x")), "leads out"),
    "zip: absolute": (lambda: zipped(("/evil", b"x")), "absolute"),
    "zip: drive": (lambda: zipped(("C:/evil", b"x")), "drive"),
    "zip: backslash": (lambda: zip_name(b"..\\evil"), "backslash"),
    "zip: zero byte": (lambda: zip_name(b"good\0/../../evil"), "control characters"),
    "zip: link": (zip_link, "links are refused"),
    "zip: device": (zip_device, "neither a file nor a folder"),
    "zip: encrypted": (zip_encrypted, "encrypted"),
    "zip: case": (lambda: zipped(("a", b""), ("A", b"")), "same name"),
    "zip: name not UTF-8": (lambda: zip_name(b"caf\xe9"), "not UTF-8"),
    "zip: bomb": (lambda: zipped(("zeros", b"\0" * 900_000)), "bomb"),
    "zip: many": (lambda: zipped(*((str(i), b"") for i in range(101))), "more than 100 members"),
    "zip: lying size": (zip_lying_size, "damaged"),
    "zip: other method": (lambda: zipped(("a", b"x"), method=zipfile.ZIP_LZMA), "method 14"),
    "zip: cut": (lambda: zipped(("a", b"x" * 99))[:-30], "damaged"),
}
SMALL = Limits(members=100, total=2_000_000, ratio=20, ratio_from=50_000)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_by_name_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    make, says = HOSTILE[name]
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = inner / "file"
    archive.write_bytes(make())
    with pytest.raises(FetchError, match=says) as caught:
        extract(archive, inner / "out", SMALL)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in inner.iterdir()] == ["file"]
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("share", range(5, 100, 5))
@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_a_truncated_archive_is_refused(form: str, share: int, tmp_path: Path) -> None:
    whole = {"tar": tar(GOOD), "tar.gz": tar(GOOD, "w:gz"), "zip": zipped(*GOOD.items())}[form]
    end = (
        len(whole.rstrip(b"\0")) if form == "tar" else len(whole)
    )  # the padding after the end may be missing
    (tmp_path / "a").write_bytes(whole[: end * share // 100])
    with pytest.raises(FetchError):
        extract(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "data", [tar(GOOD), tar(GOOD, "w:gz"), zipped(*GOOD.items()), zipped(*GOOD.items(), method=zipfile.ZIP_STORED)],
    ids=["tar", "tar.gz", "zip", "zip stored"],
)  # fmt: skip
def test_a_good_archive_comes_out_as_it_went_in(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    assert extract(tmp_path / "a", tmp_path / "deep" / "out") == list(GOOD)
    found = {
        p.relative_to(tmp_path / "deep" / "out").as_posix(): p.read_bytes()
        for p in (tmp_path / "deep" / "out").rglob("*")
        if p.is_file()
    }
    assert found == GOOD
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]
    with pytest.raises(FetchError, match="exists already"):
        extract(tmp_path / "a", tmp_path / "deep" / "out")


def test_what_common_tools_write_is_accepted(tmp_path: Path) -> None:
    """`tar -cf x.tar .` lists `./` and each folder; a zip made elsewhere may hold UTF-8 without saying so."""
    folder = {"type": tarfile.DIRTYPE}
    (tmp_path / "a").write_bytes(
        tar_of(entry("./", **folder), entry("./m", **folder), entry("./m/f"), entry("m", **folder))
    )
    assert extract(tmp_path / "a", tmp_path / "out") == ["m/f"]
    (tmp_path / "z").write_bytes(zip_name("é".encode()))
    assert extract(tmp_path / "z", tmp_path / "zip") == ["é"]


def test_permission_bits_are_dropped(tmp_path: Path) -> None:
    info = entry("run", mode=0o6777, uid=12345, mtime=1)
    (tmp_path / "a").write_bytes(tar_of(info))
    extract(tmp_path / "a", tmp_path / "out")
    status = (tmp_path / "out" / "run").stat()
    assert stat.S_IMODE(status.st_mode) & 0o7111 == 0
    assert status.st_mtime > 1_000_000


PIECES = [
    "a",
    "A",
    ".",
    "..",
    "/",
    "\\",
    ":",
    "~",
    "é",
    "e\u0301",
    " ",
    "\0",
    "\n",
    "con",
    "\udc80",
]
NAMES = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_no_name_writes_outside_or_over_another(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """Whatever the names: either all files come out, each with its own body, inside the folder; or nothing does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for i, name in enumerate(names):
            archive.addfile(entry(name, body := f"{i}".encode()), io.BytesIO(body))
    base = tmp_path_factory.mktemp("n")
    (base / "a").write_bytes(buffer.getvalue())
    try:
        written = extract(base / "a", base / "out")
    except FetchError:
        assert [p.name for p in base.iterdir()] == ["a"]
        return
    assert {p.name for p in base.iterdir()} == {"a", "out"}
    files = [p for p in (base / "out").rglob("*") if p.is_file()]
    assert len(files) == len(written) == len(names)
    assert {p.read_text() for p in files} == {str(i) for i in range(len(names))}


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
def test_an_accepted_name_stays_inside_on_every_system(name: str) -> None:
    from pathlib import PurePosixPath, PureWindowsPath

    if name_problem(name):
        return
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind("base") / kind(name)
        assert not kind(name).is_absolute()
        assert kind(name).anchor == ""
        assert ".." not in path.parts
        assert path.parts[0] == "base"


WHOLE = [
    tar(GOOD),
    tar(GOOD, "w:gz"),
    zipped(*GOOD.items()),
    zipped(*GOOD.items(), method=zipfile.ZIP_STORED),
]
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(WHOLE), EDITS)
def test_damage_is_a_typed_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, edits: list[tuple[float, bytes]]
) -> None:
    """Bytes overwritten anywhere: one kind of error, and never a file outside the folder."""
    data = bytearray(whole)
    for share, piece in edits:
        where = int(share * (len(data) - 1))
        data[where : where + len(piece)] = piece
    base = tmp_path_factory.mktemp("d")
    (base / "a").write_bytes(data)
    try:
        names = extract(base / "a", base / "out", SMALL)
    except FetchError:
        assert [p.name for p in base.iterdir()] == ["a"]
    else:
        assert {p.name for p in base.iterdir()} == {"a", "out"}
        assert sum(p.is_file() for p in base.rglob("*")) == len(names) + 1
