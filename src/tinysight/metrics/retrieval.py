"""Retrieval: recall, precision, mAP and mINP of gallery rankings.

Everything starts from `ranked_hits`: similarities in order, as booleans. Queries without anything to
find are left out of all but the precision, as in PaddleClas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from tinysight.errors import DataError
from tinysight.metrics.checks import Array
from tinysight.registry import metrics

if TYPE_CHECKING:
    from annotated_types import Ge, MinLen


@metrics.register("retrieval")
def retrieval(
    scores: Array, labels: Array, k: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (1,)
) -> dict[str, float]:
    """Recall at each `k` and mAP of every image as a query among all the others, as `recall1`, ..., `mAP`.

    Images whose identity no other image has find nothing and are left out.

    Args:
        scores: embeddings of length 1, (N, D); quadratic in N.
        labels: identities, (N,); below 0 for images that belong to nobody.
        k: one or more numbers of entries.

    Raises:
        DataError: shapes that do not fit, NaN, or no two images of one identity.
    """
    identities = np.where(np.asarray(labels) < 0, -1 - np.arange(len(labels)), labels)
    vectors = np.asarray(scores, np.float32)
    others = ~np.eye(len(vectors), dtype=bool)
    hits = ranked_hits(vectors @ vectors.T, identities, identities, others)
    return recall_at_k(hits, k) | mean_average_precision(hits)


def ranked_hits(
    similarity: Array,
    query_labels: Array,
    gallery_labels: Array,
    keep: Array | None = None,
    masked: Literal["left_out", "zero"] = "left_out",
) -> Array:
    """Whether the gallery's entries are what a query looks for, most similar first; (Q, G) bool.

    Of equal similarities the earlier entry comes first; PaddleClas' order there is arbitrary.

    Args:
        similarity: (Q, G); the negative of a distance will do.
        query_labels: (Q,).
        gallery_labels: (G,).
        keep: (Q, G) bool, the entries that a query may be compared with; all by default.
        masked: what becomes of the others: they come last, or, as in PaddleClas, their
            similarity is 0 and they take the place that belongs to it, as no hits.

    Raises:
        DataError: shapes that do not fit, or NaN.
    """
    similarity = np.asarray(similarity)
    query, gallery = np.asarray(query_labels).ravel(), np.asarray(gallery_labels).ravel()
    if similarity.shape != (len(query), len(gallery)) or not similarity.size:
        what = f"similarities {similarity.shape} of {len(query)} queries, {len(gallery)} entries"
        raise DataError("ranked_hits", what)
    if np.isnan(similarity).any():
        raise DataError("ranked_hits", "a similarity is NaN")
    hits = query[:, None] == gallery
    if keep is not None:
        hits &= np.asarray(keep, bool)
        similarity = np.where(keep, similarity, -np.inf if masked == "left_out" else 0.0)
    order = np.argsort(-similarity, axis=1, kind="stable")
    return np.take_along_axis(hits, order, axis=1)


def recall_at_k(hits: Array, k: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Share of queries with a hit among the first k, as `recall1`, ...

    Args:
        hits: of `ranked_hits`, (Q, G).
        k: one or more numbers of entries.

    Raises:
        DataError: no query has anything to find.
    """
    found = _matched(hits, "recall_at_k")
    return {f"recall{n}": float(found[:, :n].any(axis=1).mean()) for n in k}


