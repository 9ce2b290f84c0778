"""Unpacks untrusted tar, tar.gz and zip files: whatever could leave the folder or fill the disk is refused.

Members are plain files and folders, under names that mean the same on every system; this is narrower than the "data"
filter of `tarfile`, which admits links. The archive is unpacked into a temporary sibling that takes the final name in
one step, so a refused or damaged archive leaves nothing. Owners, times and permission bits are dropped. The format is
recognised by the content, not by the name.
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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from tinysight.errors import FetchError

_CHUNK = 1 << 16
_FORMAT_ERRORS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, struct.error)
_DAMAGED = (*_FORMAT_ERRORS, ValueError, RuntimeError)
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_AGAIN = "delete it and fetch it again"
_NEITHER = "is neither a file nor a folder"


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
    problem: str
    folder: bool
    size: int
    open: Callable[[], Any]  # to a binary stream


def extract(archive: Path, folder: Path, limits: Limits = DEFAULT) -> list[str]:
    """Unpack `archive` into the new folder `folder`.

    Args:
        archive: a tar, tar.gz or zip file.
        folder: a path that does not exist yet.
        limits: bounds on the content.

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
    except _DAMAGED as error:
        raise FetchError(str(archive), f"is damaged: {error}", _AGAIN) from None
    except OSError as error:
        raise FetchError(str(archive), f"cannot be unpacked: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return names


def content_of(folder: Path) -> Path:
    """Where the content of an unpacked archive lies: in its only sub-folder, if that is all there is."""
    inside = [path for path in folder.iterdir() if not path.name.startswith("._")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _unpack(archive: Path, folder: Path, limits: Limits) -> list[str]:
    packed = max(archive.stat().st_size, 1)
    allowed = min(limits.total, max(int(packed * limits.ratio), limits.ratio_from))
    files: list[str] = []
    total, seen = 0, dict[tuple[str, ...], tuple[str, bool]]()
    for count, member in enumerate(_members(archive, allowed), 1):
        total += member.size
        if count > limits.members:
            raise FetchError(str(archive), f"has more than {limits.members} members")
        if problem := member.problem or name_problem(member.name) or _clash(member, seen):
            raise FetchError(f"{archive}: {member.name!r}", f"{problem}; refused")
        if total > allowed:
            bomb = f"unpacks to more than {allowed} bytes, from {packed}"
            raise FetchError(str(archive), f"{bomb}; refused as a bomb")
        target = folder / member.name
        (target if member.folder else target.parent).mkdir(parents=True, exist_ok=True)
        if not member.folder:
            with member.open() as source, target.open("xb") as file:
                _copy(source, file, member.size, f"{archive}: {member.name}")
            files.append(str(PurePosixPath(member.name)))
    return files


def _copy(source: IO[bytes], file: IO[bytes], size: int, where: str) -> None:
    while size >= 0 and (piece := source.read(min(_CHUNK, size + 1))):
        size -= len(piece)
        file.write(piece)
    if size:
        raise FetchError(where, "is longer or shorter than the archive says")
    file.flush()
    os.fsync(file.fileno())


def _members(archive: Path, allowed: int) -> Iterator[_Member]:
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start in (b"PK\x03\x04", b"PK\x05\x06"):
            yield from _zip_members(file)
        else:
            plain = gzip.GzipFile(fileobj=file) if start[:2] == b"\x1f\x8b" else file
            yield from _tar_members(_Bounded(archive, plain, allowed))


class _Bounded:
    """What tarfile reads from: no long read, as only a forged header asks for one, and none past the allowed size."""

    def __init__(self, archive: Path, stream: Any, allowed: int) -> None:
        self.where, self.stream = str(archive), stream
        self.end = allowed + (64 << 20)  # headers and padding
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= 1 << 20:
            raise FetchError(self.where, f"has a header of {size} bytes; refused")
        return bytes(self.stream.read(size))

    def seek(self, position: int) -> int:
        if position > self.end:
            raise FetchError(self.where, "unpacks to more than it may; refused as a bomb")
        return int(self.stream.seek(position))

    def finish(self, position: int) -> None:
        """Look for the mark of a real end, then read on to where a gzip stream has its checksum."""
        self.seek(position)
        if self.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise FetchError(self.where, "is cut off or damaged", _AGAIN)
        while self.stream.read(_CHUNK):
            if self.stream.tell() > self.end:
                raise FetchError(self.where, "goes on long after its end; refused as a bomb")


def _tar_members(bounded: Any) -> Iterator[_Member]:
    try:
        tar = tarfile.TarFile(fileobj=bounded, mode="r", encoding="utf-8", errors="surrogateescape")
    except tarfile.ReadError:
        raise FetchError(bounded.where, "is neither a tar, a tar.gz nor a zip") from None
    with tar:
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
            plain = info.isdir() or info.type in (b"0", b"\0")
            linked = info.issym() or info.islnk()
            problem = _first({
                "has a negative size": info.size < 0,
                f"links to {info.linkname!r}; links are refused": linked,
                _NEITHER: not plain or info.issparse(),
            })  # fmt: skip
            size = 0 if info.isdir() else info.size
            yield _Member(info.name, problem, info.isdir(), size, partial(tar.extractfile, info))
        bounded.finish(tar.offset)  # tarfile takes any broken header after the first for the end


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as packed:
        for info in packed.infolist():
            name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
            if not (info.flag_bits & 0x800 or name.isascii()):
                # zipfile reads names that are not marked as UTF-8 as CP437.
                name = name.encode("cp437").decode("utf-8", "surrogateescape")
            folder, method = name.endswith("/"), info.compress_type
            problem = _first({
                "is a link; links are refused": kind == stat.S_IFLNK,
                _NEITHER: kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG),
                "is encrypted": bool(info.flag_bits & 0x1),
                f"is packed by method {method}": method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
            })  # fmt: skip
            size = 0 if folder else info.file_size
            yield _Member(name, problem, folder, size, partial(packed.open, info))


def _clash(member: _Member, seen: dict[tuple[str, ...], tuple[str, bool]]) -> str:
    """What is wrong with a member beside those before it: two names may be one on some file system."""
    parts = PurePosixPath(member.name).parts
    if not parts and not member.folder:
        return "has no name"
    for depth in range(1, len(parts) + 1):
        key = tuple(unicodedata.normalize("NFC", p).casefold() for p in parts[:depth])
        now = ("/".join(parts[:depth]), member.folder or depth < len(parts))
        before = seen.setdefault(key, now)
        if before != now or (depth == len(parts) and not member.folder and before is not now):
            return f"is the same name as {before[0]!r}"
    return ""


def name_problem(raw: str) -> str:
    """What is wrong with a member's name by itself, or an empty text."""
    try:
        length = len(raw.encode("utf-8"))
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    parts = PurePosixPath(raw).parts
    longest = max((len(part.encode("utf-8")) for part in parts), default=0)
    backslash = "its name has a backslash or a colon, which Windows takes for a folder or a drive"
    return _first({
        "its name has control characters": any(unicodedata.category(c) == "Cc" for c in raw),
        "its name is absolute": raw.startswith("/"),
        backslash: bool(set("\\:") & set(raw)),
        "its name leads out of the folder": ".." in parts,
        "its name is too long": length > 1000 or len(parts) > 32 or longest > 255,
        "its name cannot exist on Windows": any(p != p.rstrip(". ") or _DEVICES.fullmatch(p) for p in parts),
    })  # fmt: skip


def _first(problems: dict[str, bool]) -> str:
    """The first of the problems that there is, or an empty text."""
    return next((what for what, there in problems.items() if there), "")
