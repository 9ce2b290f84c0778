"""Retrieval: recall, precision, mAP and mINP of queries that are searched in a gallery.

Everything starts from the ranks of the matches, the images that a query should find. Every query is compared with every
entry, a block of queries at a time, so that memory stays bounded. Queries without a match are left out of all but the
precision, as in PaddleClas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from tinysight.errors import DataError
from tinysight.metrics.checks import Array
from tinysight.metrics.rerank import blocks_of_rows, reranked
from tinysight.registry import metrics

if TYPE_CHECKING:
    from annotated_types import Ge, MinLen

Measure: TypeAlias = Literal["recall", "mAP", "mINP", "precision"]
Excluded: TypeAlias = Literal["camera", "self", "none"]
_FEW = 48  # matches of a query whose ranks are counted one by one, which is faster than to sort a long row


class Ranks(NamedTuple):
    """Where in the order of the gallery the matches of each query stand.

    Attributes:
        counts: number of matches of each query, (Q,).
        ranks: of the matches, from 1, query by query and ascending in each, (M,).
    """

    counts: Array
    ranks: Array

    def part(self, start: int, end: int) -> Ranks:
        """Those of the queries from `start` to before `end`."""
        ends = np.concatenate([[0], self.counts.cumsum()])
        last = ends[min(end, len(self.counts))]
        return Ranks(self.counts[start:end], self.ranks[ends[start] : last])

    def places(self) -> tuple[Array, Array]:
        """Of each query with a match: the place of its first one in `ranks`, and its number of matches."""
        counts = self.counts[self.counts > 0]
        if not len(counts):
            raise DataError("retrieval", "no query has anything to find in the gallery")
        return counts.cumsum() - counts, counts

    def precisions(self) -> Array:
        """Average precision of each query with a match."""
        starts, counts = self.places()
        order = np.arange(len(self.ranks)) - np.repeat(starts, counts) + 1
        return np.asarray(np.add.reduceat(order / self.ranks, starts) / counts)


class Search(NamedTuple):
    """Queries, the gallery, and who belongs together.

    Attributes:
        query: vectors (Q, D); their scalar products with the gallery's are the similarities.
        gallery: vectors (G, D).
        query_ids: identities, (Q,); below 0 matches nothing.
        gallery_ids: (G,).
        query_cameras: (Q,); an entry of the same identity and camera is left out. None where all are compared.
        gallery_cameras: (G,).
        itself: True where query i is entry i, which is left out.
    """

    query: Array
    gallery: Array
    query_ids: Array
    gallery_ids: Array
    query_cameras: Array | None = None
    gallery_cameras: Array | None = None
    itself: bool = False

    def matches(self, query: int) -> tuple[Array, Array]:
        """Places in the gallery of what query `query` should find, and of what it is not compared with."""
        same = np.flatnonzero(self.gallery_ids == self.query_ids[query])
        if self.query_cameras is not None and self.gallery_cameras is not None:
            seen = self.gallery_cameras[same] == self.query_cameras[query]
            return same[~seen], same[seen]
        if self.itself:
            return same[same != query], np.array([query])
        return same, same[:0]

    def ranks(self, similar: Iterable[tuple[slice, Array]], masked: Masked = "left_out") -> Ranks:
        """The ranks by blocks of similarities, in the order of the queries; the blocks are written to."""
        found = []
        for rows, block in similar:
            _check_numbers(block)
            for query, row in zip(range(rows.start, rows.stop), block, strict=True):
                places, others = self.matches(query)
                row[others] = _MASKED[masked]
                found.append(_ranks(row, places))
        return Ranks(np.array([len(one) for one in found]), np.concatenate(found))


Masked: TypeAlias = Literal["left_out", "zero"]
_MASKED = {"left_out": -np.inf, "zero": 0.0}


def _check_numbers(similarity: Array) -> None:
    if np.isnan(similarity.sum()) and np.isnan(similarity).any():
        raise DataError("retrieval", "a similarity is NaN")


@metrics.register("retrieval")
def retrieval(
    scores: Array,
    labels: Array,
    queries: Array | None = None,
    cameras: Array | None = None,
    k: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (1,),
    measures: Annotated[tuple[Measure, ...], MinLen(1)] = ("recall", "mAP"),
    exclude: Excluded | None = None,
    rerank: bool = False,
    binarize: Literal["sign", "round"] | None = None,
    masked: Masked = "left_out",
    ranks_from_zero: bool = False,
    average_blocks: Annotated[int, Ge(1)] | None = None,
) -> dict[str, float]:
    """Queries searched in a gallery, or every image among all the others: `recall1`, ..., `mAP`, `mINP`, `precision@1`.

    Queries that nothing in the gallery belongs to are left out of all but the precision.

    Args:
        scores: embeddings of length 1, (N, D). Time grows with the square of N; memory does not, but for `rerank`'s
            neighbours (some 300 numbers an image).
        labels: identities, (N,); below 0 for images that belong to nobody.
        queries: True for queries, False for the gallery, (N,) bool; without, every image is both.
        cameras: id of the camera of each image, (N,).
        k: numbers of entries, for recall and precision.
        measures: what is computed, in this order; the first value picks the best epoch.
        exclude: entries that a query is not compared with: those of the same identity and `camera`, it`self`, or none.
            Default: by camera where the lists name cameras, else itself.
        rerank: order by k-reciprocal neighbours.
        binarize: compare bits: whether a value is positive (`sign`), or at least 1/2 (`round`, for values from 0 to 1).
        masked: what becomes of excluded entries: `left_out`, or `zero`: a similarity of 0 as in PaddleClas, where
            they stand in the way of what is less similar.
        ranks_from_zero: of mINP, as PaddleClas counts by mistake: above 1, or infinite.
        average_blocks: average the means of blocks of so many queries, as PaddleClas does (64 there): the same but
            where queries have no match.

    Raises:
        DataError: shapes that do not fit, NaN, no match for any query, or no cameras where they are asked for.
    """
    search = search_of(scores, labels, queries, cameras, exclude)
    found = ranks_of(search, rerank, binarize, masked)
    if average_blocks is None:
        return measured(found, k, measures, ranks_from_zero)
    total: dict[str, float] = {}
    shares: dict[str, int] = {}
    for start in range(0, len(found.counts), average_blocks):
        part = found.part(start, start + average_blocks)
        known = measures if part.counts.any() else [m for m in measures if m == "precision"]
        for name, value in measured(part, k, known, ranks_from_zero).items():
            total[name] = total.get(name, 0.0) + value * len(part.counts)
            shares[name] = shares.get(name, 0) + len(part.counts)
    found.places()
    return {name: value / shares[name] for name, value in total.items()}


def search_of(
    vectors: Array,
    labels: Array,
    queries: Array | None = None,
    cameras: Array | None = None,
    exclude: Excluded | None = None,
) -> Search:
    """The search that `retrieval` measures; its arguments, and raises as it does."""
    vectors, labels = np.asarray(vectors, np.float32), np.asarray(labels)
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1] or not vectors.size:
        raise DataError("retrieval", f"vectors {vectors.shape} with labels {labels.shape}")
    if np.isnan(vectors).any():
        rows = np.flatnonzero(np.isnan(vectors).any(axis=1))
        raise DataError("retrieval", f"{len(rows)} vectors hold NaN; the first is row {rows[0]}")
    if exclude == "camera" and cameras is None:
        what = "exclude: camera, but the lists name no cameras"
        raise DataError("retrieval", what, "a line is `path id camera`")
    ids = np.where(labels < 0, -1 - np.arange(len(labels)), labels)  # which match nothing
    asked = np.ones(len(ids), bool) if queries is None else np.asarray(queries, bool)
    there = np.ones(len(ids), bool) if queries is None else ~asked
    if not asked.any() or not there.any():
        raise DataError("retrieval", "no queries, or nothing to search them in")
    by_camera = cameras is not None and exclude in (None, "camera")
    found = Search(vectors[asked], vectors[there], ids[asked], ids[there])
    if cameras is not None and by_camera:
        return found._replace(query_cameras=cameras[asked], gallery_cameras=cameras[there])
    return found._replace(itself=queries is None and exclude != "none")


def ranks_of(
    search: Search,
    rerank: bool = False,
    binarize: Literal["sign", "round"] | None = None,
    masked: Masked = "left_out",
) -> Ranks:
    """The ranks of the matches of a search; see `retrieval`."""
    query, gallery = search.query, search.gallery
    if binarize:
        query, gallery = (binary(vectors, binarize) for vectors in (query, gallery))
    if rerank:  # what is excluded there is the farthest, in PaddleClas too
        return search.ranks((rows, -far) for rows, far in reranked(query, gallery))
    return search.ranks(similarities(query, gallery), masked)


def nearest(search: Search, query: int, k: int) -> list[tuple[int, float, bool]]:
    """Place in the gallery, similarity, and whether it is a match, of the first k entries that query `query` finds."""
    places, others = search.matches(query)
    similar = search.query[query] @ search.gallery.T
    similar[others] = -np.inf
    order = np.argsort(-similar, kind="stable")[:k]
    right = set(places.tolist())
    return [(i, float(similar[i]), i in right) for i in order.tolist() if np.isfinite(similar[i])]


def similarities(query: Array, gallery: Array) -> Iterator[tuple[slice, Array]]:
    """Scalar products of vectors (Q, D) and (G, D), by blocks of queries."""
    for rows in blocks_of_rows(len(query), len(gallery)):
        yield rows, query[rows] @ gallery.T


def binary(vectors: Array, method: Literal["sign", "round"]) -> Array:
    """The bits of vectors (N, D) as 1 and -1: whether a value is positive, or rounds to 1."""
    bits = np.sign(vectors) if method == "sign" else np.round(vectors) * 2.0 - 1.0
    return np.asarray(bits, np.float32)


def measured(
    found: Ranks, k: Sequence[int], measures: Iterable[str], ranks_from_zero: bool = False
) -> dict[str, float]:
    """The values of `measures`, in their order."""
    values: dict[str, float] = {}
    for measure in measures:
        match measure:
            case "recall":
                values |= recall_at_k(found, k)
            case "precision":
                values |= precision_at_k(found, k)
            case "mAP":
                values |= mean_average_precision(found)
            case "mINP":
                values |= mean_inverse_penalty(found, ranks_from_zero)
    return values


def _ranks(row: Array, places: Array) -> Array:
    """Ranks from 1, ascending, of the entries at `places` in one row of similarities."""
    if not len(places):
        return places
    own = row[places]
    above = np.flatnonzero(row >= own.min())  # nothing behind the last match matters
    if len(places) <= _FEW < len(above) // 32:
        # Above each match, and of its equals those in front of it.
        more = np.array([(row > value).sum() for value in own])
        equal = np.array([(row[:at] == value).sum() for at, value in zip(places, own, strict=True)])
        return np.sort(more + equal + 1)
    hits = np.zeros(len(row), bool)
    hits[places] = True
    return np.flatnonzero(hits[above[np.argsort(-row[above], kind="stable")]]) + 1


def recall_at_k(found: Ranks, k: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Share of queries with a match among the first k, as `recall1`, ...

    Args:
        found: of `ranks_of`.
        k: one or more numbers of entries.

    Raises:
        DataError: no query has anything to find.
    """
    first = found.ranks[found.places()[0]]
    return {f"recall{n}": float((first <= n).mean()) for n in k}


def precision_at_k(found: Ranks, k: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Mean share of matches among the first k, over all queries, as `precision@1`, ..."""
    return {f"precision@{n}": float((found.ranks <= n).sum() / len(found.counts) / n) for n in k}


def mean_average_precision(found: Ranks) -> dict[str, float]:
    """Mean over queries of the mean precision at their matches, as `mAP`.

    Raises:
        DataError: no query has anything to find.
    """
    return {"mAP": float(found.precisions().mean())}


def mean_inverse_penalty(found: Ranks, ranks_from_zero: bool = False) -> dict[str, float]:
    """Mean of (matches / rank of the last match), as `mINP`: how long one searches for all; arXiv:2001.04193.

    Args:
        found: of `ranks_of`.
        ranks_from_zero: count ranks from 0, as PaddleClas does by mistake: its values may exceed
            1, and are infinite for a query whose only match comes first.

    Raises:
        DataError: no query has anything to find.
    """
    starts, counts = found.places()
    last = found.ranks[starts + counts - 1]
    with np.errstate(divide="ignore"):
        return {"mINP": float((counts / (last - ranks_from_zero)).mean())}
