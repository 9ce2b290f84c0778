"""Non-maximum suppression and the other ways to choose boxes: every recorded case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from support.golden import Case, cases, each
from tinysight.errors import ConfigError
from tinysight.metrics.suppression import Suppression, multiclass_nms
from tinysight.models.detector.picodet import cells, expected_distances, to_boxes
from tinysight.tasks.detection import Boxes


def recorded(kind: str) -> list[Any]:
    found = [c for c in cases("detpost") if c.path.stem == kind]
    return [pytest.param(c, id=c["id"]) for c in found]


@each("case", recorded("nms"), "detpost/nms")
def test_rows_and_places(case: Case) -> None:
    about, arrays = case["attrs"], case.arrays
    rule = Suppression(
        about["score_threshold"], about["nms_top_k"], about["nms_threshold"], about["keep_top_k"],
        about["normalized"], about["nms_eta"], about["background_label"],
    )  # fmt: skip
    found = [
        multiclass_nms(b, s, rule) for b, s in zip(arrays["boxes"], arrays["scores"], strict=True)
    ]
    assert [len(rows) for rows, _ in found] == arrays["num"].reshape(-1).tolist()
    if case["strict"]:
        count = arrays["boxes"].shape[1]
        places = np.concatenate([at + i * count for i, (_, at) in enumerate(found)])
        assert np.array_equal(places, arrays["index"].reshape(-1))
        rows = np.concatenate([rows for rows, _ in found])
        assert np.array_equal(rows, arrays["out"].reshape(-1, 6))


@each("case", recorded("numpy_post"), "detpost/numpy_post")
def test_raw_heads_as_the_deployment_script_decodes_them(case: Case) -> None:
    """Its 200 candidates of a class are a number of ours; it keeps so many of each class, and clips to the input."""
    arrays, given = case.arrays, case["kwargs"]
    height, width = case["input"]
    levels = sum(name.startswith("scores#") for name in arrays)
    scores = np.concatenate([arrays[f"scores#{i}"] for i in range(levels)], axis=1)
    raw = torch.from_numpy(np.concatenate([arrays[f"raw#{i}"] for i in range(levels)], axis=1))
    at = cells(height, width)
    boxes = to_boxes(expected_distances(raw) * at.strides[:, None], at.centres).numpy()
    rule = Suppression(given["score_threshold"], 200, given["nms_threshold"], -1)
    found = []
    for i in range(case["batch"]):
        rows, _ = multiclass_nms(boxes[i], scores[i].T, rule)
        kept = given["keep_top_k"]
        rows = np.concatenate([rows[rows[:, 0] == k][:kept] for k in range(case["num_classes"])])
        tall, wide = case["ori_shape_argument"][i]
        rows[:, 2:] = rows[:, 2:].clip(0, [wide, tall, wide, tall])
        y, x = case["scale_factor"][i]
        rows[:, 2:] /= np.array([x, y, x, y], np.float32)
        found.append(rows)
    assert [len(rows) for rows in found] == case["num"]
    expected = arrays["boxes"]
    if len(expected):
        np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-5, atol=1e-4)


@each("case", recorded("parse"), "detpost/parse")
def test_the_best_boxes_of_an_image(case: Case) -> None:
    """PaddleClas' choice among a detector's rows: so many, best first, and a threshold that is high enough itself."""
    rows = case.arrays["pred"].astype(np.float32)
    post = Boxes(case["threshold"], case["max_det_results"], True, labels=tuple(case["label_list"]))
    (found,) = post([rows, np.array([len(rows)])])
    expected = case["result"]
    assert len(found.scores) == len(expected)
    scores = [float(row["score"]) for row in expected]
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    if len(set(scores)) == len(scores):  # the order of ties is nobody's
        assert found.label_ids.tolist() == [row["class_id"] for row in expected]
        assert list(found.label_names) == [row["label_name"] for row in expected]
        boxes = np.array([row["bbox"] for row in expected]).reshape(-1, 4)
        np.testing.assert_allclose(found.boxes_xyxy, boxes, atol=1e-4)


def test_a_class_without_a_name_is_said() -> None:
    rows = np.array([[3, 0.9, 0, 0, 1, 1]], np.float32)
    with pytest.raises(ConfigError, match="1 labels, and a box of class 3"):
        Boxes(0.2, 5, True, labels=("foreground",))([rows, np.array([1])])
