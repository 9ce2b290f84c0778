"""Rankings by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tinysight.errors import DataError
from tinysight.metrics.retrieval import (
    mean_average_precision,
    mean_inverse_penalty,
    other_cameras,
    precision_at_k,
    ranked_hits,
    recall_at_k,
    rerank,
)

# Query 0 finds its two at ranks 2 and 4, query 1 its one at rank 1, query 2 has none.
SIMILARITY = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.2, 0.3, 0.8], [0.1, 0.2, 0.3, 0.4]])
QUERY, GALLERY = np.array([1, 0, 7]), np.array([0, 1, 2, 1])


def test_metrics_by_hand() -> None:
    hits = ranked_hits(SIMILARITY, QUERY, GALLERY)
    assert hits.astype(int).tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert recall_at_k(hits, (1, 2)) == {"recall1": 0.5, "recall2": 1.0}
    assert precision_at_k(hits, (1, 2)) == pytest.approx(
        {"precision@1": 1 / 3, "precision@2": 1 / 3}
    )
    assert mean_average_precision(hits)["mAP"] == pytest.approx((1 / 2 + 1) / 2)
    assert mean_inverse_penalty(hits)["mINP"] == pytest.approx((2 / 4 + 1) / 2)
    assert mean_inverse_penalty(hits[:1], ranks_from_zero=True)["mINP"] == pytest.approx(2 / 3)
    assert mean_inverse_penalty(hits, ranks_from_zero=True)["mINP"] == np.inf


def test_what_may_not_be_compared_is_left_out() -> None:
    keep = np.ones((3, 4), bool)
    keep[0, [0, 1]] = False
    assert ranked_hits(SIMILARITY, QUERY, GALLERY, keep)[0].tolist() == [False, True, False, False]
    # PaddleClas gives them the similarity 0, so they come after all that is above
    below = SIMILARITY - 0.5
    zero = ranked_hits(below, QUERY, GALLERY, keep, masked="zero")[0]
    assert zero.tolist() == [False, False, False, True]  # .2, 0, 0, -.4


def test_cameras_by_hand() -> None:
    keep = other_cameras(
        np.array([1, 2]), np.array([1, 1, 2]), np.array([5, 5]), np.array([5, 6, 5])
    )
    assert keep.tolist() == [[False, True, True], [True, True, False]]


@pytest.mark.parametrize(
    ("similarity", "words"),
    [(SIMILARITY[:, :3], "entries"), (SIMILARITY * np.nan, "NaN")],
)
def test_what_cannot_be_ranked(similarity: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ranked_hits(similarity, QUERY, GALLERY)


def test_nothing_to_find() -> None:
    hits = ranked_hits(SIMILARITY, QUERY + 10, GALLERY)
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


def test_reranking_with_cameras() -> None:
    """What the same camera saw of a person comes last, however near it is."""
    angles = np.deg2rad([0, 10, 21, 33, 100, 115, 3])
    *gallery, query = np.stack([np.cos(angles), np.sin(angles)], 1)
    people, cameras = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 2, 1, 1, 1, 2])
    keep = other_cameras([0], people, [1], cameras)
    assert keep.tolist() == [[False, True, False, True, True, True]]
    hits = ranked_hits(-rerank([query], gallery, k1=3, k2=2), [0], people, keep)
    assert hits.tolist() == [[True, False, False, False, False, False]]
    assert recall_at_k(hits, (1,)) == {"recall1": 1.0}
    # Lengths are no matter of course: squared distances are those of the vectors as they are.
    far = rerank([3 * query], 3 * np.array(gallery), k1=3, k2=2)
    np.testing.assert_allclose(far, rerank([query], gallery, k1=3, k2=2), atol=1e-5)
