"""What every store of a gallery does, as tests: subclass `StoreConformance` and define the fixture `make`.

`make(metric, dim)` gives an empty store; calling `make.again(store)` opens another reader of the same items. Vectors of
the tests are small and worked out by hand, or compared with plain arithmetic in double precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinysight.errors import DataError
from tinysight.gallery.base import METRICS, Item, Match, Metric, Store


def oracle(metric: Metric, items: dict[str, Item], query: np.ndarray, k: int) -> list[Match]:
    """The nearest items by plain arithmetic."""
    found = []
    for item in items.values():
        if item.vector is None:
            continue
        a, b = item.vector.astype(np.float64), query.astype(np.float64)
        if metric == "cosine":
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            score = float(a @ b / lengths) if lengths else 0.0
        elif metric == "inner_product":
            score = float(a @ b)
        elif metric == "l2":
            score = float(((a - b) ** 2).sum())
        else:
            score = float(np.unpackbits(item.vector ^ query).sum())
        found.append(Match(item.id, item.label, score))
    sign = 1 if metric in ("l2", "hamming") else -1
    return sorted(found, key=lambda match: (sign * match.score, match.id))[:k]


def vectors(metric: Metric, count: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if metric == "hamming":
        return rng.integers(0, 256, (count, dim // 8), np.uint8)
    return rng.standard_normal((count, dim)).astype(np.float32)


def items_of(rows: np.ndarray, prefix: str = "i") -> dict[str, Item]:
    return {
        f"{prefix}{i:04d}": Item(f"{prefix}{i:04d}", f"label {i % 7}", row)
        for i, row in enumerate(rows)
    }


def agree(found: list[Match], expected: list[Match]) -> None:
    """The same items with the same scores; near ties may stand in either order."""
    assert len(found) == len(expected)
    scores = [match.score for match in found]
    assert scores == pytest.approx([match.score for match in expected], rel=1e-5, abs=1e-5)
    last = expected[-1].score if expected else 0.0
    sure = {match for match in expected if abs(match.score - last) > 1e-4}
    assert {match[:2] for match in sure} <= {match[:2] for match in found}


class StoreConformance:
    """The contract of `Store`."""

    @pytest.fixture
    def make(self) -> Any:
        raise NotImplementedError

    def test_an_empty_gallery_finds_nothing(self, make: Any) -> None:
        store: Store = make("cosine", 16)
        assert store.count() == 0
        assert store.items() == []
        assert store.get(["a"]) == []
        assert store.remove(["a"]) == 0
        assert store.search(np.ones((2, 16), np.float32), 3) == [[], []]

    def test_everything_of_an_item_comes_back(self, make: Any) -> None:
        store: Store = make("cosine", 16)
        given = Item(
            "a/b c.png", "Oolong  tea, 500 ml\t乌龙", np.arange(16, dtype=np.float32), "0" * 64, "f" * 64,
            "shelf/a b.png", {"price": 3.5, "tags": ["new", None], "中": True},
        )  # fmt: skip
        assert store.add([given, Item("none", "")]) == 2
        (found, none) = store.get(["a/b c.png", "none"])
        assert found._replace(vector=None) == given._replace(vector=None)
        assert found.vector is not None and found.vector.dtype == np.float32
        np.testing.assert_array_equal(found.vector, given.vector)
        assert none.vector is None
        assert store.count() == 2

    def test_ids_come_in_order_page_by_page(self, make: Any) -> None:
        store: Store = make("l2", 16)
        rows = items_of(vectors("l2", 25, 16))
        store.add(rows.values())
        first = store.items(limit=10)
        second = store.items(after=first[-1].id, limit=100)
        assert [item.id for item in first + second] == sorted(rows)
        assert [i.id for i in store.items(label="label 3")] == [
            one for one in sorted(rows) if rows[one].label == "label 3"
        ]
        assert [item.id for item in store.get(["i0003", "?", "i0001"])] == ["i0003", "i0001"]

    @pytest.mark.parametrize("metric", METRICS)
    def test_search_is_that_of_plain_arithmetic(self, make: Any, metric: Metric) -> None:
        store: Store = make(metric, 64)
        rows = items_of(vectors(metric, 300, 64))
        store.add(rows.values())
        store.add([Item("empty", "no vector")])
        for k in (1, 10, 400):
            queries = vectors(metric, 3, 64, seed=1)
            for query, found in zip(queries, store.search(queries, k), strict=True):
                agree(found, oracle(metric, rows, query, k))

    @pytest.mark.parametrize("metric", METRICS)
    def test_ties_come_in_the_order_of_their_ids(self, make: Any, metric: Metric) -> None:
        store: Store = make(metric, 16)
        row, far = vectors(metric, 2, 16)
        store.add([Item(one, "x", row) for one in ("d", "a", "c", "b")] + [Item("e", "y", far)])
        (found,) = store.search(row[None], 3)
        assert [match.id for match in found] == ["a", "b", "c"]
        assert len({match.score for match in found}) == 1

    def test_adding_again_replaces(self, make: Any) -> None:
        store: Store = make("cosine", 16)
        a, b = np.eye(2, 16, dtype=np.float32)
        store.add([Item("one", "old", a), Item("two", "x", b)])
        store.add([Item("one", "new", b)])
        assert store.count() == 2
        assert [m[:2] for m in store.search(b[None], 5)[0]] == [("one", "new"), ("two", "x")]
        assert store.search(a[None], 1)[0][0].score == pytest.approx(0, abs=1e-6)
        store.add([Item("two", "first", a), Item("two", "last", b)])
        assert store.get(["two"])[0].label == "last"

    def test_what_is_removed_is_not_found(self, make: Any) -> None:
        store: Store = make("cosine", 16)
        rows = items_of(vectors("cosine", 40, 16))
        store.add(rows.values())
        gone = sorted(rows)[::2]
        assert store.remove([*gone, "never there"]) == len(gone)
        left = {one: rows[one] for one in sorted(rows)[1::2]}
        query = vectors("cosine", 1, 16, seed=2)
        agree(store.search(query, 40)[0], oracle("cosine", left, query[0], 40))
        assert store.count() == len(left)
        assert [item.id for item in store.items()] == sorted(left)

    def test_open_readers_see_changes_at_once(self, make: Any) -> None:
        store: Store = make("cosine", 16)
        reader: Store = make.again(store)
        rows = items_of(vectors("cosine", 5, 16))
        for number, item in enumerate(rows.values(), 1):
            store.add([item])
            assert reader.count() == number
            assert item.vector is not None
            assert reader.search(item.vector[None], 1)[0][0].id == item.id
        store.remove(["i0004"])
        assert rows["i0004"].vector is not None
        assert reader.search(rows["i0004"].vector[None], 1)[0][0].id != "i0004"
        reader.close()

    def test_a_refused_batch_leaves_nothing(self, make: Any) -> None:
        store: Store = make("cosine", 16)
        good = Item("good", "x", np.ones(16, np.float32))
        for bad in (
            Item("short", "x", np.ones(8, np.float32)),
            Item("nan", "x", np.full(16, np.nan, np.float32)),
            Item("", "x", np.ones(16, np.float32)),
            Item("strange", "x", np.ones(16, np.float32), metadata={"a": object()}),
        ):
            with pytest.raises(DataError):
                store.add([good, bad])
            assert store.count() == 0
        with pytest.raises(DataError):
            store.search(np.ones((1, 8), np.float32), 1)
