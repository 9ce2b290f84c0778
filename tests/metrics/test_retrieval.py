"""Rankings by hand."""

from __future__ import annotations

import numpy as np
import pytest

from support.ranking import rank_matches, rerank
from tinysight.errors import DataError
from tinysight.metrics import rerank as reranking
from tinysight.metrics.retrieval import (
    Ranks,
    mean_average_precision,
    mean_inverse_penalty,
    precision_at_k,
    ranks_of,
    recall_at_k,
    retrieval,
    search_of,
)

# Query 0 finds its two at ranks 2 and 4, query 1 its one at rank 1, query 2 has none.
SIMILARITY = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.2, 0.3, 0.8], [0.1, 0.2, 0.3, 0.4]])
QUERY, GALLERY = np.array([1, 0, 7]), np.array([0, 1, 2, 1])


def other_cameras(
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
) -> np.ndarray:
    """`keep` of re-identification: all but the same identity seen by the same camera; (Q, G) bool."""
    pairs = ((query_labels, gallery_labels), (query_cameras, gallery_cameras))
    label, camera = (np.asarray(q).ravel()[:, None] == np.asarray(g).ravel() for q, g in pairs)
    return np.asarray(~(label & camera))


def test_metrics_by_hand() -> None:
    hits = rank_matches(SIMILARITY, QUERY, GALLERY)
    assert [part.tolist() for part in hits] == [[2, 1, 0], [2, 4, 1]]
    assert recall_at_k(hits, (1, 2)) == {"recall1": 0.5, "recall2": 1.0}
    assert precision_at_k(hits, (1, 2)) == pytest.approx(
        {"precision@1": 1 / 3, "precision@2": 1 / 3}
    )
    assert mean_average_precision(hits)["mAP"] == pytest.approx((1 / 2 + 1) / 2)
    assert mean_inverse_penalty(hits)["mINP"] == pytest.approx((2 / 4 + 1) / 2)
    assert mean_inverse_penalty(hits.part(0, 1), ranks_from_zero=True)["mINP"] == pytest.approx(
        2 / 3
    )
    assert mean_inverse_penalty(hits, ranks_from_zero=True)["mINP"] == np.inf


def test_what_may_not_be_compared_is_left_out() -> None:
    keep = np.ones((3, 4), bool)
    keep[0, [0, 1]] = False
    assert rank_matches(SIMILARITY, QUERY, GALLERY, keep).part(0, 1).ranks.tolist() == [2]
    # PaddleClas gives them the similarity 0, so they come after all that is above
    below = SIMILARITY - 0.5
    zero = rank_matches(below, QUERY, GALLERY, keep, masked="zero").part(0, 1)
    assert zero.ranks.tolist() == [4]  # .2, 0, 0, -.4


def test_cameras_by_hand() -> None:
    keep = other_cameras(
        np.array([1, 2]), np.array([1, 1, 2]), np.array([5, 5]), np.array([5, 6, 5])
    )
    assert keep.tolist() == [[False, True, True], [True, True, False]]


def test_what_cannot_be_ranked() -> None:
    with pytest.raises(DataError, match="NaN"):
        rank_matches(SIMILARITY * np.nan, QUERY, GALLERY)


def test_nothing_to_find() -> None:
    hits = rank_matches(SIMILARITY, QUERY + 10, GALLERY)
    for metric in (recall_at_k, mean_average_precision, mean_inverse_penalty):
        with pytest.raises(DataError, match="anything to find"):
            metric(hits)
    assert precision_at_k(hits, (1,)) == {"precision@1": 0.0}


def test_reranking_trusts_neighbours_in_common() -> None:
    # Two bunches; a query between them, a little nearer to an outlier of the other bunch.
    angles = np.deg2rad([0, 2, 4, 6, 60, 62, 64, 31.9])
    gallery = np.stack([np.cos(angles), np.sin(angles)], 1)
    query = np.stack([np.cos(np.deg2rad([3.0])), np.sin(np.deg2rad([3.0]))], 1)
    distance = rerank(query, gallery, k1=3, k2=2)
    assert distance.shape == (1, 8)
    assert distance[0, :4].max() < distance[0, 4:].min()
    plain = rerank(query, gallery, k1=3, k2=1, original_weight=1.0)
    assert np.argsort(plain[0]).tolist() == np.argsort(-(query @ gallery.T)[0]).tolist()
    with pytest.raises(DataError, match="two vectors"):
        rerank(query, gallery[:0])


def circle(degrees: list[float]) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


