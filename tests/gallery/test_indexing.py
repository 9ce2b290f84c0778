"""A gallery in a folder that is searched with an index."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from support.commands import tinysight
from support.hard_vectors import Identities
from tinysight.gallery.base import Item, Match
from tinysight.gallery.index import places_of
from tinysight.gallery.sqlite_store import TAIL, SqliteStore

N, K = 2400, 10
VECTORS = Identities(N // 5).draw(np.arange(N) // 5)
QUERIES = Identities(N // 5).draw(np.arange(N // 5))[:100]


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    """Of N items, indexed; an exact search otherwise only up to 500."""
    store = SqliteStore.create(tmp_path / "g", dim=512)
    store.indexing.exact = 500
    add(store, 0, N)
    store.rewrite()
    assert store.indexing.refresh()
    return store


def add(store: SqliteStore, start: int, end: int) -> None:
    store.add(Item(f"{i:05}", f"of {i // 5}", VECTORS[i]) for i in range(start, end))


def exactly(store: SqliteStore) -> list[list[Match]]:
    """The nearest of all items, by another reader."""
    other = SqliteStore(store.folder)
    found = other.search(QUERIES, K)
    other.close()
    return found


def agreement(store: SqliteStore) -> float:
    """Share of the nearest that are found, all with the exact score."""
    shares = []
    for ours, truth in zip(store.search(QUERIES, K), exactly(store), strict=True):
        assert ours == sorted(ours, key=lambda m: (-m.score, m.id)) and len(ours) == K
        shares.append(len({*ours} & {*truth}) / K)
    return float(np.mean(shares))


def test_what_comes_and_goes_is_seen_at_once(store: SqliteStore) -> None:
    assert store.indexing.of(rows(store)) is not None
    assert agreement(store) > 0.98
    # Into the tail.
    store.add([Item("new", "mine", QUERIES[0])])
    assert store.search(QUERIES[:1], 1)[0][0][:2] == ("new", "mine")
    # Replaced and removed ones.
    (near,) = store.search(QUERIES[1:2], 3)
    store.remove([near[0].id])
    store.add([Item(near[1].id, "again", QUERIES[1])])
    (then,) = store.search(QUERIES[1:2], 3)
    assert [m.id for m in then][:2] == [near[1].id, near[2].id] and then[0].label == "again"
    # Undone: the removed one lies in the tail now.
    store.undo(), store.undo()
    assert store.search(QUERIES[1:2], 3) == [near]
    assert agreement(store) > 0.98


def rows(store: SqliteStore):  # type: ignore[no-untyped-def]
    with store.snapshot() as (_, found):
        return found


def test_a_matrix_that_was_made_anew_keeps_the_index(store: SqliteStore) -> None:
    store.remove([f"{i:05}" for i in range(0, N, 3)])
    store.compact()
    assert len(rows(store).base) == N - N // 3
    assert store.indexing.of(rows(store)) is not None
    assert agreement(store) > 0.98


def test_rows_that_the_index_lacks_are_searched_exactly(store: SqliteStore) -> None:
    more = Identities(N // 5).draw(np.arange(TAIL + 10) % 7)
    store.add(Item(f"new {i}", "x", row) for i, row in enumerate(more))
    assert len(rows(store).base) > N  # folded
    for (found,) in store.search(more[::100], 1):
        assert found.score == pytest.approx(1) and found.label == "x"
    before = store.indexing.of(rows(store))
    assert store.indexing.refresh()
    after = store.indexing.of(rows(store))
    assert before and after and after.measured.count == N + TAIL + 10 and before is not after
    assert agreement(store) > 0.98


def test_an_index_most_of_which_is_gone_is_not_used(store: SqliteStore) -> None:
    store.remove([f"{i:05}" for i in range(N * 6 // 10)])
    assert store.indexing.of(rows(store)) is None
    assert agreement(store) == 1


def test_a_damaged_index_is_named_and_done_without(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(store.indexing.path.read_bytes())
    data[len(data) // 2] ^= 1
    store.indexing.path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert agreement(store) == 1
    assert "index.bin: this index is damaged" in caplog.text
    assert store.indexing.refresh()
    assert agreement(store) > 0.98
    data[30] ^= 1
    store.indexing.path.write_bytes(data)
    assert "damaged" in store.indexing.about()


def test_who_may_make_it(store: SqliteStore) -> None:
    from tinysight.disk import lock_file

    with (store.folder / ".index.lock").open("wb") as lock:
        lock_file(lock, "index")
        assert not store.indexing.refresh()


def test_when_it_is_due(store: SqliteStore) -> None:
    assert not store.indexing.due()
    store.remove([f"{i:05}" for i in range(N // 5)])
    store.rewrite()
    assert store.indexing.due()
    store.indexing.refresh()
    assert not store.indexing.due()
    store.indexing.exact = N
    assert not store.indexing.due()
    assert "exact, up to" in store.indexing.about()


def test_places_of_numbers_with_gaps() -> None:
    rng = np.random.default_rng(0)
    for share in (1.0, 0.9, 0.3, 0.01):
        numbers = 7 + np.flatnonzero(rng.random(500) < share)
        wanted = np.sort(rng.choice(600, 80, replace=False))
        found = places_of(numbers, wanted)
        assert numbers[found].tolist() == sorted({*numbers.tolist()} & {*wanted.tolist()})
    assert len(places_of(np.zeros(0, np.int64), np.arange(3))) == 0


@pytest.mark.slow
def test_a_large_gallery_gets_its_index_by_itself(tmp_path: Path) -> None:
    store = SqliteStore.create(tmp_path / "g", dim=16)
    vectors = np.random.default_rng(0).standard_normal((31_000, 16)).astype(np.float32)
    store.add(Item(f"{i:05}", "x", row) for i, row in enumerate(vectors))
    making = store.indexing._making
    assert making is not None and making.wait() == 0
    said = store.indexing.about()
    assert said.startswith("an index of 31000 vectors")
    done = tinysight("gallery", "index", tmp_path / "g", "--recall", "0.9")
    assert done.code == 0 and "of 0.9 wanted" in done.out
    assert store.search(vectors[77:78], 1)[0][0].id == "00077"
    assert "of 0.9 wanted" in tinysight("gallery", "stats", tmp_path / "g").out
