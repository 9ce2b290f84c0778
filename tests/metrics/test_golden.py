"""Every recorded metric of classification."""

from __future__ import annotations

import re

import numpy as np
import pytest

from support.golden import Case, each_case, not_built
from support.options import Options
from tinysight.errors import DataError
from tinysight.metrics.binary import tpr_at_fpr
from tinysight.metrics.classification import topk
from tinysight.metrics.multilabel import mean_accuracy
from tinysight.registry import metrics

TOPK = ("TopkAcc", "DistillationTopkAcc", "GoogLeNetTopkAcc")  # all of the recorded logits
GRID = 10_000
MULTILABEL = {
    "AccuracyScore": "multilabel_accuracy",
    "HammingDistance": "hamming",
    "MultiLabelMAP": "multilabel_map",
    "MultilabelMeanAccuracy": "best_mean_accuracy",
}
WORDS = {"start_threshold": "start", "end_threshold": "end", "num_iterations": "steps"}


@each_case("metrics", lambda case: case.get("kind") is None)  # others: test_golden_retrieval
def test_recorded(case: Case) -> None:
    if case["name"] in TOPK:
        check_topk(case, batches(case))
    elif case["name"] == "TprAtFpr":
        check_tpr(case, batches(case))
    elif case["name"] == "ATTRMetric":
        check_attributes(case, batches(case))
    elif case["name"] in MULTILABEL:
        check_multilabel(case, batches(case))
    else:
        not_built(case["name"])


def batches(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    arrays, found = case.arrays, []
    for i in range(case["batches"]):
        labels = arrays[f"label#{i}"]
        if labels.ndim == 3:  # the second row holds ratios
            labels = labels[:, 0]
        labels = labels.ravel() if labels.shape[-1] == 1 else labels
        found.append((arrays[f"x#{i}"], labels))
    return found


def check_attributes(case: Case, parts: list[tuple[np.ndarray, np.ndarray]]) -> None:
    found = mean_accuracy(*joined(parts), **case["kwargs"], f1_of_mean_recall=True)
    values = [found["mA" if key == "ma" else key] for key in case["res_keys"]]
    assert values == pytest.approx(case["res"], abs=1e-6)


def check_multilabel(case: Case, parts: list[tuple[np.ndarray, np.ndarray]]) -> None:
    logits, labels = joined(parts)
    options = dict(case["kwargs"])
    if "map_type" in options:
        options["points"] = {"integral": "all", "11point": "eleven"}[options.pop("map_type")]
    spec = {"name": MULTILABEL[case["name"]]}
    spec |= {WORDS.get(k, k): v for k, v in options.items()}
    if case["name"] == "AccuracyScore":
        spec.setdefault("base", "label")
    checked, problems = metrics.check(spec, "metric")
    assert problems == []

    def measure(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        return metrics.build(checked, scores=sigmoid(x), labels=y)

    found = measure(logits, labels)
    assert next(iter(found.values())) == pytest.approx(case["avg"], abs=1e-6)
    if "threshold" in found:
        assert f"threshold: {found['threshold']}, " in case["avg_info"]
    for (x, y), expected in zip(parts, case["per_batch"], strict=True):
        for value in expected.values():
            assert next(iter(measure(x, y).values())) == pytest.approx(value, abs=1e-6)


def check_topk(case: Case, parts: list[tuple[np.ndarray, np.ndarray]]) -> None:
    options = Options(case["kwargs"], case["name"])
    options.without_effect("model_key", "feature_key")  # one output is recorded
    k = options.get("topk", (1, 5))
    options.check()
    k = (k,) if isinstance(k, int) else tuple(k)
    if "ties" in case["id"]:  # PaddleClas' order is arbitrary there: bounds only
        found = topk(*joined(parts), k)
        assert all(0 <= found[name] <= 1 for name in case["avg_meters"])
        assert sorted(found.values()) == [found[f"top{n}"] for n in sorted(k)]
        return
    for (scores, labels), expected in zip(parts, case["per_batch"], strict=True):
        assert topk(scores, labels, k) == pytest.approx(expected, abs=1e-6)
    assert topk(*joined(parts), k) == pytest.approx(case["avg_meters"], abs=1e-6)


def check_tpr(case: Case, parts: list[tuple[np.ndarray, np.ndarray]]) -> None:
    logits, labels = joined(parts)
    scores = softmax(logits)
    options = Options(case["kwargs"], case["name"])
    max_fpr = options.get("max_fpr", 1e-3)
    options.check()
    found = tpr_at_fpr(scores, labels, max_fpr, grid=GRID)
    assert found["tpr"] == pytest.approx(case["avg"], abs=1e-6)
    info = re.fullmatch(r"threshold: (.*), fpr: (.*), tpr: (.*)", case["avg_info"])
    if info is None:
        assert found["tpr"] == 0
    else:
        assert found["threshold"] == float(info[1])
        assert found["fpr"] == pytest.approx(float(info[2]), abs=1e-6)
    if (labels == 0).any():
        exact = tpr_at_fpr(scores, labels, max_fpr)
        assert exact["tpr"] >= found["tpr"]
        assert exact["fpr"] <= max_fpr
    else:
        with pytest.raises(DataError, match="no negatives"):
            tpr_at_fpr(scores, labels, max_fpr)


def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))
