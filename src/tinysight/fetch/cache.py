"""The cache of fetched files: their places, recorded hashes and locks.

The folder is `TINYSIGHT_CACHE`, else the operating system's cache folder. Under it a file lies at
`<host>/<path of the address>`; `hashes.json` holds the SHA-256 of each address, recorded when it was first fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from tinysight.errors import FetchError
from tinysight.files import write_atomic

_CHUNK = 1 << 20


class Record(NamedTuple):
    """What an address held when it was first fetched: hexadecimal SHA-256, bytes, the day (UTC)."""

    sha256: str
    size: int
    date: str


def cache_folder() -> Path:
    """`TINYSIGHT_CACHE`, else `XDG_CACHE_HOME/tinysight`, else the cache folder of the operating system."""
    get = os.environ.get
    try:
        if chosen := get("TINYSIGHT_CACHE"):
            return Path(chosen).expanduser()
        home = Path.home()
    except RuntimeError:
        hint = "set TINYSIGHT_CACHE to another folder"
        raise FetchError("TINYSIGHT_CACHE", "there is no home folder for the cache", hint) from None
    if sys.platform == "win32":
        return Path(get("LOCALAPPDATA") or home / "AppData" / "Local") / "tinysight" / "cache"
    usual = home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    xdg = Path(get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else usual) / "tinysight"


def offline() -> bool:
    """Whether `TINYSIGHT_OFFLINE` forbids the network."""
    value = os.environ.get("TINYSIGHT_OFFLINE", "").strip().lower()
    return value not in ("", "0", "false", "no", "off")


def path_for(url: str, folder: Path) -> Path:
    """Where the file of `url` lies in the cache: readable, inside `folder`, different for different addresses."""
    parts = urlsplit(url)
    host = f"{parts.hostname}_{parts.port}" if parts.port else f"{parts.hostname}"
    plain = [unquote(p) for p in parts.path.split("/") if p]
    safe = [re.sub(r"[^A-Za-z0-9_.+-]|^\.+", "_", p)[-120:] for p in (host, *plain)]
    if parts.query or safe[1:] != plain or not plain:
        digest = hashlib.sha256(url.encode()).hexdigest()[:12]
        safe.append(f"{digest}-{safe.pop() if plain else 'file'}")
    return folder.joinpath(*safe)


def digest_of(file: Path) -> hashlib._Hash:
    """SHA-256 of a file, read in pieces; more may follow."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
    return digest


def recorded(url: str, folder: Path) -> Record | None:
    """What was recorded when `url` was first fetched into this cache."""
    return _read(folder).get(url)


def record(url: str, folder: Path, entry: Record | None) -> None:
    """Write the record of `url`; None forgets it. Other processes may write other records at the same time."""
    file = folder / "hashes.json"
    with locked(file):
        entries = _read(folder)
        entries.pop(url, None)
        if entry is not None:
            entries[url] = entry
        plain = {key: entries[key]._asdict() for key in sorted(entries)}
        write_atomic(file, json.dumps(plain, indent=1) + "\n")


def _read(folder: Path) -> dict[str, Record]:
    file = folder / "hashes.json"
    try:
        rows = json.loads(file.read_text("utf-8")).items()
        return {u: Record(str(e["sha256"]), int(e["size"]), str(e["date"])) for u, e in rows}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        what = "is damaged; it holds the hashes of the fetched files"
        raise FetchError(str(file), what, "restore or delete it") from None
    except OSError as error:
        raise FetchError(str(file), error.strerror or str(error)) from None


@contextmanager
def locked(file: Path, wait: float = 3600.0) -> Iterator[None]:
    """Hold the lock of `file` (a neighbour `.NAME.lock`); the system frees it when its process dies.

    Args:
        file: what is going to be written.
        wait: seconds to wait for another process.

    Raises:
        FetchError: the folder cannot be written to, or another process held the lock for all of `wait`.
    """
    lock = file.with_name(f".{file.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("ab")
    except OSError as error:
        what = f"cannot be written to: {error.strerror}"
        raise FetchError(str(file.parent), what, "set TINYSIGHT_CACHE to another folder") from None
    with stream:  # closing it frees the lock
        end = time.monotonic() + wait
        while not _try_lock(stream):
            if time.monotonic() > end:
                raise FetchError(str(file), f"another process has been writing it for {wait:g} s")
            time.sleep(0.05)
        yield


def _try_lock(stream: BinaryIO) -> bool:
    with suppress(BlockingIOError, PermissionError):
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
