"""An image as a vector, for comparing images: the task, and the post-processors of a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses, tasks
from tinysight.tasks.base import Scored, SearchExample, Task, TaskTable
from tinysight.tasks.postprocess import check_scores
from tinysight.tasks.results import CodeResult, EmbeddingResult

if TYPE_CHECKING:
    from tinysight.data.targets import Target
    from tinysight.metrics.retrieval import Ranks, Search

_NEAREST = 6  # entries that a report shows of a query


@postprocesses.register("embedding")
@dataclass(frozen=True)
class Embedding:
    """The network's output, brought to length 1 by `normalize` as PaddleClas' galleries expect it."""

    normalize: bool = True

    result = EmbeddingResult

    def __call__(self, scores: np.ndarray) -> list[EmbeddingResult]:
        """Vectors for the outputs (N, D); a vector of zeros stays one."""
        if scores.ndim != 2:
            raise ConfigError("embedding", f"expected (N, D), got shape {scores.shape}")
        if self.normalize:
            lengths = np.sqrt(np.square(scores, dtype=np.float64).sum(1, keepdims=True))
            scores = (scores / np.maximum(lengths, 1e-30)).astype(np.float32)
        return [EmbeddingResult("", row) for row in scores]


@postprocesses.register("binarize")
@dataclass(frozen=True)
class Binarize:
    """An embedding as bits, eight a number, the first bit the highest.

    A bit is 1 where the value is at least 1/2 (`round`, for values from 0 to 1), or where it is
    positive (`sign`).
    """

    method: Literal["round", "sign"] = "round"

    result = CodeResult

    def __call__(self, scores: np.ndarray) -> list[CodeResult]:
        """Codes of embeddings (N, D), D a multiple of eight."""
        check_scores(scores, ())
        if scores.shape[1] % 8:
            what = f"bits are packed by eight, the embedding has {scores.shape[1]} values"
            raise ConfigError("postprocess", what)
        bits = scores >= 0.5 if self.method == "round" else scores > 0
        return [CodeResult("", row) for row in np.packbits(bits, axis=1)]


def _sides(of: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the queries and of the gallery: all of them, or each in its own."""
    asked = of.roles.get("queries", np.ones(len(of.labels), bool))
    there = ~asked if "queries" in of.roles else asked
    return np.flatnonzero(asked), np.flatnonzero(there)


def _ranked(of: Scored) -> tuple[Search, Ranks]:
    from tinysight.metrics.retrieval import ranks_of, search_of

    search = search_of(of.scores, of.labels, of.roles.get("queries"), of.roles.get("cameras"))
    return search, ranks_of(search)


@tasks.register("embedding")
class EmbeddingTask(Task):
    """An image as a vector: identities as labels, evaluated by searching every image among the others."""

    source = "embedding"
    activation = "normalize"
    output = "embedding"
    postprocesses = ("embedding", "binarize")
    has_classes = False
    records_scores = False
    whole_labels = True
    outcome = "average precision"
    default_metrics = ({"name": "retrieval"},)

    def targets(self) -> Mapping[str, Target]:
        from tinysight.data.targets import IdentityTarget

        return {"identity": IdentityTarget()}

    def outcomes(self, of: Scored) -> np.ndarray:
        found, precisions = _ranked(of)[1], np.full(len(of.labels), np.nan)
        if found.counts.any():
            precisions[_sides(of)[0][np.flatnonzero(found.counts)]] = found.precisions()
        return precisions

    def searches(self, of: Scored, count: int) -> list[SearchExample]:
        from tinysight.metrics.retrieval import nearest

        search, found = _ranked(of)
        if not found.counts.any():
            return []
        queries, gallery = _sides(of)
        rows, precisions = np.flatnonzero(found.counts), found.precisions()
        order = np.argsort(-precisions, kind="stable")
        chosen = [*order[:count], *order[count:][-count:]]
        examples = []
        for i in chosen:
            first = nearest(search, int(rows[i]), _NEAREST)
            near = [(int(gallery[g]), similarity, hit) for g, similarity, hit in first]
            examples.append(SearchExample(int(queries[rows[i]]), float(precisions[i]), near))
        return examples

    def sections(self, of: Scored) -> list[TaskTable]:
        (queries, gallery), known = _sides(of), of.labels >= 0
        there, many = np.unique(of.labels[gallery][known[gallery]], return_counts=True)
        alone = there if "queries" in of.roles else there[many > 1]  # itself is not to be found
        lost = ~(known[queries] & np.isin(of.labels[queries], alone))
        rows = {"queries": len(queries), "gallery": len(gallery)}
        rows |= {"queries of another identity": lost.sum()}
        rows |= {"identities": len(there), "identities with one image": (many == 1).sum()}
        return [TaskTable("Search", ("", "number"), [(k, str(int(v))) for k, v in rows.items()])]

    def flips(self, exact: np.ndarray, other: np.ndarray) -> int | None:
        """Images that another one is most similar to."""
        return int((_most_similar(exact) != _most_similar(other)).sum())

    def lost_points(self, exact: np.ndarray, other: np.ndarray, labels: np.ndarray) -> float | None:
        """Percentage points of recall@1, of the images whose identity another one has."""
        if not (labels >= 0).all():
            return None
        ids, counts = np.unique(labels, return_counts=True)
        known = np.flatnonzero(np.isin(labels, ids[counts > 1]))
        if not len(known):
            return None
        first = [_most_similar(side)[known] for side in (exact, other)]
        right = [int((labels[f] == labels[known]).sum()) for f in first]
        return 100 * (right[0] - right[1]) / len(known)

    def perfect_scores(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        _, index = np.unique(labels, return_inverse=True)
        return np.asarray(np.eye(int(index.max(initial=0)) + 1, dtype=np.float32)[index])


def _most_similar(vectors: np.ndarray) -> np.ndarray:
    """For each vector the place of the one most similar to it, itself left out."""
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -np.inf)
    return np.asarray(cosine.argmax(axis=1))
