"""A gallery as text: a line that says what it is, then a JSON object an item, its vector as numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinysight.disk import write_atomic
from tinysight.errors import DataError, GalleryError
from tinysight.gallery.base import Item
from tinysight.gallery.database import FILE
from tinysight.gallery.entries import all_items
from tinysight.gallery.sqlite_store import SqliteStore

_KEYS = ("metric", "dim", "model")


def export_items(store: SqliteStore, path: str | Path) -> int:
    """Write every item to `path` (`.jsonl`, or `-`), and their number."""
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        yield _line({"gallery": 1, **{key: getattr(store, key) for key in _KEYS}})
        for count, item in enumerate(all_items(store), 1):  # noqa: B007 - the number is asked for
            vector = None if item.vector is None else item.vector.tolist()
            yield _line({**item._asdict(), "vector": vector})

    write_atomic(Path(path), lines())
    return count


def import_items(folder: str | Path, path: str | Path) -> int:
    """Add what `export_items` wrote, in one transaction, to a gallery, which is made if it is missing; their number.

    Where `path` is an index folder of another program, a new gallery is made of it.

    Raises:
        DataError: a line is no item.
        GalleryError: the vectors are of another kind, or of another bundle.
    """
    if Path(path).is_dir():
        from tinysight.foreign import import_index

        return int(import_index(Path(path), Path(folder)).count())
    try:
        with Path(path).open(encoding="utf-8") as file:
            about = _read(file.readline(), f"{path}:1")
            if about.get("gallery") != 1 or any(key not in about for key in _KEYS):
                raise DataError(str(path), "is no exported gallery")
            given = {key: about[key] for key in _KEYS}
            missing = not (Path(folder) / FILE).exists()
            store = SqliteStore.create(folder, **given) if missing else SqliteStore(folder)
            if other := [key for key in _KEYS if getattr(store, key) != given[key]]:
                raise GalleryError(str(folder), f"another {other[0]} than that of {path}")
            with store.operation("import"):
                return store.add(_items(file, str(path), store))
    except (OSError, UnicodeDecodeError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise DataError(str(path), f"not readable: {text}") from None


def _items(lines: Any, path: str, store: SqliteStore) -> Iterator[Item]:
    for number, line in enumerate(lines, 2):
        row = _read(line, f"{path}:{number}")
        try:
            if (vector := row.get("vector")) is not None:
                row["vector"] = np.array(vector, store.layout.kind)
            yield Item(**row)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}:{number}", f"is no item: {error}") from None


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _read(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise DataError(where, "is no JSON object")
    return row
