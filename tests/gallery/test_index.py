"""The approximate index against an exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.hard_vectors import Identities
from tinysight.errors import DataError
from tinysight.gallery.base import Metric
from tinysight.gallery.index import ApproximateIndex
from tinysight.gallery.nearest import exact_scores, is_distance

N, K = 3000, 10
KEYS = 3 * np.arange(N) + 5
Hard = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def hard() -> Hard:
    """A matrix, queries that are new images of its identities, and images of others."""
    identities = Identities(N // 5 + 100)
    others = identities.draw(N // 5 + np.arange(300) // 3)
    return identities.draw(np.arange(N) // 5), identities.draw(np.arange(200)), others


@pytest.fixture(scope="module")
def built(hard: Hard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "whole"
    ApproximateIndex.build(KEYS, hard[0], "cosine").save(path)
    return path


def nearest(metric: Metric, matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Distances of the nearest, from a search of all."""
    scores = exact_scores(metric, matrix, query)
    return np.sort(scores if is_distance(metric) else -scores)[:K]


def recall(
    index: ApproximateIndex,
    metric: Metric,
    matrix: np.ndarray,
    queries: np.ndarray,
    keys: np.ndarray,
) -> float:
    """Share of the nearest that are among the proposed."""
    shares = []
    for query, rows in zip(queries, index.propose(queries, K, keys), strict=True):
        assert len(set(rows.tolist())) == len(rows)
        among = nearest(metric, matrix[rows], query)
        shares.append((among <= nearest(metric, matrix, query)[-1]).mean())
    return float(np.mean(shares))


def test_the_recall_that_was_promised_is_had(hard: Hard, built: Path) -> None:
    index = ApproximateIndex.open(built)
    said = index.measured
    assert (said.count, said.last, said.churn, said.sample) == (N, int(KEYS[-1]), 0, 300)
    assert said.target == 0.99
    assert said.recall_low >= 0.99
    # The vectors lie near 64 dimensions, and codes of as many numbers do.
    assert said.short == 64
    # 200 other queries: within three standard errors of a share of 0.99 of 2,000.
    assert recall(index, "cosine", *hard[:2], KEYS) >= 0.98


@pytest.mark.parametrize("metric", ["inner_product", "l2", "hamming"])
def test_every_metric(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((2500, 48)).astype(np.float32) * 30
    if metric == "hamming":
        matrix = np.packbits(rng.random((2500, 128)) < np.repeat(rng.random((250, 128)), 10, 0), 1)
    index = ApproximateIndex.build(np.arange(2400), matrix[:2400], metric, recall=0.95)
    assert index.measured.recall_low >= 0.95
    assert recall(index, metric, matrix[:2400], matrix[2400:], np.arange(2400)) >= 0.93


def test_a_higher_recall_is_searched_wider(hard: Hard) -> None:
    few = hard[0][:1500]
    low, high = (
        ApproximateIndex.build(np.arange(1500), few, "cosine", recall=r).measured
        for r in (0.8, 0.999)
    )
    assert low.width < high.width


def test_what_is_gone_is_passed_over_however_much_it_is(hard: Hard, built: Path) -> None:
    index, (matrix, queries, _) = ApproximateIndex.open(built), hard
    left = np.random.default_rng(1).random(N) < 0.05
    assert recall(index, "cosine", matrix[left], queries, KEYS[left]) >= 0.95
    gone = np.flatnonzero(~left)
    for rows in index.propose(queries[:20], K, KEYS, gone):
        assert left[rows].all() and len(rows) >= K


def test_an_update_adds_removes_and_measures_again(hard: Hard, built: Path, tmp_path: Path) -> None:
    matrix, queries, more = hard
    keys = np.concatenate([KEYS[500:], KEYS[-1] + 1 + np.arange(300)])
    after = np.concatenate([matrix[500:], more])
    index = ApproximateIndex.open(built, writable=True)
    assert index.update(keys, after) is index
    said = index.measured
    assert (said.count, said.last, said.churn) == (N - 200, int(keys[-1]), 500)
    assert said.sample == 300 and said.recall_low >= 0.99
    index.save(tmp_path / "again")
    again = ApproximateIndex.open(tmp_path / "again")
    assert again.measured == said
    assert recall(again, "cosine", after, np.concatenate([queries, more[::5]]), keys) >= 0.98
    for rows in again.propose(more, K, keys):
        assert len(rows) == 40  # none of them was removed


def test_a_graph_that_changed_much_is_made_anew(hard: Hard, built: Path) -> None:
    index = ApproximateIndex.open(built, writable=True)
    assert index.update(KEYS[1000:], hard[0][1000:]) is None


@pytest.mark.slow
def test_codes_that_do_not_suit_what_is_new_are_made_anew(hard: Hard, built: Path) -> None:
    index = ApproximateIndex.open(built, writable=True)
    others = Identities(100, seed=9).draw(np.arange(300) // 3)  # on another surface
    keys = np.concatenate([KEYS, KEYS[-1] + 1 + np.arange(300)])
    assert index.update(keys, np.concatenate([hard[0], others])) is None


def test_damage_is_named(built: Path, tmp_path: Path) -> None:
    whole = built.read_bytes()
    for place in (3, 20, 60, 1000, len(whole) // 2, len(whole) - 1):
        broken = bytearray(whole)
        broken[place] ^= 4
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(DataError, match="damaged"):
            ApproximateIndex.open(tmp_path / "broken")
    for length in (0, 5, 40, len(whole) - 7):
        (tmp_path / "short").write_bytes(whole[:length])
        with pytest.raises(DataError, match="damaged"):
            ApproximateIndex.open(tmp_path / "short")


def test_no_items_no_proposals(built: Path) -> None:
    index = ApproximateIndex.open(built)
    none = np.zeros(0, np.int64)
    assert [len(rows) for rows in index.propose(np.zeros((2, 512), np.float32), K, none)] == [0, 0]
