"""Files on disk: read if they are regular, written whole or not at all, by one process at a time.

What is being written lies in `.NAME.part` beside the file, under a lock that the system frees when its process dies.
So a write that was killed leaves one file, which the next write of the same file takes over.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tinysight.errors import DataError, TinysightError

_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_NEW = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # opening a pipe without it waits for the other end
ENCODABLE = "tinysight"  # for `errors=` of a text file, which then takes every text


def _encoded(error: UnicodeError) -> tuple[bytes, int]:
    """The bytes of a file name that is no text as they are; what an encoding lacks with backslashes."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    escaped = (c.encode("ascii", "backslashreplace") for c in text)
    raw = (
        bytes([ord(c) & 0xFF]) if 0xDC80 <= ord(c) <= 0xDCFF else e
        for c, e in zip(text, escaped, strict=True)
    )
    return b"".join(raw), error.end


codecs.register_error(ENCODABLE, _encoded)


def read_regular(path: str | Path, most: int | None = None) -> bytes:
    """Contents of a regular file, never waiting for what is none.

    Args:
        path: the file, or a link to one.
        most: limit of its size, bytes.

    Raises:
        OSError: it cannot be read, is a pipe or device, or is larger than `most` (`EFBIG`).
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _AT_ONCE)) as file:  # noqa: PTH123
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if most is not None and about.st_size > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
        return file.read()


def write_atomic(path: Path, data: bytes | str | Iterable[bytes | memoryview]) -> None:
    """Write `data` to `path` so that a crash leaves either the old file or the new one, never a part.

    The bytes, whole or in pieces, go to a temporary name in the same folder, are flushed to the disk, and take the
    final name in one step. A link is followed. Devices and pipes are written through; `-` and `/dev/stdout` are
    standard output.

    Raises:
        OSError: it cannot be written; its `filename` is set.
    """
    text = data.encode("utf-8") if isinstance(data, str) else data
    pieces = [text] if isinstance(text, bytes) else text
    with named(path):
        if is_stdout(path):
            sys.stdout.flush()
            sys.stdout.buffer.writelines(pieces)
            sys.stdout.buffer.flush()
        elif (device := open_device(path)) is not None:
            with device:
                device.writelines(pieces)
        else:
            target = resolved(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with reserved(target) as part, part.open("wb") as file:
                file.writelines(pieces)
                move(file, part, target)


def is_stdout(path: str | Path) -> bool:
    """Whether `path` is `-`, or a name of or a link to standard output."""
    return str(path) in _STDOUT or (Path(path).is_symlink() and os.readlink(path) in _STDOUT)  # noqa: PTH115


def open_device(path: str | Path) -> IO[bytes] | None:
    """`path` opened for writing if it is there and no regular file; else None.

    Raises:
        OSError: it is a folder, cannot be opened, or is a pipe that nobody reads.
    """
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISREG(mode):
        return None
    try:
        handle = os.open(path, os.O_WRONLY | _AT_ONCE)
    except OSError as error:
        unread = error.errno == errno.ENXIO
        raise OSError(error.errno, "nobody reads this pipe" if unread else error.strerror) from None
    os.set_blocking(handle, True)
    return os.fdopen(handle, "wb")


def resolved(path: str | Path) -> Path:
    """The file itself where `path` is a link."""
    return Path(os.path.realpath(path) if Path(path).is_symlink() else path)


@contextmanager
def reserved(path: Path, *, wait: bool = True) -> Iterator[Path]:
    """The empty file `.NAME.part` beside `path`, which is this process' own; gone when the block ends.

    Args:
        path: what is going to be written.
        wait: False to refuse, and not wait, while another process is writing `path`.

    Raises:
        DataError: another process is writing `path`, and `wait` is False.
    """
    part = path.with_name(f".{path.name}.part")
    with _claimed(part, str(path), lambda: os.open(part, _NEW, 0o644), wait) as handle:
        os.truncate(part, 0)
        try:
            yield part
        finally:
            if handle < 0 or _lies_at(part, handle):  # and not another's, since it took its name
                part.unlink(missing_ok=True)


@contextmanager
def reserved_folder(path: Path) -> Iterator[Path]:
    """The empty folder `.NAME.part` beside `path`, likewise, never waiting.

    What a process had put aside there as `old` before it was killed is put back.
    """
    import shutil

    part = path.with_name(f".{path.name}.part")

    def open_part() -> int:
        part.mkdir(parents=True, exist_ok=True)
        return os.open(part, os.O_RDONLY) if os.name != "nt" else -1

    with _claimed(part, str(path), open_part, False):
        if (part / "old").exists() and not path.exists():
            (part / "old").rename(path)
        for left in part.iterdir():
            shutil.rmtree(left)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _claimed(part: Path, path: str, open_part: Callable[[], int], wait: bool) -> Iterator[int]:
    """`part`, opened and locked; another process may have taken it away while this one waited."""
    while True:
        handle = open_part()
        if os.name == "nt" and handle >= 0:  # no locks there, and what is open keeps its name
            os.close(handle)
            handle = -1
        try:
            if handle >= 0:
                lock_file(handle, path, wait=wait)
                if not _lies_at(part, handle):
                    continue
            yield handle
            return
        finally:
            if handle >= 0:
                unlock(handle)
                os.close(handle)


def move(file: IO[Any], part: Path, path: Path) -> None:
    """Bring the open file at `part` to the disk and give it the name `path`."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    os.replace(part, path)  # noqa: PTH105 - the atomic step, spelt as the system call


def _lies_at(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle))
    return False


@contextmanager
def named(path: object) -> Iterator[None]:
    """An `OSError` in the block that names no file names `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def writing(where: object, kind: type[TinysightError] = DataError) -> Iterator[None]:
    """An `OSError` in the block, as an error of `kind`: `where` cannot be written."""
    try:
        yield
    except OSError as error:
        raise kind(str(where), f"cannot be written: {error.strerror or error}") from None


def lock_file(file: IO[Any] | int, path: str, *, wait: bool = False) -> None:
    """Keep other processes from writing `file`, until it is closed.

    Args:
        file: an open file, or its number.
        path: its path, for the message.
        wait: True to wait for another process, not to refuse.

    Raises:
        DataError: another process has locked it, and `wait` is False.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two such processes are the user's to avoid
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        what = "another process is writing this file"
        raise DataError(path, what, "wait for it, or choose another file") from None
    except OSError:
        return  # a file system without locks


def unlock(handle: int) -> None:
    """Free a lock at once, although a process that was forked may hold it as well."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_UN)
