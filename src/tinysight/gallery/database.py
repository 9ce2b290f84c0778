"""The database of a gallery: one SQLite file in WAL mode, its tables, its transactions, and its errors in words.

It is the only truth: what a transaction has written is on the disk when it is acknowledged (`synchronous=FULL`). Two
triggers note every item that comes or goes, once for `undo` and once for readers that hold a matrix of the rows.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinysight.disk import reserved
from tinysight.errors import GalleryError

FILE = "gallery.db"
FORMAT = 1
_SCHEMA = Path(__file__).with_name("schema.sql")
COLUMNS = "id, label, vector, content, pixels, source, metadata, crc"  # of an item
_PAGE = 8192  # bytes: three rows of 512 numbers
_WAIT = 30.0  # seconds for another writer
_UNDONE = 100  # operations that `undo` can reach


class Database:
    """Connections to the database in a gallery's folder, one a process, used by one thread at a time.

    Args:
        folder: of the gallery.

    Attributes:
        lock: held by whoever uses the connection.
        read_only: whether the folder cannot be written.

    Raises:
        GalleryError: there is none, or it is damaged or of a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE
        self.lock = threading.RLock()
        self._connections: dict[int, sqlite3.Connection] = {}
        if not self.path.is_file():
            hint = "`tinysight gallery build GALLERY SOURCE --model BUNDLE` makes one"
            if folder.is_file():
                hint = "a gallery is a folder; give its folder"
            raise GalleryError(str(folder), f"no gallery here ({FILE} is missing)", hint)
        self.read_only = not (os.access(folder, os.W_OK) and os.access(self.path, os.W_OK))
        with self.reading():
            known = self.setting("format")
        if known != FORMAT:
            what = f"of format {known}, this version reads {FORMAT}"
            raise GalleryError(str(folder), what, "update tinysight")

    @classmethod
    def create(cls, folder: Path, settings: dict[str, Any]) -> Database:
        """Make an empty database; raises `GalleryError` if one is there."""
        path = folder / FILE
        with in_words(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with reserved(path) as part:
                if path.exists():
                    hint = "choose another folder"
                    raise GalleryError(str(folder), "a gallery already exists here", hint)
                for left in ("-wal", "-shm"):  # of one that was killed
                    Path(f"{part}{left}").unlink(missing_ok=True)
                given = {"format": FORMAT, "generation": 0, "op": None, **settings}
                settle(
                    part, given, f"PRAGMA page_size = {_PAGE}; BEGIN; {_SCHEMA.read_text()} COMMIT"
                )
                part.rename(path)
        return cls(folder)

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.lock, suppress(sqlite3.Error):
            for process, connection in self._connections.items():
                if process == os.getpid():  # one of the parent stays as it is
                    connection.close()
            self._connections.clear()

    @property
    def connection(self) -> sqlite3.Connection:
        """Of this process: one must not be carried over a fork."""
        process = os.getpid()
        if process not in self._connections:
            self._connections[process] = self._connect()
        return self._connections[process]

    def _connect(self) -> sqlite3.Connection:
        name = f"file:{quote(str(self.path.absolute()))}?mode={'ro' if self.read_only else 'rw'}"
        # Without a log, and without a place for one, nobody is writing.
        still = self.read_only and not Path(f"{self.path}-wal").exists()
        made = sqlite3.connect(
            name + "&immutable=1" * still,
            _WAIT,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        made.execute("PRAGMA synchronous = FULL")
        made.execute("PRAGMA cache_size = -16384")  # KiB
        return made

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the database for as long as the block runs; joins the one that is open."""
        with self.lock, in_words(self.folder):
            connection = self.connection
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction of one writer: all that the block does, on the disk when it ends, or nothing.

        Joins the one that is open.
        """
        with self.lock, in_words(self.folder):
            if self.read_only:
                raise GalleryError(str(self.folder), "cannot be written: the folder is read-only")
            connection = self.connection
            if connection.in_transaction:
                yield connection
                return
            self._begin(connection)
            try:
                yield connection
                connection.execute("UPDATE settings SET value = value + 1 WHERE key = 'generation'")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite may have rolled back itself
                    connection.execute("ROLLBACK")
                raise

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Wait for other writers in short steps: SQLite's own steps would never meet the gap of a busy one."""
        end = time.monotonic() + _WAIT
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > end:
                        raise
                    time.sleep(0.001)
                else:
                    return
        finally:
            connection.execute(f"PRAGMA busy_timeout = {1000 * _WAIT:.0f}")

    def setting(self, key: str) -> Any:
        """A number or text by its name, or None."""
        row = self.connection.execute("SELECT value FROM settings WHERE key = ?", [key]).fetchone()
        return row[0] if row else None

    def set(self, **values: Any) -> None:
        """Set numbers or texts, inside a transaction."""
        self.connection.executemany("REPLACE INTO settings VALUES (?, ?)", values.items())

    def begin(self, what: str, op: int | None = None) -> int:
        """Note, inside a transaction, what it does: a new operation, or `op` if that is still the latest one."""
        run = self.connection.execute
        latest = run("SELECT max(op) FROM operations").fetchone()[0]
        if op is None or op != latest:
            run("INSERT INTO operations (what, at) VALUES (?, datetime('now'))", [what])
            op = int(run("SELECT max(op) FROM operations").fetchone()[0])
            run("DELETE FROM changes WHERE op <= ?", [op - _UNDONE])
            run("DELETE FROM operations WHERE op <= ?", [op - _UNDONE])
        self.set(op=op)
        return op

    def changed(self, op: int) -> bool:
        """Whether an operation has changed anything; else it is forgotten, inside its transaction."""
        run = self.connection.execute
        if run("SELECT 1 FROM changes WHERE op = ? LIMIT 1", [op]).fetchone():
            return True
        run("DELETE FROM operations WHERE op = ?", [op])
        return False

    def undo(self) -> str | None:
        """Inside a transaction: take the latest operation back, and what it was; None if there is none."""
        run = self.connection.execute
        row = run("SELECT op, what FROM operations ORDER BY op DESC LIMIT 1").fetchone()
        if row is None:
            return None
        op, what = row
        self.set(op=None)
        run("DELETE FROM items WHERE id IN (SELECT id FROM changes WHERE op = ?)", [op])
        first = "SELECT min(n) FROM changes WHERE op = ? GROUP BY id"
        before = f"SELECT {COLUMNS} FROM changes WHERE gone AND n IN ({first}) ORDER BY n"
        run(f"INSERT INTO items ({COLUMNS}) {before}", [op])
        run("DELETE FROM changes WHERE op = ?", [op])
        run("DELETE FROM operations WHERE op = ?", [op])
        return str(what)


@contextmanager
def in_words(folder: Path) -> Iterator[None]:
    """What SQLite and the system say in the block, as a `GalleryError`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            what, hint = f"another process has been writing for {_WAIT:.0f} seconds", "try again"
        elif "full" in text:
            what, hint = "cannot be written: no space left on the disk", "nothing has changed"
        elif "readonly" in text or "unable to open" in text or "disk I/O" in text:
            what, hint = f"cannot be written or read: {text}", "nothing has changed"
        else:
            what = f"{FILE} is damaged: {text}"
            hint = f"`tinysight gallery doctor {folder}` repairs what it can; else put a snapshot in its place"
        raise GalleryError(str(folder), what, hint) from None
    except OSError as error:
        where = str(error.filename or folder)
        raise GalleryError(where, (error.strerror or str(error)).lower()) from None


def settle(path: Path, settings: dict[str, Any], script: str = "") -> None:
    """Bring a database that nobody else has opened to the disk, after `script`, with these settings, in WAL mode."""
    made = sqlite3.connect(path, isolation_level=None)
    try:
        made.executescript(script)
        made.executemany("REPLACE INTO settings VALUES (?, ?)", settings.items())
        made.execute("PRAGMA journal_mode = WAL")
    finally:
        made.close()  # which empties the log into the file
    with path.open("rb") as file:
        os.fsync(file.fileno())