# 0 and 2 degrees, seen by one camera, 5 by another: one identity. 4.5 degrees: another, alone. 9: of nobody.
VECTORS, IDS = circle([0, 2, 5, 4.5, 9]), np.array([7, 7, 7, 8, -1])
CAMERAS = np.array([1, 1, 2, 1, 2])
QUERIES = np.array([True, False, False, True, False])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # from 0: 2 4.5 5 9; from 2: 0 4.5 5 9; from 5: 4.5 2 9 0
        ({}, {"recall1": 2 / 3, "mAP": ((1 + 2 / 3) / 2 + (1 + 2 / 3) / 2 + (1 / 2 + 2 / 4) / 2) / 3}),
        ({"exclude": "none"}, {"recall1": 1.0}),
        ({"cameras": CAMERAS}, {"recall1": 0.0, "mAP": (1 / 2 + 1 / 2 + (1 / 2 + 2 / 4) / 2) / 3}),
        ({"cameras": CAMERAS, "exclude": "self"}, {"recall1": 2 / 3}),
        ({"queries": QUERIES}, {"recall1": 1.0, "mAP": 1.0}),
        ({"queries": QUERIES, "cameras": CAMERAS}, {"recall1": 1.0, "mAP": 1.0}),
        (
            {"queries": QUERIES, "measures": ("precision", "mINP"), "k": (1, 2)},
            {"precision@1": 0.5, "precision@2": 0.5, "mINP": 1.0},
        ),
        ({"exclude": "none", "measures": ("mINP",), "ranks_from_zero": True}, {"mINP": np.inf}),
        ({"average_blocks": 1, "measures": ("recall",)}, {"recall1": 2 / 3}),
    ],
)  # fmt: skip
def test_a_search_by_hand(options: dict[str, object], expected: dict[str, float]) -> None:
    found = retrieval(VECTORS, IDS, **options)  # type: ignore[arg-type]
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_bits_and_what_a_search_cannot_be() -> None:
    bits = np.array([[0.9, 0.1], [0.8, 0.3], [0.2, 0.6]], np.float32)
    assert retrieval(bits, np.array([0, 0, 1]), binarize="round")["recall1"] == 1.0
    assert retrieval(bits - 0.5, np.array([0, 0, 1]), binarize="sign")["mAP"] == 1.0
    for change, words in (
        ({"scores": VECTORS * np.nan}, "5 vectors hold NaN; the first is row 0"),
        ({"labels": IDS[:3]}, "labels"),
        ({"exclude": "camera"}, "the lists name no cameras"),
        ({"queries": np.ones(5, bool)}, "nothing to search them in"),
        ({"labels": np.arange(5)}, "no query has anything to find"),
    ):
        with pytest.raises(DataError, match=words):
            retrieval(**{"scores": VECTORS, "labels": IDS, **change})


def test_blocks_and_counting_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks of a random search with ties, against an argsort of every row."""
    rng = np.random.default_rng(3)
    vectors = rng.integers(-1, 2, (700, 6)).astype(np.float32)  # whole numbers: products are exact
    ids, cameras = rng.integers(0, 60, 700), rng.integers(0, 3, 700)
    search = search_of(vectors, ids, None, cameras)
    monkeypatch.setattr(reranking, "_BLOCK", 700 * 13)
    found = ranks_of(search)
    similarity = vectors @ vectors.T
    keep = other_cameras(ids, ids, cameras, cameras)
    order = np.argsort(-np.where(keep, similarity, -np.inf), axis=1, kind="stable")
    hits = np.take_along_axis((ids[:, None] == ids) & keep, order, axis=1)
    wanted = Ranks(hits.sum(axis=1), np.nonzero(hits)[1] + 1)
    assert np.array_equal(found.counts, wanted.counts)
    assert np.array_equal(found.ranks, wanted.ranks)
    assert (wanted.counts < 48).all()  # of few matches in long rows the ranks are counted
    whole = rerank(vectors[:40], vectors[40:], k1=5, k2=3)
    monkeypatch.undo()
    np.testing.assert_allclose(rerank(vectors[:40], vectors[40:], k1=5, k2=3), whole, atol=1e-6)


def test_reranking_with_cameras() -> None:
    """What the same camera saw of a person comes last, however near it is."""
    angles = np.deg2rad([0, 10, 21, 33, 100, 115, 3])
    *gallery, query = np.stack([np.cos(angles), np.sin(angles)], 1)
    people, cameras = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 2, 1, 1, 1, 2])
    keep = other_cameras([0], people, [1], cameras)
    assert keep.tolist() == [[False, True, False, True, True, True]]
    far = rerank([query], gallery, k1=3, k2=2)
    ranks = rank_matches(-far, np.array([0]), people, keep)
    assert ranks.ranks.tolist() == [1]
    assert recall_at_k(ranks, (1,)) == {"recall1": 1.0}
    # Lengths are no matter of course: squared distances are those of the vectors as they are.
    longer = rerank([3 * query], 3 * np.array(gallery), k1=3, k2=2)
    np.testing.assert_allclose(longer, far, atol=1e-5)
