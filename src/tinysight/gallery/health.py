"""What is wrong with a gallery, what can be repaired, and which images are in it twice."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinysight.concurrency import by_key
from tinysight.errors import GalleryError, Problem
from tinysight.gallery.base import Store, is_distance
from tinysight.gallery.database import COLUMNS
from tinysight.gallery.entries import all_items
from tinysight.gallery.matrix import checksums, read_blocks
from tinysight.gallery.sqlite_store import SqliteStore, damaged

_SHOWN = 10  # ids in a message
_AT_ONCE = 256  # queries of the search for near duplicates


class Duplicates(NamedTuple):
    """Items that show the same image: `how` is `bytes`, `pixels` or `near`; `score` that of near ones."""

    how: str
    ids: tuple[str, ...]
    score: float | None = None


def verify(store: SqliteStore) -> list[Problem]:
    """Everything that keeps a gallery from being whole, read in blocks: none if it is.

    Looks at the pages of the database, the checksum of every item and of every row of the matrix, and for items without
    an embedding.
    """
    found, missing, wrong, alive = list[Problem](), list[str](), list[str](), array("q")
    path = str(store.database.path)
    try:
        with store.database.reading() as connection:
            for (text,) in connection.execute(f"PRAGMA integrity_check({_SHOWN})").fetchall():
                found += [Problem(path, text, "restore a snapshot")] * (text != "ok")
            for row in connection.execute(f"SELECT seq, {COLUMNS} FROM items NOT INDEXED"):
                if damaged(row):
                    wrong.append(str(row[1]))
                elif row[3] is None:
                    missing.append(row[1])
                else:
                    alive.append(row[0])
            found += _of_matrix(store, np.frombuffer(alive, np.int64))
    except GalleryError as error:
        found += error.problems
    if wrong:
        hint = "remove them and add their images again"
        found.append(Problem(path, f"{len(wrong)} damaged items: {_names(wrong)}", hint))
    if missing:
        what = f"{len(missing)} items have no embedding: {_names(missing)}"
        found.append(Problem(str(store.folder), what, "add their images again, or remove them"))
    return found


def _of_matrix(store: SqliteStore, alive: np.ndarray) -> Iterator[Problem]:
    names = ("matrix", "matrix_rows", "matrix_seq")
    name, count, last = (store.database.setting(key) for key in names)
    if name is None:
        return
    path, hint = store.folder / name, f"`tinysight gallery doctor {store.folder}` makes it anew"
    start = lacking = 0
    try:
        for block in read_blocks(path, store.layout, count):
            wrong = block["seq"][np.array(checksums(block)) != block["crc"]]
            if len(wrong):
                what = f"{len(wrong)} damaged rows, the first of item number {wrong[0]}"
                yield Problem(str(path), what, hint)
            end = int(np.searchsorted(alive, block["seq"][-1], "right"))
            lacking += int((~np.isin(alive[start:end], block["seq"])).sum())
            start = end
    except (GalleryError, OSError) as error:
        yield Problem(str(path), getattr(error, "strerror", None) or "is no matrix", hint)
        return
    if lacking := lacking + int(np.searchsorted(alive, last, "right")) - start:
        yield Problem(str(path), f"{lacking} items are missing from it", hint)


def repair(store: SqliteStore) -> list[Problem]:
    """Make anew what is made from the items (the indices of the database, the matrix), and what is still wrong."""
    try:
        with store.database.writing() as connection:
            connection.execute("REINDEX")
        store.rewrite()
    except GalleryError as error:
        return [*error.problems]
    return verify(store)


def stats(store: SqliteStore) -> dict[str, Any]:
    """Numbers of a gallery, by name; `bytes` are those of its folder."""
    with store.database.reading() as connection:
        labels = connection.execute("SELECT label, count(*) FROM items GROUP BY label").fetchall()
        return {
            "items": store.count(), "without_embedding": store.count("vector IS NULL"),
            "labels": dict(labels), "metric": store.metric, "dim": store.dim,
            "generation": store.database.setting("generation"),
            "search": store.indexing.about(),
            "operations": [what for _, what, _ in store.operations()],
            "bytes": sum(p.stat().st_size for p in store.folder.iterdir() if p.is_file()),
        }  # fmt: skip


def duplicates(store: SqliteStore, near: float | None = None) -> Iterator[Duplicates]:
    """Items of the same bytes, then of the same pixels in other bytes, then near ones.

    Args:
        store: the gallery.
        near: score from which two items are near ones, or up to which for distances; None: they are not looked for.
    """
    with store.database.reading() as connection:
        for how in ("content", "pixels"):
            many = "count(*)" if how == "content" else "count(DISTINCT content)"
            shared = f"SELECT {how} FROM items WHERE {how} != '' GROUP BY {how} HAVING {many} > 1"
            query = f"SELECT {how}, id FROM items WHERE {how} IN ({shared}) ORDER BY id"
            for ids in by_key(connection.execute(query)).values():
                yield Duplicates("bytes" if how == "content" else how, tuple(ids))
    if near is not None:
        yield from _near(store, near)


def _near(store: Store, near: float) -> Iterator[Duplicates]:
    distance = is_distance(store.metric)
    items = [item for item in all_items(store) if item.vector is not None]
    for start in range(0, len(items), _AT_ONCE):
        part = items[start : start + _AT_ONCE]
        vectors = np.stack([item.vector for item in part])  # type: ignore[misc]
        for item, matches in zip(part, store.search(vectors, _SHOWN), strict=True):
            for match in matches:
                close = match.score <= near if distance else match.score >= near
                if close and item.id < match.id:
                    yield Duplicates("near", (item.id, match.id), match.score)


def _names(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + ", ..." * (len(ids) > _SHOWN)
