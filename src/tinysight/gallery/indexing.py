"""When a folder's gallery is searched with an index, and when that is made or brought up to date.

The index lies beside the database, as `index.bin`. Up to `EXACT` vectors there is none, since an exact search is fast.
What is newer than the index is searched exactly. When that has become much, or much of the index is gone, a process of
its own makes a new file; readers go on with what they have until it is there.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from bisect import bisect_right
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinysight.disk import lock_file
from tinysight.errors import DataError, TinysightError
from tinysight.gallery.index import RECALL, ApproximateIndex, measured_of
from tinysight.gallery.rows import Rows

if TYPE_CHECKING:
    from tinysight.gallery.sqlite_store import SqliteStore

INDEX = "index.bin"
EXACT = 30_000  # vectors that are searched one by one
_NEWER, _NEWER_SHARE = 10_000, 0.02  # vectors that an index may lack, whichever is more
_GONE = 0.1  # share of its items that may be gone
logger = logging.getLogger(__name__)


class Indexing:
    """The index of a store.

    Args:
        store: whose.

    Attributes:
        exact: vectors up to which there is none.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store, self.path, self.exact = store, store.folder / INDEX, EXACT
        self._file: object = None
        self._index: ApproximateIndex | None = None
        self._making: subprocess.Popen[bytes] | None = None

    def of(self, rows: Rows) -> ApproximateIndex | None:
        """The index to search these rows with; None: exactly."""
        if len(rows.base) <= self.exact:
            return None
        if (file := _identity(self.path)) != self._file:
            self._file, self._index = file, self._opened(writable=False)
        if self._index is None:
            return None
        known = bisect_right(rows.base["seq"], self._index.measured.last) - len(rows.gone)
        return self._index if 2 * known > self._index.measured.count else None

    def about(self) -> str:
        """How a search is done, in words."""
        with self._store.database.reading():
            rows = self._store.database.setting("matrix_rows") or 0
        if rows <= self.exact:
            return f"exact, up to {self.exact} vectors"
        try:
            of = measured_of(self.path)
        except (TinysightError, OSError) as error:
            lacks = find_spec("usearch") is None
            return f"exact: {'usearch is not installed' if lacks else error}"
        return (
            f"an index of {of.count} vectors, {of.short} numbers each, searched {of.width} wide: recall"
            f" {of.recall:.4f}, at least {of.recall_low:.4f}, of {of.target:g} wanted ({of.sample} queries)"
        )

    def due(self) -> bool:
        """Whether the index should be made or brought up to date; looks at numbers alone."""
        with self._store.database.reading():
            setting = self._store.database.setting
            rows, last = setting("matrix_rows") or 0, setting("matrix_seq") or 0
        if rows <= self.exact:
            return False
        try:
            said = measured_of(self.path)
        except (TinysightError, OSError):
            return True
        lacks = min(rows, last - said.last)
        gone = said.count - (rows - lacks)
        return lacks > max(_NEWER, _NEWER_SHARE * said.count) or gone > _GONE * said.count

    def refresh(self, *, recall: float | None = None, threads: int = 1) -> bool:
        """Make the index of a large gallery, or bring it up to date.

        Args:
            recall: share of the ten nearest that a search should find; None: as before, or 0.99.
            threads: that make it.

        Returns:
            False if another process is about it, and nothing was done.

        Raises:
            GalleryError: the gallery cannot be read.
            MissingDependency: usearch is not installed.
            OSError: it cannot be written.
        """
        with (self._store.folder / ".index.lock").open("wb") as lock:
            try:
                lock_file(lock, str(self.path))
            except DataError:
                return False
            rows = self._rows()
            if len(rows.base) <= self.exact:
                return True
            if rows.gone:
                self._store.rewrite()
                rows = self._rows()
            keys, vectors = np.ascontiguousarray(rows.base["seq"]), rows.base["vector"]
            index = self._opened(writable=True)
            target = recall or (index.measured.target if index else RECALL)
            if index and index.measured.target != target:
                index = None
            index = index and index.update(keys, vectors, threads=threads)
            index = index or ApproximateIndex.build(
                keys, vectors, self._store.metric, recall=target, threads=threads
            )
            index.save(self.path)
        return True

    def _rows(self) -> Rows:
        with self._store.snapshot() as (_, rows):
            return rows

    def follow(self) -> None:
        """Start a process that calls `refresh`, if it is due and none of ours runs yet."""
        if self._making or find_spec("usearch") is None or not self.due():
            return
        command = [sys.executable, "-m", "tinysight", "gallery", "index", str(self._store.folder)]
        quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        making = self._making = subprocess.Popen(command, **quiet)

        def end() -> None:
            making.wait()
            self._making = None

        threading.Thread(target=end, name="tinysight_index", daemon=True).start()

    def _opened(self, *, writable: bool) -> ApproximateIndex | None:
        """The index as it lies there; None without a usable one."""
        layout = self._store.layout
        with suppress(FileNotFoundError):
            try:
                index = ApproximateIndex.open(self.path, writable=writable)
                if (index.measured.metric, index.measured.dim) == (layout.metric, layout.dim):
                    return index
                logger.warning("%s is of another gallery; it is made anew", self.path)
            except (TinysightError, OSError) as error:
                logger.warning("%s", error)
        return None


def _identity(path: Path) -> object:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns
