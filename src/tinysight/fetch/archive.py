"""Unpack a tar, tar.gz or zip of a stranger: everything that could leave the folder or fill the disk is refused.

Members are plain files and folders, under names that mean the same on every system. The archive is unpacked into a
temporary sibling that takes the final name in one step, so a refused or damaged archive leaves nothing. Owners, times
and permission bits are dropped. The format is told from the content, not from the name.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from tinysight.errors import FetchError

_CHUNK = 1 << 16
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    UnicodeError,
    ValueError,
    RuntimeError,
)
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class Limits(NamedTuple):
    """How much an archive may hold: members, bytes unpacked, and unpacked bytes for each packed one.

    The ratio counts from `ratio_from` unpacked bytes on: a small text may well shrink a thousandfold.
    """

    members: int = 10_000
    total: int = 8 << 30
    ratio: float = 200.0
    ratio_from: int = 64 << 20


DEFAULT = Limits()


class _Member(NamedTuple):
    name: str
    size: int
    folder: bool
    open: Any  # () -> IO[bytes]


def extract(archive: Path, folder: Path, limits: Limits = DEFAULT) -> list[str]:
    """Unpack `archive` into the new folder `folder`.

    Returns:
        The files' names in `folder`, with `/`, in the order of the archive.

    Raises:
        FetchError: `folder` exists, the file is no archive or damaged, or a member is refused; nothing is left behind.
    """
    if folder.exists():
        raise FetchError(str(folder), "exists already; nothing was unpacked")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        names = _unpack(archive, temporary, limits)
        temporary.chmod(0o755)
        os.rename(temporary, folder)  # noqa: PTH104 - the atomic step, spelt as the system call
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, _DAMAGED):
            raise FetchError(
                str(archive), f"is damaged: {error}", "delete it and fetch it again"
            ) from None
        if isinstance(error, OSError):
            raise FetchError(
                str(archive), f"cannot be unpacked: {error.strerror or error}"
            ) from None
        raise
    return names


def _unpack(archive: Path, folder: Path, limits: Limits) -> list[str]:
    names = _Names(str(archive))
    allowed = limits.total
    packed = max(archive.stat().st_size, 1)
    if packed * limits.ratio < allowed:
        allowed = max(int(packed * limits.ratio), limits.ratio_from)
    files, total = [], 0
    for count, member in enumerate(_members(archive, allowed), 1):
        if count > limits.members:
            raise FetchError(str(archive), f"has more than {limits.members} members")
        name = names.add(member.name, member.folder)
        total += member.size
        if total > min(allowed, limits.total):
            what = f"unpacks to more than {min(allowed, limits.total)} bytes"
            raise FetchError(str(archive), f"{what}, from {packed}; refused as a bomb")
        target = folder.joinpath(*name.parts)
        if member.folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source:
            _copy(source, target, member.size, f"{archive}: {name}")
        files.append(str(name))
    return files


def _copy(source: IO[bytes], target: Path, size: int, where: str) -> None:
    left = size
    with target.open("xb") as file:
        while piece := source.read(min(_CHUNK, left + 1)):
            left -= len(piece)
            if left < 0:
                break
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if left:
        raise FetchError(where, "is longer or shorter than the archive says")


def _members(archive: Path, allowed: int) -> Iterator[_Member]:
    with archive.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b":
        with gzip.open(archive) as stream:
            yield from _tar_members(archive, stream, allowed)
    elif start == b"PK\x03\x04" or start == b"PK\x05\x06":
        yield from _zip_members(archive)
    else:
        with archive.open("rb") as stream:
            yield from _tar_members(archive, stream, allowed)


class _Bounded:
    """What tarfile reads from: no long read, as only a forged header asks for one, and none past the allowed size."""

    def __init__(self, archive: Path, stream: Any, allowed: int) -> None:
        self.archive, self.stream, self.end = (
            archive,
            stream,
            allowed + (64 << 20),
        )  # headers and padding

    def read(self, size: int) -> bytes:
        if not 0 <= size <= 1 << 20:
            raise FetchError(str(self.archive), f"has a header of {size} bytes; refused")
        return bytes(self.stream.read(size))

    def drain(self) -> None:
        """Read to the end, where a gzip stream has its checksum."""
        while self.stream.read(_CHUNK):
            if self.stream.tell() > self.end:
                raise FetchError(str(self.archive), "goes on long after its end; refused as a bomb")

    def seek(self, position: int) -> int:
        if position > self.end:
            raise FetchError(str(self.archive), "unpacks to more than it may; refused as a bomb")
        return int(self.stream.seek(position))

    def tell(self) -> int:
        return int(self.stream.tell())


def _tar_members(archive: Path, stream: Any, allowed: int) -> Iterator[_Member]:
    bounded: Any = _Bounded(archive, stream, allowed)
    try:
        tar = tarfile.TarFile(fileobj=bounded, mode="r", encoding="utf-8", errors="surrogateescape")
    except tarfile.ReadError:
        raise FetchError(str(archive), "is neither a tar, a tar.gz nor a zip") from None
    with tar:
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
            if info.size < 0:
                raise FetchError(f"{archive}: {info.name!r}", "has a negative size; refused")
            if info.issym() or info.islnk():
                raise FetchError(
                    f"{archive}: {info.name!r}", f"links to {info.linkname!r}; links are refused"
                )
            if (
                not (info.isdir() or info.type in (tarfile.REGTYPE, tarfile.AREGTYPE))
                or info.issparse()
            ):
                raise FetchError(
                    f"{archive}: {info.name!r}", "is neither a file nor a folder; refused"
                )

            def opened(info: tarfile.TarInfo = info) -> IO[bytes]:
                source = tar.extractfile(info)
                assert source is not None  # noqa: S101 - it is a regular file
                return source

            yield _Member(info.name, 0 if info.isdir() else info.size, info.isdir(), opened)
        # tarfile takes any broken header after the first for the end: look for the mark of a real end.
        bounded.seek(tar.offset)
        if bounded.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise FetchError(str(archive), "is cut off or damaged", "delete it and fetch it again")
        bounded.drain()


def _zip_members(archive: Path) -> Iterator[_Member]:
    try:
        packed = zipfile.ZipFile(archive)
    except NotImplementedError as error:
        raise FetchError(str(archive), str(error)) from None
    with packed:
        for info in packed.infolist():
            name = _zip_name(archive, info)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind == stat.S_IFLNK:
                raise FetchError(f"{archive}: {name!r}", "is a link; links are refused")
            folder = name.endswith("/")
            if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
                raise FetchError(f"{archive}: {name!r}", "is neither a file nor a folder; refused")
            if info.flag_bits & 0x1:
                raise FetchError(f"{archive}: {name!r}", "is encrypted; refused")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FetchError(
                    f"{archive}: {name!r}", f"is packed by method {info.compress_type}; refused"
                )

            def opened(info: zipfile.ZipInfo = info) -> IO[bytes]:
                return packed.open(info)

            yield _Member(name, 0 if folder else info.file_size, folder, opened)


def _zip_name(archive: Path, info: zipfile.ZipInfo) -> str:
    """The name as it is written: zipfile cuts at a zero byte and reads unmarked names as CP437."""
    if info.flag_bits & 0x800 or info.orig_filename.isascii():
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        raise FetchError(
            f"{archive}: {info.orig_filename!r}", "its name is not UTF-8; refused"
        ) from None


class _Names:
    """The names of one archive: each is safe by itself, and no two are one name on some file system."""

    def __init__(self, archive: str) -> None:
        self.archive = archive
        self.seen: dict[tuple[str, ...], tuple[str, bool]] = {}  # folded -> as written, is a folder

    def add(self, raw: str, folder: bool) -> PurePosixPath:
        """The checked relative path.

        Raises:
            FetchError: it could leave the folder, means something else on another system, or is there already.
        """
        if problem := name_problem(raw):
            raise FetchError(f"{self.archive}: {raw!r}", f"{problem}; refused")
        parts = PurePosixPath(raw).parts
        if not parts and not folder:
            raise FetchError(f"{self.archive}: {raw!r}", "has no name; refused")
        for depth in range(1, len(parts) + 1):
            key = tuple(unicodedata.normalize("NFC", p).casefold() for p in parts[:depth])
            now = ("/".join(parts[:depth]), folder or depth < len(parts))
            before = self.seen.setdefault(key, now)
            again = depth == len(parts) and not folder and before is not now
            if before != now or again:
                raise FetchError(
                    f"{self.archive}: {raw!r}", f"is the same name as {before[0]!r}; refused"
                )
        return PurePosixPath(*parts)


def name_problem(raw: str) -> str:
    """What is wrong with a member's name, or an empty text."""
    try:
        length = len(raw.encode("utf-8"))
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if any(unicodedata.category(c) == "Cc" for c in raw):
        return "its name has control characters"
    if raw.startswith("/"):
        return "its name is absolute"
    if "\\" in raw or ":" in raw:
        return "its name has a backslash or a colon, which Windows takes for a folder or a drive"
    parts = PurePosixPath(raw).parts
    if ".." in parts:
        return "its name leads out of the folder"
    if length > 1000 or len(parts) > 32 or any(len(p.encode("utf-8")) > 255 for p in parts):
        return "its name is too long"
    if any(p != p.rstrip(". ") or _DEVICES.fullmatch(p) for p in parts):
        return "its name cannot exist on Windows"
    return ""
