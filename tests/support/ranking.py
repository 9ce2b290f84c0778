"""Ranks of any table of similarities, and re-ranked distances in one piece, by the code that evaluates."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinysight.metrics.rerank import reranked
from tinysight.metrics.retrieval import Masked, Ranks, Search


def rank_matches(
    similarity: Any, query: Any, gallery: Any, keep: Any = None, masked: Masked = "left_out"
) -> Ranks:
    """Ranks of the entries of a query's label, (Q, G); `keep`: the pairs that are compared, (Q, G) bool."""
    query, gallery = np.ravel(query), np.ravel(gallery)
    block = np.array(similarity, np.float64)
    kept = np.broadcast_to(True, block.shape) if keep is None else np.asarray(keep, bool)

    class Given(Search):
        def matches(self, query: int) -> tuple[np.ndarray, np.ndarray]:
            same = self.gallery_ids == self.query_ids[query]
            return np.flatnonzero(same & kept[query]), np.flatnonzero(~kept[query])

    return Given(block, block, query, gallery).ranks([(slice(0, len(block)), block)], masked)


def rerank(queries: Any, gallery: Any, **options: Any) -> np.ndarray:
    """All rows of `reranked`."""
    return np.concatenate([block for _, block in reranked(queries, gallery, **options)])
