"""One process at a time for a file; apart from `files`, which `predict` does not import."""

from __future__ import annotations

from typing import TextIO

from tinysight.errors import DataError


def lock(file: TextIO, path: str) -> None:
    """Refuse to write where another process does; it is let go when the file is closed."""
    try:
        import fcntl
    except ImportError:  # Windows: two such processes are the user's to avoid
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        what = "another process is writing these answers"
        raise DataError(path, what, "wait for it, or choose another file") from None
