"""Random operations on a gallery, and a dictionary that says what it must hold after each."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gallery.conformance import agree, oracle
from tinysight.gallery.base import Item
from tinysight.gallery.sqlite_store import SqliteStore

DIM = 8
IDS = [f"item {i}" for i in range(40)]
VECTORS = np.random.default_rng(7).standard_normal((12, DIM)).astype(np.float32)
KINDS = ("add", "add", "add", "remove", "update", "undo", "undo", "compact", "rewrite", "build")
UNDONE = 100
State = dict[str, Item]


class Step(NamedTuple):
    """One operation: its kind, the ids that it is about, and a number that decides the rest."""

    kind: str
    ids: tuple[str, ...]
    number: int


def draw(rng: random.Random, kinds: tuple[str, ...] = KINDS) -> Step:
    ids = tuple(rng.sample(IDS, rng.randint(1, 6)))
    return Step(rng.choice(kinds), ids, rng.randrange(1000))


def made(step: Step) -> list[Item]:
    """The items that an operation writes; some have no vector, many have equal ones."""
    found = []
    for place, one in enumerate(step.ids):
        number = step.number + place
        vector = None if number % 11 == 0 else VECTORS[number % len(VECTORS)]
        found.append(Item(one, f"label {number % 5}", vector, metadata={"n": number}))
    return found


class Model:
    """What the gallery must hold."""

    def __init__(self) -> None:
        self.items: State = {}
        self.before: list[State] = []

    def apply(self, step: Step) -> None:
        old = dict(self.items)
        if step.kind == "undo":
            if self.before:
                self.items = self.before.pop()
            return
        if step.kind == "compact":
            self.before.clear()
        if step.kind in ("add", "build"):
            self.items.update((item.id, item) for item in made(step))
        elif step.kind == "remove":
            for one in step.ids:
                self.items.pop(one, None)
        elif step.kind == "update":
            for one in step.ids:
                if one in self.items:
                    self.items[one] = self.items[one]._replace(label=f"new {step.number}")
        changed = step.kind in ("add", "build") or any(one in old for one in step.ids)
        if changed and step.kind not in ("compact", "rewrite"):
            self.before = [*self.before, old][-UNDONE:]


def perform(store: SqliteStore, step: Step, after: Callable[[], object] = lambda: None) -> None:
    """Do an operation; `after` is called after each of its transactions."""
    if step.kind == "add":
        store.add(made(step))
    elif step.kind == "build":  # in several transactions
        with store.operation("build"):
            items = made(step)
            for start in range(0, len(items), 2):
                store.add(items[start : start + 2])
                after()
    elif step.kind == "remove":
        store.remove(step.ids)
    elif step.kind == "update":
        there = store.get(step.ids)
        if there:
            store.add([item._replace(label=f"new {step.number}") for item in there])
    elif step.kind == "undo":
        if store.operations():
            store.undo()
    elif step.kind == "compact":
        store.compact()
    else:
        store.rewrite()


def check(store: SqliteStore, state: State, query: int = 0, k: int = 10) -> None:
    """A reader's view is `state`."""
    assert store.count() == len(state)
    assert plain(store.items()) == plain([state[one] for one in sorted(state)])
    vector = VECTORS[query % len(VECTORS)] + np.float32(0.01)
    agree(store.search(vector[None], k)[0], oracle("cosine", state, vector, k))


def plain(items: list[Item]) -> list[tuple[object, ...]]:
    """Items that can be compared."""
    return [
        (i.id, i.label, None if i.vector is None else i.vector.tobytes(), dict(i.metadata))
        for i in items
    ]
