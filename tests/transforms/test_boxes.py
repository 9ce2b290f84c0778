"""Boxes move as the pixels do: a drawn rectangle is found again where its box is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinysight.errors import ConfigError
from tinysight.transforms import Compose
from tinysight.transforms.boxes import boxes_in, with_boxes

BOX = (12, 20, 30, 25)  # x, y, width, height
GEOMETRY: list[list[dict[str, Any]]] = [
    [{"name": "resize", "size": [50, 160]}],
    [{"name": "resize", "short": 40}],
    [{"name": "center_crop", "size": 60}],
    [{"name": "pad", "border": [3, 5, 7, 9]}],
    [{"name": "random_flip", "p": 1.0}],
    [{"name": "random_flip", "p": 1.0, "direction": "vertical"}],
    [{"name": "random_flip", "p": 1.0, "direction": "both"}],
    [{"name": "random_size", "sizes": [64, 96], "interpolations": ["nearest"]}],
    [{"name": "random_box_crop"}, {"name": "random_flip"}, {"name": "random_size", "sizes": [80]}],
    [{"name": "color_jitter", "brightness": 0.3, "each": 0.5}, {"name": "random_box_crop"}],
]


def scene() -> np.ndarray:
    image = np.zeros((80, 100, 3), np.uint8)
    x, y, w, h = BOX
    image[y : y + h, x : x + w] = 255
    return image


def row(label: int = 1, crowd: int = 0) -> np.ndarray:
    return np.array([[label, *BOX, BOX[2] * BOX[3], crowd]], np.float64)


@pytest.mark.parametrize("specs", GEOMETRY, ids=lambda s: "-".join(t["name"] for t in s))
@pytest.mark.parametrize("seed", range(6))
def test_the_box_is_where_the_rectangle_is(specs: list[dict[str, Any]], seed: int) -> None:
    steps = Compose.from_specs(specs)
    image, boxes = with_boxes(steps, scene(), row(), np.random.default_rng(seed), (6, seed))
    bright = image[..., 0] > 100
    if not len(boxes):
        assert bright.sum() < 4
        return
    ys, xs = np.nonzero(bright)
    found = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(boxes[0, 1:], found, atol=1.5)
    assert boxes[0, 0] == 1


def test_images_of_a_batch_draw_one_size() -> None:
    steps = Compose.from_specs([{"name": "random_size", "sizes": [32, 48, 64, 80]}])
    sizes = set()
    for batch in range(8):
        shapes = {
            with_boxes(steps, scene(), row(), np.random.default_rng(i), (batch,))[0].shape
            for i in range(5)
        }
        assert len(shapes) == 1
        sizes |= shapes
    assert len(sizes) > 1


def test_crops_hold_a_centre_and_sometimes_nothing_changes() -> None:
    steps = Compose.from_specs([{"name": "random_box_crop"}])
    kept = 0
    for seed in range(100):
        image, boxes = with_boxes(steps, scene(), row(), np.random.default_rng(seed))
        assert len(boxes) == 1
        kept += image.shape == (80, 100, 3)
    assert 5 < kept < 60
    image, boxes = with_boxes(steps, scene(), row()[:0], np.random.default_rng(0))
    assert image.shape == (80, 100, 3)
    assert boxes.shape == (0, 5)


def test_what_is_cut_off_is_left_out() -> None:
    boxes = np.array([[0, -5, -5, 5, 5], [1, 20, 20, 30, 30]], np.float32)
    found = boxes_in(boxes, (0, 0), (10, 10))
    assert found.tolist() == [[0, 0, 0, 5, 5], [1, 10, 10, 10, 10]]
    steps = Compose.from_specs([{"name": "center_crop", "size": 10}])
    image, left = with_boxes(steps, scene(), row(), np.random.default_rng(0))
    assert image.shape == (10, 10, 3)
    assert len(left) == 0
    assert (
        len(with_boxes(Compose.from_specs([]), scene(), row(crowd=1), np.random.default_rng(0))[1])
        == 0
    )


def test_a_step_that_would_lose_them_is_refused() -> None:
    steps = Compose.from_specs([{"name": "random_turn"}], "transforms.train")
    with pytest.raises(ConfigError, match=r"transforms\.train\.0: random_turn moves"):
        with_boxes(steps, scene(), row(), np.random.default_rng(0))
