"""Every recorded retrieval metric, evaluation and re-ranking of PaddleClas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from support.golden import Case, each_case, not_built
from support.options import Options
from support.ranking import rank_matches, rerank
from tinysight.errors import DataError
from tinysight.metrics.rerank import reranked
from tinysight.metrics.retrieval import (
    Ranks,
    binary,
    mean_average_precision,
    mean_inverse_penalty,
    precision_at_k,
    recall_at_k,
    retrieval,
    search_of,
)

KINDS = ("argsort", "rerank", "retrieval", "retrieval_eval")
# Equal similarities: PaddleClas' order among them is arbitrary.
TIES = ("ties",)
MEASURES = {"Recallk": "recall", "mAP": "mAP", "mINP": "mINP", "Precisionk": "precision"}


@each_case("metrics", lambda case: case.get("kind") in KINDS)
def test_recorded(case: Case) -> None:
    check(case)


@each_case("metrics_extra")
def test_recorded_with_more_options(case: Case) -> None:
    check(case)


def check(case: Case) -> None:
    arrays = case.arrays
    if case["kind"] == "argsort":
        check_order(arrays)
    elif case["kind"] == "rerank":
        options = Options(case["kwargs"], case["name"])
        words = {"k1": "k1", "k2": "k2", "lamb": "original_weight"}
        found = rerank(
            arrays["query_feat"], arrays["gallery_feat"], **options.renamed(words),
            swapped=not options["feature_normed"],
        )  # fmt: skip
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


def measured(name: str, options: dict[str, Any], hits: Ranks) -> dict[str, float]:
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
            measured(case["name"], case["kwargs"], rank_matches(similarity, query, gallery, keep))
        return
    if any(word in case["id"] for word in TIES):
        wanted = query.reshape(-1, 1) == gallery.ravel()
        bounds = [
            measured(
                case["name"],
                case["kwargs"],
                rank_matches(tied(similarity, wanted, s), query, gallery),
            )
            for s in (-1, 1)
        ]
        for name, value in case["outputs"].items():
            assert bounds[0][name] - 1e-6 <= value <= bounds[1][name] + 1e-6
        return
    hits = rank_matches(similarity, query, gallery, keep, masked="zero")
    assert measured(case["name"], case["kwargs"], hits) == pytest.approx(case["outputs"], abs=1e-6)


def check_evaluation(case: Case, arrays: dict[str, np.ndarray]) -> None:
    """The metric itself, with the options that make it count as PaddleClas does."""
    config = Options(case["config_global"], case["id"])
    config.without_effect("retrieval_feature_from")  # one vector is recorded
    features = np.concatenate([arrays["query_feat"], arrays["gallery_feat"]])
    if config.get("feature_normalize", True):
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    labels = np.concatenate([arrays["query_label"], arrays["gallery_label"]]).ravel()
    roles = {"queries": np.arange(len(labels)) < len(arrays["query_feat"])}
    if "query_camera" in arrays:
        roles["cameras"] = np.concatenate(
            [arrays["query_camera"], arrays["gallery_camera"]]
        ).ravel()
    binarize = config.get("feature_binarize")
    if binarize:
        check_ties(case, features, labels, roles)
        return
    found: dict[str, float] = {}
    swapped = config.get("re_ranking", False) and not config.get("feature_normalize", True)
    for (entry,) in (m.items() for m in case["metrics"]):
        name, options = entry[0], Options(entry[1], case["id"])
        options.without_effect("descending")  # the similarities are turned
        if case["returned"] == "nan":  # a block without a match spoils the whole there
            continue
        if swapped:
            search = search_of(features, labels, **roles)
            far = reranked(search.query, search.gallery, swapped=True)
            ranks = search.ranks((rows, -block) for rows, block in far)
            found |= measured(name, options, ranks)
            continue
        found |= retrieval(
            features, labels, **roles, k=tuple(options.get("topk", (1, 5))),
            measures=(MEASURES[name],), rerank=config.get("re_ranking", False),
            masked="zero", ranks_from_zero=True, average_blocks=config.get("sim_block_size", 64),
        )  # fmt: skip
        options.check()
    if case["returned"] == "nan":
        found = retrieval(features, labels, **roles, average_blocks=config["sim_block_size"])
        assert all(map(math.isfinite, found.values()))  # over the queries that have a match
        return
    config.check()
    limit = 2e-3 if config.get("re_ranking") else 1e-6  # in float16 there
    expected = {name: float(value) for name, value in case["outputs"].items()}
    assert found == pytest.approx(expected, abs=limit)
    assert next(iter(found.values())) == pytest.approx(float(case["returned"]), abs=limit)


def check_ties(
    case: Case, features: np.ndarray, labels: np.ndarray, roles: dict[str, np.ndarray]
) -> None:
    """Equal similarities: between what comes out with the matches first, and last, among their equals."""
    search = search_of(features, labels, **roles)
    method = case["config_global"]["feature_binarize"]
    similarity = binary(search.query, method) @ binary(search.gallery, method).T
    wanted = search.query_ids[:, None] == search.gallery_ids
    found = [
        rank_matches(tied(similarity, wanted, sign), search.query_ids, search.gallery_ids)
        for sign in (-1, 1)
    ]
    for (entry,) in (m.items() for m in case["metrics"]):
        low, high = (measured(entry[0], entry[1], ranks) for ranks in found)
        for key in low:
            assert low[key] - 1e-6 <= case["outputs"][key] <= high[key] + 1e-6
