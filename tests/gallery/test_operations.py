"""Random operations by two writers, watched by four readers, equal a model; and so do processes at the same time."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery.play import DIM, IDS, KINDS, Model, Step, check, draw, perform
from support.commands import start
from tinysight.gallery import sqlite_store
from tinysight.gallery.health import verify
from tinysight.gallery.sqlite_store import SqliteStore

STEPS = st.builds(
    Step, st.sampled_from(KINDS), st.lists(st.sampled_from(IDS[:8]), min_size=1, max_size=4, unique=True).map(tuple),
    st.integers(0, 60),
)  # fmt: skip


class Game:
    """Two writers and four readers of one gallery; each sees what any of them has written."""

    def __init__(self, folder: Path) -> None:
        self.model = Model()
        self.writers = [SqliteStore.create(folder, dim=DIM), SqliteStore(folder)]
        self.readers = [SqliteStore(folder) for _ in range(4)]
        self.turn = 0

    def play(self, step: Step, every: int = 1) -> None:
        self.turn += 1
        perform(self.writers[step.number % 2], step)
        self.model.apply(step)
        if self.turn % every == 0:
            check(self.readers[self.turn // every % 4], self.model.items, self.turn)

    def end(self) -> None:
        for store in (*self.writers, *self.readers):
            check(store, self.model.items, self.turn)
        problems = [p.what for p in verify(self.writers[0])]
        assert [p for p in problems if "no embedding" not in p] == []
        for store in (*self.writers, *self.readers):
            store.close()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix takes up rows, and is made anew, every few operations."""
    monkeypatch.setattr(sqlite_store, "TAIL", 5)


@settings(max_examples=12, deadline=None, suppress_health_check=[*HealthCheck])
@given(steps=st.lists(STEPS, min_size=1, max_size=12))
def test_any_operations_equal_the_model(
    steps: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    game = Game(tmp_path_factory.mktemp("game") / "g")
    for step in steps:
        game.play(step)
    game.end()


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_operations_equal_the_model(count: int, tmp_path: Path) -> None:
    game, rng = Game(tmp_path / "g"), random.Random(1)
    for _ in range(count):
        game.play(draw(rng), every=1 if count < 1000 else 5)
    game.end()


WRITE = """
import sys, time
import numpy as np
from tinysight.gallery.base import Item
from tinysight.gallery import sqlite_store
from tinysight.gallery.sqlite_store import SqliteStore
sqlite_store.TAIL = 5  # so that the matrix grows and is made anew all the time
folder, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
store, end, i = SqliteStore(folder), time.monotonic() + seconds, 0
rng = np.random.default_rng(ord(name))
while time.monotonic() < end:
    one = rng.standard_normal(8).astype(np.float32)
    pair = [f"{name}{i} left", f"{name}{i} right"]
    store.add([Item(p, "pair", one) for p in pair])
    if i % 3 == 2:
        store.remove([f"{name}{i - 1} left", f"{name}{i - 1} right"])
    i += 1
print(i)
"""
READ = """
import json, sys, time
import numpy as np
from tinysight.gallery.sqlite_store import SqliteStore
store, end = SqliteStore(sys.argv[1]), time.monotonic() + float(sys.argv[2])
halves = looks = 0
while time.monotonic() < end:
    (found,) = store.search(np.ones((1, 8), np.float32), 100_000)
    ids = [match.id for match in found]
    halves += len(ids) % 2 or len({one.split()[0] for one in ids}) * 2 != len(ids)
    looks += 1
print(json.dumps([halves, looks]))
"""


def test_processes_at_the_same_time(tmp_path: Path) -> None:
    """Writers add and remove pairs; no reader ever sees half of one."""
    SqliteStore.create(tmp_path / "g", dim=8).close()
    writers = [start("-c", WRITE, tmp_path / "g", name, 3) for name in "ab"]
    readers = [start("-c", READ, tmp_path / "g", 3) for _ in range(2)]
    wrote = [int(p.communicate(timeout=60)[0]) for p in writers]
    read = [json.loads(p.communicate(timeout=60)[0]) for p in readers]
    assert min(wrote) > 5
    assert [halves for halves, _ in read] == [0, 0]
    assert min(looks for _, looks in read) > 5
    store = SqliteStore(tmp_path / "g")
    assert store.count() == sum(2 * (n - n // 3) for n in wrote)
    assert verify(store) == []