def precision_at_k(hits: Array, k: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Mean share of hits among the first k, over all queries, as `precision@1`, ..."""
    return {f"precision@{n}": float(hits[:, :n].sum(axis=1).mean() / n) for n in k}


def mean_average_precision(hits: Array) -> dict[str, float]:
    """Mean over queries of the mean precision at their hits, as `mAP`.

    Raises:
        DataError: no query has anything to find.
    """
    found = _matched(hits, "mAP")
    precision = found.cumsum(axis=1) / np.arange(1, found.shape[1] + 1)
    return {"mAP": float(((precision * found).sum(axis=1) / found.sum(axis=1)).mean())}


def mean_inverse_penalty(hits: Array, ranks_from_zero: bool = False) -> dict[str, float]:
    """Mean of (hits / rank of the last hit), as `mINP`: how long one searches for all; arXiv:2001.04193.

    Args:
        hits: of `ranked_hits`, (Q, G).
        ranks_from_zero: count ranks from 0, as PaddleClas does by mistake: its values may exceed
            1, and are infinite for a query whose only match comes first.

    Raises:
        DataError: no query has anything to find.
    """
    found = _matched(hits, "mINP")
    last = found.shape[1] - found[:, ::-1].argmax(axis=1)
    with np.errstate(divide="ignore"):
        return {"mINP": float((found.sum(axis=1) / (last - ranks_from_zero)).mean())}


def other_cameras(
    query_labels: Array, gallery_labels: Array, query_cameras: Array, gallery_cameras: Array
) -> Array:
    """`keep` of re-identification: all but the same identity seen by the same camera; (Q, G) bool."""
    pairs = ((query_labels, gallery_labels), (query_cameras, gallery_cameras))
    label, camera = (np.asarray(q).ravel()[:, None] == np.asarray(g).ravel() for q, g in pairs)
    return np.asarray(~(label & camera))


def rerank(
    queries: Array, gallery: Array, *, k1: int = 20, k2: int = 6, original_weight: float = 0.3
) -> Array:
    """Distances after k-reciprocal re-ranking, (Q, G) float32; smaller is nearer.

    Two vectors are near if they share the neighbours that count them as neighbours in turn.
    Quadratic in Q + G in memory, for up to ten thousand or so. `ranked_hits` takes the negative of the result, with
    `keep` where entries of the same camera do not count.

    Args:
        queries: vectors, (Q, D).
        gallery: vectors, (G, D).
        k1: neighbours that are looked at.
        k2: neighbours whose sets are averaged; 1 for none.
        original_weight: of the squared Euclidean distance in the result.

    Raises:
        DataError: fewer than two vectors.

    Source: Z. Zhong et al., arXiv:1701.08398.
    """
    vectors = np.concatenate([queries, gallery]).astype(np.float32)
    if len(vectors) < 2:
        raise DataError("rerank", "needs two vectors or more")
    lengths = np.square(vectors).sum(axis=1)
    distance = np.maximum(lengths[:, None] + lengths - 2.0 * vectors @ vectors.T, 0.0)
    distance = (distance / distance.max(axis=0)).T
    rank = np.argsort(distance, axis=1, kind="stable")
    count, shares = len(vectors), np.zeros_like(distance)
    wide, narrow = _reciprocal(rank, k1), _reciprocal(rank, int(np.around(k1 / 2)))
    for i in range(count):
        near = wide[i]
        more = [n for n in (narrow[c] for c in near) if np.isin(n, near).sum() > 2 / 3 * len(n)]
        members = np.unique(np.concatenate([near, *more]))
        weight = np.exp(-distance[i, members])
        shares[i, members] = weight / weight.sum()
    if k2 > 1:
        shares = np.stack([shares[rank[i, :k2]].mean(axis=0) for i in range(count)])
    common = np.stack([np.minimum(row, shares).sum(axis=1) for row in shares[: len(queries)]])
    jaccard = 1.0 - common / (2.0 - common)
    result = jaccard * (1.0 - original_weight) + distance[: len(queries)] * original_weight
    return np.asarray(result[:, len(queries) :], np.float32)


def _reciprocal(rank: Array, k: int) -> list[Array]:
    """For each vector those among its k nearest, itself included, that count it among theirs."""
    first = rank[:, : k + 1]
    return [near[(first[near] == i).any(axis=1)] for i, near in enumerate(first)]


def _matched(hits: Array, where: str) -> Array:
    found = hits[hits.any(axis=1)]
    if not len(found):
        raise DataError(where, "no query has anything to find in the gallery")
    return found
