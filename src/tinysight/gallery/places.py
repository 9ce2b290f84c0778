"""Galleries by their address, a folder or a server, and the way from one to the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinysight.errors import GalleryError
from tinysight.gallery.base import Item, Metric, Store
from tinysight.gallery.database import FILE
from tinysight.gallery.sqlite_store import SqliteStore

_SERVER = "milvus://"
_PAGE = 500  # items read and written at once
_SETTINGS = ("decision",)  # of a gallery, that go along


def open_store(where: str | Path) -> Any:
    """The store at an address: `milvus://HOST:PORT/COLLECTION`, or a folder.

    Raises:
        GalleryError: there is none.
        MissingDependency: what a server needs is not installed.
    """
    return _kind(where)(where)


def create_store(where: str | Path, *, metric: Metric, dim: int, model: str | None) -> Any:
    """An empty store at an address; raises `GalleryError` if there is one."""
    return _kind(where).create(where, metric=metric, dim=dim, model=model)


def exists(where: str | Path) -> bool:
    """Whether a store is at an address."""
    kind = _kind(where)
    return (Path(where) / FILE).exists() if kind is SqliteStore else bool(kind.exists(where))


def _kind(where: str | Path) -> Any:
    if not str(where).startswith(_SERVER):
        if "://" in str(where):
            hint = f"give a folder, or {_SERVER}HOST:PORT/COLLECTION"
            raise GalleryError(str(where), "no such kind of address", hint)
        return SqliteStore
    from tinysight.gallery.stores.milvus import MilvusStore

    return MilvusStore


def store_like(store: Store, where: str | Path) -> Any:
    """The store at an address, made if it is missing, for the same vectors as another.

    Raises:
        GalleryError: what is there is for other vectors.
    """
    given = {name: getattr(store, name) for name in ("metric", "dim", "model")}
    found = open_store(where) if exists(where) else create_store(where, **given)
    for name, value in given.items():
        if getattr(found, name) != value:
            raise GalleryError(
                str(found.folder), f"another {name} than that of the gallery to copy"
            )
    return found


def migrate(
    source: Store, target: Store, progress: Callable[[int], object] | None = None
) -> tuple[int, int]:
    """Copy every item that `target` lacks or has otherwise, page by page in the order of the ids.

    What was killed is taken up by calling it again: what is there is read and compared, and not written.

    Args:
        source: read; others may write it meanwhile, and a second call takes up what they changed.
        target: for the same vectors.
        progress: called with the number of items that were looked at.

    Returns:
        How many items there are, and how many of them were written.

    Raises:
        GalleryError: `target` has items that `source` has not.
    """
    after, seen, written = "", 0, 0
    while page := source.items(after=after, limit=_PAGE):
        there = {item.id: item for item in target.get([item.id for item in page])}
        if new := [item for item in page if not _same(there.get(item.id), item)]:
            written += target.add(new)
        after, seen = page[-1].id, seen + len(page)
        if progress:
            progress(seen)
    target.set(**{name: source.setting(name) for name in _SETTINGS})
    if (more := target.count() - source.count()) > 0:
        what = f"has {more} items that the gallery copied to it has not"
        raise GalleryError(
            str(getattr(target, "folder", "")), what, "remove them, or copy elsewhere"
        )
    return seen, written


def _same(a: Item | None, b: Item) -> bool:
    if a is None or (a.vector is None) is not (b.vector is None):
        return False
    vectors = b.vector is None or np.array_equal(a.vector, b.vector)  # type: ignore[arg-type]
    return vectors and a._replace(vector=None) == b._replace(vector=None)
