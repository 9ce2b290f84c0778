"""The embedded store: a folder with a database, and a matrix of its vectors that is made from it."""

from __future__ import annotations

import json
import logging
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from tinysight.disk import lock_file, reserved_folder
from tinysight.errors import ConfigError, DataError, GalleryError, UnknownName
from tinysight.gallery import matrix
from tinysight.gallery.base import METRICS, Item, Match, Metric, is_distance, ranked
from tinysight.gallery.database import COLUMNS, FILE, Database, in_words, settle
from tinysight.gallery.indexing import Indexing
from tinysight.gallery.rows import Rows

TAIL = 1024  # rows behind the matrix, from which they are written into it
_GONE = 0.25  # share of rows that do not count, from which the matrix is made anew
_BLOCK = 1024  # rows that are read at once
_SELECT = f"SELECT seq, {COLUMNS} FROM items"
logger = logging.getLogger(__name__)


class SqliteStore:
    """A gallery's items in a folder; see `Store`. Any number of threads and processes may use one.

    A search sees what was acknowledged before it began, by whichever process, and one state of it.

    Args:
        folder: of the gallery.

    Attributes:
        model: what `create` was given.
        indexing: makes and opens the index of a large gallery.

    Raises:
        GalleryError: there is none, it is damaged, or of a newer version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.database = Database(self.folder)
        with self.database.reading():
            given = [self.database.setting(key) for key in ("metric", "dim", "model", "check")]
        if _check(*given[:3]) != given[3]:
            what = f"{FILE} is damaged in its settings"
            raise GalleryError(str(folder), what, "restore a snapshot")
        self.metric: Metric = given[0]
        self.dim: int = given[1]
        self.model: str | None = given[2]
        self.layout = matrix.Layout(self.metric, self.dim)
        self.indexing = Indexing(self)
        self._rows: Rows | None = None
        self._group = threading.local()

    @classmethod
    def create(
        cls, folder: str | Path, *, metric: Metric = "cosine", dim: int, model: str | None = None
    ) -> SqliteStore:
        """An empty gallery in a folder, which is made.

        Args:
            folder: of the gallery.
            metric: how vectors are compared.
            dim: numbers of a vector, or bits for `hamming`, then a multiple of 8.
            model: who makes the vectors, in words of the caller.

        Raises:
            GalleryError: a gallery is there already, or it cannot be written.
        """
        if metric not in METRICS:
            raise UnknownName("metric", metric, METRICS, "metric")
        if dim < 1 or (metric == "hamming" and dim % 8):
            raise ConfigError("dim", f"no vector has {dim} {'bits' if dim > 0 else 'numbers'}")
        given = {"metric": metric, "dim": dim, "model": model}
        Database.create(Path(folder), {**given, "check": _check(*given.values())}).close()
        return cls(folder)

    def count(self, where: str = "1", values: Sequence[Any] = ()) -> int:
        """The number of items, or of those that an SQL condition holds for."""
        with self.database.reading() as connection:
            query = f"SELECT count(*) FROM items WHERE {where}"
            return int(connection.execute(query, values).fetchone()[0])

    @contextmanager
    def operation(self, what: str) -> Iterator[None]:
        """The transactions of this thread in the block, as one thing to `undo` as far as no other came between."""
        self._group.what, self._group.op = what, None
        try:
            yield
        finally:
            self._group.what = None

    @contextmanager
    def transaction(self, what: str) -> Iterator[Any]:
        """One transaction that can be undone; afterwards the matrix takes up what it must."""
        with self.database.writing() as connection:
            grouped = getattr(self._group, "what", None)
            op = self.database.begin(grouped or what, self._group.op if grouped else None)
            yield connection
            self._group.op = op if self.database.changed(op) else None
        if not connection.in_transaction:  # of the caller, who joins several
            self._fold()

    def writing(self) -> Any:
        """A block whose calls are one transaction."""
        return self.database.writing()

    def add(self, items: Iterable[Item]) -> int:
        """Add or replace; see `Store`.

        Raises:
            DataError: a vector is of another size or not finite, an id is empty, metadata are no JSON.
        """
        count = 0
        with self.transaction("add") as connection:
            for item in items:
                row = encode(item, self.layout)
                connection.execute("DELETE FROM items WHERE id = ?", row[:1])
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO items ({COLUMNS}) VALUES ({marks})", row)
                count += 1
        return count

    def remove(self, ids: Sequence[str]) -> int:
        """Remove; see `Store`."""
        with self.transaction("remove") as connection:
            given = [[one] for one in ids]
            return int(connection.executemany("DELETE FROM items WHERE id = ?", given).rowcount)

    def undo(self) -> str:
        """Take the latest operation back, and its name.

        Raises:
            GalleryError: there is none left.
        """
        with self.database.writing():
            what = self.database.undo()
            if what is None:
                raise GalleryError(str(self.folder), "there is no operation to undo")
        self._fold()
        return what

    def operations(self) -> list[tuple[int, str, str]]:
        """Number, name and time (UTC) of the operations that `undo` can reach, latest first."""
        with self.database.reading() as connection:
            query = "SELECT op, what, at FROM operations ORDER BY op DESC"
            return list(connection.execute(query))

    def get(self, ids: Sequence[str]) -> list[Item]:
        """See `Store`."""
        with self.database.reading() as connection:
            query = f"{_SELECT} WHERE id = ?"
            rows = (connection.execute(query, [one]).fetchone() for one in ids)
            return [self._item(row) for row in rows if row]

    def items(self, *, label: str | None = None, after: str = "", limit: int = 1000) -> list[Item]:
        """See `Store`."""
        wanted, values = ("label = ? AND ", [label]) if label is not None else ("", [])
        query = f"{_SELECT} WHERE {wanted}id > ? ORDER BY id LIMIT ?"
        with self.database.reading() as connection:
            return [self._item(row) for row in connection.execute(query, [*values, after, limit])]

    def of_content(self, content: str) -> Item | None:
        """An item of a file with this SHA-256 that has a vector."""
        query = f"{_SELECT} WHERE content = ? AND content != '' AND vector IS NOT NULL LIMIT 1"
        with self.database.reading() as connection:
            row = connection.execute(query, [content]).fetchone()
            return self._item(row) if row else None

    def search(self, vectors: np.ndarray, k: int) -> list[list[Match]]:
        """See `Store`. The score of an item does not depend on what else is there.

        Raises:
            DataError: the vectors are of another size or not finite.
        """
        if k < 1:
            raise ConfigError("k", f"should be 1 or more, got {k}")
        given = _checked(np.asarray(vectors), self.layout, "query")
        with self.snapshot() as (connection, rows):
            queries = self.layout.comparable(given)
            found = rows.nearest(queries, k, self.indexing.of(rows))
            return [self._matches(connection, *one, k) for one in found]

    def _matches(
        self, connection: Any, seqs: np.ndarray, scores: np.ndarray, k: int
    ) -> list[Match]:
        keys = scores if is_distance(self.metric) else -scores
        if len(keys) > k:
            seqs, scores = (a[keys <= np.partition(keys, k - 1)[k - 1]] for a in (seqs, scores))
        found = []
        for seq, score in zip(seqs.tolist(), scores.tolist(), strict=True):
            row = connection.execute(f"{_SELECT} WHERE seq = ?", [seq]).fetchone()
            if row and not damaged(row):
                found.append(Match(row[1], row[2], score))
        return ranked(found, self.metric, k)

    @contextmanager
    def snapshot(self) -> Iterator[tuple[Any, Rows]]:
        """A connection and the rows, of one state; what is mapped is made first if it is missing or damaged."""
        with self.database.lock:
            for whole in (False, True):
                with self.database.reading() as connection:
                    rows = self._refreshed(connection, whole)
                    if rows is not None:
                        self._rows = rows
                        yield connection, rows
                        return
                with suppress(GalleryError):  # without a place for it, the rows lie in memory
                    self.rewrite()

    def _refreshed(self, connection: Any, whole: bool) -> Rows | None:
        """The rows at the state that `connection` sees; None if the matrix cannot be used and `whole` is False."""
        setting, rows = self.database.setting, self._rows
        generation = setting("generation")
        if rows is not None and rows.generation == generation:
            return rows
        key = setting("matrix"), setting("matrix_rows")
        if rows is None or rows.key != key:
            base = self._mapped(*key)
            if base is None and not whole:
                return None
            rows = Rows(self.layout, np.zeros(0, self.layout.record) if base is None else base, key)
            rows.seq = setting("matrix_seq") or 0 if base is not None else 0
        for block in self.blocks(connection, rows.seq):
            rows.add(block)
            rows.seq = int(block["seq"][-1])
        query = "SELECT n, seq FROM removed WHERE n > ? ORDER BY n"
        if gone := connection.execute(query, [rows.removed]).fetchall():
            rows.remove(seq for _, seq in gone)
            rows.removed = gone[-1][0]
        rows.generation = generation
        return rows

    def _mapped(self, name: str | None, count: int) -> np.ndarray | None:
        if name is None:
            return np.zeros(0, self.layout.record)
        try:
            return matrix.mapped(self.folder / name, self.layout, count)
        except (OSError, GalleryError) as error:
            logger.warning("%s; it is made anew", error)
            return None

    def blocks(self, connection: Any, after: int) -> Iterator[np.ndarray]:
        """Rows for the matrix behind the number `after`, in blocks; those that are damaged are left out, and logged."""
        query = f"{_SELECT} WHERE seq > ? AND vector IS NOT NULL ORDER BY seq LIMIT ?"
        while read := connection.execute(query, [after, _BLOCK]).fetchall():
            after = read[-1][0]
            good = [row for row in read if not damaged(row)]
            if good:
                vectors = self.layout.unpack(row[3] for row in good)
                yield self.layout.records([row[0] for row in good], vectors)

    def _fold(self) -> None:
        """Write a tail that has grown long into the matrix, and make that anew when much of it is gone.

        The items are safe without; so a failure is logged.
        """
        run, setting = self.database.connection.execute, self.database.setting
        try:
            with self.database.reading():
                name, count = setting("matrix"), setting("matrix_rows") or 0
                seq = setting("matrix_seq") or 0
                first, last = run("SELECT min(n), max(n) FROM removed").fetchone()
                behind = run("SELECT max(seq) FROM items").fetchone()[0] or 0
            gone = last - first if first else 0
            if gone > TAIL + _GONE * count:
                self.rewrite()
                self.indexing.follow()
            elif behind - seq >= TAIL:
                if name is None:
                    self.rewrite()
                    self.indexing.follow()
                    return
                with self.database.writing() as connection:
                    name, count = setting("matrix"), setting("matrix_rows")
                    blocks = self.blocks(connection, setting("matrix_seq"))
                    count = matrix.append(self.folder / name, self.layout, count, blocks)
                    behind = run("SELECT max(seq) FROM items").fetchone()[0] or 0
                    self.database.set(matrix_rows=count, matrix_seq=behind)
                self.indexing.follow()
        except (GalleryError, OSError) as error:
            logger.warning(
                "the matrix is behind the items, and made anew when it is read: %s", error
            )

    def rewrite(self) -> None:
        """Make the matrix anew, without the rows that are gone. Others may write meanwhile.

        Raises:
            GalleryError: it cannot be written.
        """
        if self.database.read_only:
            raise GalleryError(str(self.folder), "cannot be written: the folder is read-only")
        with in_words(self.folder), (self.folder / ".matrix.lock").open("wb") as lock:
            lock_file(lock, str(self.folder), wait=True)
            path = self.folder / f"matrix-{os.urandom(6).hex()}.bin"
            try:
                with self.database.reading() as connection:
                    run = connection.execute
                    seq = run("SELECT max(seq) FROM items").fetchone()[0] or 0
                    n = run("SELECT max(n) FROM removed").fetchone()[0] or 0
                    matrix.create(path, self.layout)
                    blocks = self.blocks(connection, 0)
                    count = matrix.append(path, self.layout, 0, blocks)
                with self.database.writing() as connection:
                    connection.execute("DELETE FROM removed WHERE n <= ?", [n])
                    self.database.set(matrix=path.name, matrix_rows=count, matrix_seq=seq)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            for other in self.folder.glob("matrix-*.bin"):
                if other != path:
                    with suppress(OSError):  # mapped by a reader, where that keeps a file
                        other.unlink()

    def copy(self, target: str | Path) -> None:
        """Write one state of the gallery to a new folder, while others write.

        Raises:
            GalleryError: something is there, or it cannot be written.
        """
        path = Path(target)
        if path.exists():
            raise GalleryError(str(target), "exists already", "choose another folder")
        with in_words(path), self.database.lock, reserved_folder(path) as part:
            (part / "new").mkdir()
            self.database.connection.execute("VACUUM INTO ?", [str(part / "new" / FILE)])
            settle(part / "new" / FILE, {"matrix": None, "matrix_rows": 0, "matrix_seq": 0})
            (part / "new").rename(path)

    def compact(self) -> None:
        """Free space: forget what `undo` could bring back, and write database and matrix anew."""
        with self.database.writing() as connection:
            connection.execute("DELETE FROM changes")
            connection.execute("DELETE FROM operations")
        with self.database.lock, in_words(self.folder):
            self.database.connection.execute("VACUUM")
            self.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.rewrite()

    def setting(self, name: str) -> Any:
        """See `Store`."""
        with self.database.reading():
            return self.database.setting(name)

    def set(self, **values: Any) -> None:
        """See `Store`; nothing to `undo`."""
        with self.database.writing():
            self.database.set(**values)

    def close(self) -> None:
        """Close the database and let the rows go."""
        self._rows = None
        self.database.close()

    def _item(self, row: Sequence[Any]) -> Item:
        _, one, label, blob, content, pixels, source, metadata, _ = row
        if damaged(row):
            raise GalleryError(
                str(self.folder), f"item {one!r} is damaged", "remove it, add it again"
            )
        vector = None if blob is None else self.layout.unpack([blob])[0]
        return Item(one, label, vector, content, pixels, source, json.loads(metadata))


def encode(item: Item, layout: matrix.Layout) -> tuple[Any, ...]:
    """An item as a row of the database, with the checksum of the rest at its end."""
    texts = (item.id, item.label, item.content, item.pixels, item.source)
    if not item.id or not all(isinstance(text, str) for text in texts):
        raise DataError("item", f"id, label and the rest are texts, got {texts!r}")
    blob = None
    if item.vector is not None:
        blob = _checked(np.asarray(item.vector)[None], layout, item.id).tobytes()
    try:
        metadata = json.dumps(dict(item.metadata), ensure_ascii=False, allow_nan=False)
        texts[0].encode(), texts[1].encode(), texts[4].encode()
    except (TypeError, ValueError) as error:
        raise DataError(
            f"item {item.id!r}", f"its texts or metadata cannot be stored: {error}"
        ) from None
    row = (item.id, item.label, blob, item.content, item.pixels, item.source, metadata)
    return (*row, _checksum(row))


def _checked(vectors: np.ndarray, layout: matrix.Layout, what: str) -> np.ndarray:
    good = vectors.dtype.kind == "f" or (vectors.dtype == np.uint8 and layout.metric == "hamming")
    if vectors.ndim != 2 or vectors.shape[1] != layout.width or not good:
        about = f"vectors of {vectors.dtype} {vectors.shape}, expected {layout.kind} (N, {layout.width})"
        raise DataError(what, about)
    given = np.ascontiguousarray(vectors, layout.kind)
    if not np.isfinite(given).all():
        raise DataError(what, "a vector has numbers that are not finite")
    return given


def _checksum(row: Sequence[Any]) -> int:
    one, label, blob, *rest = row
    return zlib.crc32(
        "\0".join([one, label, *rest]).encode("utf-8", "surrogatepass"), zlib.crc32(blob or b"")
    )


def _check(*settings: Any) -> int:
    return zlib.crc32(repr(settings).encode("utf-8", "surrogatepass"))


def damaged(row: Sequence[Any]) -> bool:
    """Whether a row (seq, columns) is not what was written; logs that."""
    try:
        whole = _checksum(row[1:-1]) == row[-1]
    except (TypeError, ValueError):  # a type was changed
        whole = False
    if not whole:
        logger.error("item %r is damaged in the database and left out", row[1])
    return not whole
