"""Every recorded retrieval metric, evaluation and re-ranking of PaddleClas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from support.golden import Case, each_case, not_built
from support.options import Options
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

KINDS = ("argsort", "rerank", "retrieval", "retrieval_eval")
# Equal similarities: PaddleClas' order among them is arbitrary. Codes of signs give many.
TIES = ("ties", "sign")


@each_case("metrics", lambda case: case.get("kind") in KINDS)
def test_recorded(case: Case) -> None:
    arrays = case.arrays
    if case["kind"] == "argsort":
        check_order(arrays)
    elif case["kind"] == "rerank":
        options = Options(case["kwargs"], case["name"])
        options.without_effect("feature_normed")  # how the same distances are computed
        words = {"k1": "k1", "k2": "k2", "lamb": "original_weight"}
        found = rerank(arrays["query_feat"], arrays["gallery_feat"], **options.renamed(words))
        options.check()
        np.testing.assert_allclose(found, arrays["dist"], atol=2e-3)
    elif case["kind"] == "retrieval":
        check_metric(case, arrays)
    else:
        check_evaluation(case, arrays)


def check_order(arrays: dict[str, np.ndarray]) -> None:
    """The recorded order is one by similarity; ours takes the earlier entry of equal ones first."""
    ordered = np.take_along_axis(arrays["sim"], arrays["order"].astype(int), axis=1)
    assert (np.diff(ordered, axis=1) <= 0).all()


def measured(name: str, options: dict[str, Any], hits: np.ndarray) -> dict[str, float]:
    given = Options(options, name)
    given.without_effect("descending")  # `check_metric` turns the similarities
    k = given.get("topk", (1, 5))
    given.check()
    k = (k,) if isinstance(k, int) else tuple(k)
    match name:
        case "Recallk":
            return recall_at_k(hits, k)
        case "Precisionk":
            return precision_at_k(hits, k)
        case "mAP":
            return mean_average_precision(hits)
        case "mINP":
            return mean_inverse_penalty(hits, ranks_from_zero=True)
    return not_built(name)


def tied(similarity: np.ndarray, wanted: np.ndarray, sign: int) -> np.ndarray:
    """Similarities that differ where they were equal: what is wanted first (1), or last (-1)."""
    _, rank = np.unique(similarity.round(5), return_inverse=True)
    return np.asarray(rank.reshape(similarity.shape) * 3 + sign * wanted, np.float64)


def check_metric(case: Case, arrays: dict[str, np.ndarray]) -> None:
    query, gallery = arrays["query"], arrays["gallery"]
    similarity = arrays["sim"] if case["kwargs"].get("descending", True) else -arrays["sim"]
    keep = arrays.get("keep")
    if any(math.isnan(float(v)) for v in case["outputs"].values()):
        with pytest.raises(DataError, match="no query has anything to find"):
            measured(case["name"], case["kwargs"], ranked_hits(similarity, query, gallery, keep))
        return
    if any(word in case["id"] for word in TIES):
        wanted = query.reshape(-1, 1) == gallery.ravel()
        bounds = [
            measured(
                case["name"],
                case["kwargs"],
                ranked_hits(tied(similarity, wanted, s), query, gallery),
            )
            for s in (-1, 1)
        ]
        for name, value in case["outputs"].items():
            assert bounds[0][name] - 1e-6 <= value <= bounds[1][name] + 1e-6
        return
    hits = ranked_hits(similarity, query, gallery, keep, masked="zero")
    assert measured(case["name"], case["kwargs"], hits) == pytest.approx(case["outputs"], abs=1e-6)


def check_evaluation(case: Case, arrays: dict[str, np.ndarray]) -> None:
    config = Options(case["config_global"], case["id"])
    config.without_effect("retrieval_feature_from")  # one vector is recorded
    features = [arrays["query_feat"], arrays["gallery_feat"]]
    if config.get("feature_normalize", True):
        features = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in features]
    if config.get("feature_binarize") == "sign":
        features = [np.sign(f) for f in features]
    elif config.get("feature_binarize") == "round":
        features = [np.round(f) * 2 - 1 for f in features]
    query, gallery = arrays["query_label"], arrays["gallery_label"]
    similarity = features[0] @ features[1].T
    if config.get("re_ranking"):
        similarity = -rerank(*features)
    keep = None
    if "query_camera" in arrays:
        cameras = arrays["query_camera"], arrays["gallery_camera"]
        keep = other_cameras(query, gallery, *cameras)
    # PaddleClas puts what is not compared at a distance of 1e20 here, at a similarity of 0 otherwise.
    masked = "left_out" if config.get("re_ranking") else "zero"
    size = config.get("sim_block_size", 64)
    size = len(query) if config.get("re_ranking") else size  # which is of all queries at once
    config.check()
    found, bounds = {}, any(word in case["id"] for word in TIES)
    for (entry,) in (m.items() for m in case["metrics"]):
        name, options = entry
        if bounds:
            wanted = query.reshape(-1, 1) == gallery.ravel()
            low, high = (
                blocks(
                    name, options, tied(similarity, wanted, s), query, gallery, keep, size, masked
                )
                for s in (-1, 1)
            )
            for key in low:
                assert low[key] - 1e-6 <= case["outputs"][key] <= high[key] + 1e-6
        else:
            found |= blocks(name, options, similarity, query, gallery, keep, size, masked)
    if not bounds:
        limit = 2e-3 if config.get("re_ranking") else 1e-6  # in float16 there
        assert found == pytest.approx(case["outputs"], abs=limit)
        assert next(iter(found.values())) == pytest.approx(case["returned"], abs=limit)


def blocks(
    name: str,
    options: dict[str, Any],
    similarity: np.ndarray,
    query: np.ndarray,
    gallery: np.ndarray,
    keep: np.ndarray | None,
    size: int,
    masked: Any,
) -> dict[str, float]:
    """Mean of blocks of queries, weighted by their sizes, as PaddleClas' evaluation does it."""
    total = len(query)
    result: dict[str, float] = {}
    for start in range(0, total, size):
        part = slice(start, start + size)
        hits = ranked_hits(
            similarity[part], query[part], gallery, None if keep is None else keep[part], masked
        )
        for key, value in measured(name, options, hits).items():
            result[key] = result.get(key, 0.0) + value * len(hits) / total
    return result
