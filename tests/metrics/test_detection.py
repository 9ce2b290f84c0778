"""COCO's numbers: every recorded case, and cases that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.golden import Case, cases, each
from tinysight.metrics.detection import PrecisionRecall, coco, precision_recall

RECORDED = [pytest.param(c, id=c["id"]) for c in cases("detpost") if c.path.stem == "coco"]
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
NAMES += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


@each("case", RECORDED, "detpost/coco")
def test_recorded_numbers(case: Case) -> None:
    found = _evaluated(case)
    if case["stats"] is None:  # nothing was detected: PaddleDetection gives no numbers at all
        assert max(found.summary().values()) == 0
        return
    assert list(found.summary()) == [*NAMES]
    np.testing.assert_allclose(
        [*found.summary().values()], [*case["stats"].values()], rtol=0, atol=1e-9
    )
    if "ap_per_maxdet" in case:
        found = _evaluated(case, tuple(case["maxDets"]))
        _close([_mean(found.precision[..., 0, m]) for m in range(3)], case["ap_per_maxdet"])
        _close([_mean(found.recall[..., 0, m]) for m in range(3)], case["ar_per_maxdet"])
    _close([_mean(p[..., 0, -1]) for p in found.precision], case["ap_per_iou"])
    recalls = [_mean(found.recall[:, k, 0, -1]) for k in range(found.recall.shape[1])]
    _close(recalls, case["ar_per_class"])
    if "precision_iou50" in case.arrays:
        expected = case.arrays["precision_iou50"]
        mine = found.precision[0, :, :, 0, -1]
        mine = mine if mine.shape == expected.shape else mine.T
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-7)  # kept in float32


def _evaluated(case: Case, limits: tuple[int, ...] = (1, 10, 100)) -> PrecisionRecall:
    about = case["annotations"]
    images = sorted(image["id"] for image in about["images"])
    files = [image["id"] for image in about["images"]]
    classes = sorted(category["id"] for category in about["categories"])
    boxes: dict[int, list[list[float]]] = {i: [] for i in images}
    for one in about["annotations"]:
        row = [classes.index(one["category_id"]), *one["bbox"], one["area"]]
        boxes[one["image_id"]].append([*row, one.get("iscrowd", 0)])
    truth = [np.array(boxes[i], np.float64).reshape(-1, 7) for i in images]
    rows = case.arrays["detections"].reshape(-1, 7)
    order = {i: files.index(i) for i in images}
    found = [rows[rows[:, 0] == order[i], 1:] for i in images]
    return precision_recall(truth, found, range(len(classes)), limits)


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def _close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def _labels(*boxes: tuple[float, ...], width: float = 200, height: float = 100) -> np.ndarray:
    """One image with boxes of class id, x, y, width, height."""
    rows = [[-1, 0, 0, width, height, width * height, 0]]
    rows += [[*box, box[3] * box[4], 0] for box in boxes]
    labels = np.empty(1, object)
    labels[0] = np.array(rows, np.float64)
    return labels


def test_by_hand() -> None:
    # A box of 100 x 50, one detection of it that is half as wide (IoU 0.5), one that is far away.
    scores = np.array([[[0, 0.9, 0, 0, 0.25, 0.5], [0, 0.95, 0.9, 0.9, 1, 1]]], np.float32)
    found = coco(scores, _labels((0, 0, 0, 100, 50)))
    # Only the lowest of ten thresholds is met; there the first detection is wrong: precision 1/2.
    assert found["ap50"] == pytest.approx(0.5)
    assert found["ap"] == pytest.approx(0.05)
    assert found["ar100"] == pytest.approx(0.1)
    assert found["ar1"] == 0  # the better score is the wrong one
    assert found["ap_small"] == -1  # there is none


def test_padding_and_images_without_boxes_count_nothing() -> None:
    nothing = np.full((1, 3, 6), -1, np.float32)
    assert set(coco(nothing, _labels()).values()) == {-1.0}
    assert coco(nothing, _labels((1, 0, 0, 100, 50)))["ap"] == 0
