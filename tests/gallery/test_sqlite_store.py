"""The embedded store: the contract, and what is its own: the matrix, undo, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gallery.conformance import StoreConformance
from tinysight.gallery import sqlite_store
from tinysight.gallery.base import Metric
from tinysight.gallery.sqlite_store import SqliteStore


class Make:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, metric: Metric, dim: int) -> SqliteStore:
        return SqliteStore.create(self.folder / "gallery", metric=metric, dim=dim)

    def again(self, store: SqliteStore) -> SqliteStore:
        return SqliteStore(store.folder)


class TestSqliteStore(StoreConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Any:
        return Make(tmp_path)


class TestSmallTails(StoreConformance):
    """The same with a matrix that takes up every row at once."""

    @pytest.fixture
    def make(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(sqlite_store, "TAIL", 1)
        return Make(tmp_path)
