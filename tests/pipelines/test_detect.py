"""Boxes through a bundle, by a network that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_detector
from tinysight.errors import BundleError, ConfigError
from tinysight.pipelines.detect import Detector
from tinysight.pipelines.pipeline import Classifier, open_bundle
from tinysight.registry import postprocesses

BRIGHT = np.full(
    (16, 32, 3), 255, np.uint8
)  # twice as high as the network's input, four times as wide
DULL = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_boxes_lie_in_the_image(scaled: bool, batch_size: int, tmp_path: Path) -> None:
    detector = Detector(tiny_detector(tmp_path / "b", scaled=scaled), batch_size=batch_size)
    found = [
        answer for batch in detector.predict([BRIGHT, DULL, BRIGHT[:8, :8]]) for answer in batch
    ]
    assert [list(answer.to_json()) for answer in found] == [
        ["label_ids", "scores", "label_names", "boxes_xyxy", "filename"]
    ] * 3
    assert [a.label_names for a in found] == [("bright",), (), ("bright",)]
    boxes = [a.boxes_xyxy.tolist() for a in found]
    assert boxes == [[[8.0, 2.0, 24.0, 10.0]], [], [[2.0, 1.0, 6.0, 5.0]]]
    assert found[0].scores == [1.0]


def test_the_threshold_is_strict_and_can_be_changed(tmp_path: Path) -> None:
    bundle = tiny_detector(tmp_path / "b")
    grey = np.full((8, 8, 3), 51, np.uint8)  # a fifth

    def count(threshold: float) -> int:
        return len(Detector(bundle, threshold=threshold)(grey).scores)

    assert [count(0.1), count(0.5), count(0.0), count(1.0)] == [1, 0, 1, 0]


def test_the_right_pipeline_opens(tmp_path: Path) -> None:
    assert type(open_bundle(tiny_detector(tmp_path / "d").folder)) is Detector
    assert type(open_bundle(tiny_bundle(tmp_path / "c"), batch_size=2)) is Classifier
    with pytest.raises(ConfigError, match="open_bundle makes the one that fits"):
        Classifier(tmp_path / "d")


def test_too_few_labels(tmp_path: Path) -> None:
    bundle = tiny_detector(tmp_path / "b", labels=("only",))
    with pytest.raises(ConfigError, match="1 labels, and a box of class 1"):
        list(Detector(bundle).predict([BRIGHT]))


def test_a_network_that_gives_something_else(tmp_path: Path) -> None:
    spec = {"name": "boxes", "threshold": 0.5}
    bundle = tiny_bundle(tmp_path / "b", postprocess=spec, threshold=None)
    with pytest.raises(BundleError, match="boxes and counts expected"):
        list(Detector(bundle).predict([BRIGHT]))
    refusing = tiny_detector(tmp_path / "d", feeds={})
    with pytest.raises(BundleError, match="refuses images"):
        list(Detector(refusing).predict([BRIGHT]))


def test_rows_by_hand() -> None:
    rows = np.float32([[2, 0.9, 0, 0, 1, 1], [-1, 0.9, 0, 0, 1, 1], [0, 0.5, 1, 2, 3, 4]])
    answer = postprocesses.build({"name": "boxes", "threshold": 0.4})
    first, second, third = answer([rows, np.array([1, 0, 2])])
    assert [list(r.label_ids) for r in (first, second, third)] == [[2], [], [0]]
    assert (first.label_names, third.boxes_xyxy.tolist()) == (("2",), [[1, 2, 3, 4]])
    assert not len(answer([np.zeros((0, 6), np.float32), np.array([0])])[0].scores)
    with pytest.raises(ConfigError, match="results of detectors"):
        answer(rows)
    for counts in ([1, 1], [4, -1], [2]):
        with pytest.raises(ConfigError, match="a count for each image"):
            answer([rows, np.array(counts)])
