"""Pipelines: order, labels, messages, shapes; and batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from support.commands import python
from tinysight.errors import ConfigError, ImageError
from tinysight.transforms import Compose, InputPipeline, to_batch

RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
EVAL = [
    {"name": "resize", "short": 32},
    {"name": "center_crop", "size": [28, 24]},
    {"name": "normalize"},
]


def test_runs_in_order() -> None:
    compose = Compose.from_specs(EVAL)
    result = compose(RGB)
    assert result.shape == (24, 28, 3)
    assert result.dtype == np.float32
    assert len(compose) == 3
    assert not compose.random
    assert not compose.sets_label


def test_specs_come_back_as_a_copy() -> None:
    compose = Compose.from_specs(EVAL)
    assert compose.specs == EVAL
    compose.specs[1]["size"][0] = 1
    assert compose.specs == EVAL


def test_label_passes_through_or_is_set() -> None:
    rng = np.random.default_rng(0)
    assert Compose.from_specs(EVAL).with_label(RGB, 7, rng)[1] == 7
    blurred = Compose.from_specs([{"name": "random_blur", "p": 1.0}, *EVAL])
    assert blurred.random
    assert blurred.sets_label
    assert blurred.with_label(RGB, 7, rng)[1] == 1
    assert blurred(RGB, rng).shape == (24, 28, 3)


def test_empty_pipeline_returns_the_image() -> None:
    assert Compose.from_specs([])(RGB) is RGB


@dataclass(frozen=True)
class Darken:
    """A transform of a user's: nothing but fields and a call."""

    by: float = 2.0

    def __call__(self, image: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        return (image / self.by).astype(image.dtype)


def test_a_plain_dataclass_is_a_transform() -> None:
    compose = Compose([{"name": "darken"}], [Darken()])
    image, label = compose.with_label(RGB, 7, np.random.default_rng(0))
    assert np.array_equal(image, RGB // 2)
    assert (label, compose.random, compose.sets_label) == (7, False, False)
    assert InputPipeline(compose)(RGB).shape == (1, 3, 48, 64)


def test_without_pillow_augmentation_says_what_to_install() -> None:
    code = """
import sys
sys.modules["PIL"] = None
import numpy as np
from tinysight.errors import MissingDependency
from tinysight.transforms import Compose
image, rng = np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0)
Compose.from_specs([{"name": "random_flip"}])(image, rng)
try:
    Compose.from_specs([{"name": "color_jitter", "hue": 0.5}])(image, rng)
except MissingDependency as error:
    print(error)
"""
    done = python("-c", code)
    wanted = "a random transform: needs PIL, which is not installed; pip install 'tinysight[train]'"
    assert done.out.strip() == wanted


def test_failure_names_the_step_and_what_it_was_given() -> None:
    compose = Compose.from_specs([EVAL[0], {"name": "center_crop", "size": 40}], "transforms.eval")
    with pytest.raises(ImageError) as caught:
        compose(RGB)
    assert str(caught.value) == (
        "transforms.eval.1 (center_crop): an image of 43 x 32 is smaller than the crop of 40 x 40 "
        "(given 32 x 43 x 3 uint8, height first); "
        "resize it first: short at least as long as the crop"
    )


def test_an_error_of_opencv_is_an_image_error() -> None:
    compose = Compose.from_specs([{"name": "resize", "short": 8}])
    with pytest.raises(ImageError, match=r"0 \(resize\): .*given 48 x 64 x 3 int64"):
        compose(RGB.astype(np.int64))


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Compose.from_specs(
            [{"name": "rezise", "short": 8}, {"name": "center_crop"}, {"name": "resize"}, "flip"],
            "transforms.eval",
        )
    assert [p.where for p in caught.value.problems] == [
        "transforms.eval.0",
        "transforms.eval.1.center_crop",
        "transforms.eval.2.resize",
        "transforms.eval.3",
    ]
    assert "did you mean 'resize'?" in str(caught.value)


def test_output_shape() -> None:
    assert Compose.from_specs(EVAL).output_shape() == (24, 28, 3)
    assert Compose.from_specs([{"name": "random_crop", "size": 9}]).output_shape() == (9, 9, 3)
    with pytest.raises(ConfigError, match="different sizes; end with a crop"):
        Compose.from_specs(EVAL[:1]).output_shape()


def test_batch_is_channels_first_and_contiguous() -> None:
    images = [RGB, RGB[::-1]]
    batch = to_batch(images)
    assert batch.shape == (2, 3, 48, 64)
    assert batch.dtype == np.uint8
    assert batch.flags.c_contiguous
    assert np.array_equal(batch[1, 2], RGB[::-1, :, 2])
    assert to_batch([RGB.astype(np.float32)]).dtype == np.float32


@pytest.mark.parametrize(
    ("images", "what"),
    [
        ([], "no images"),
        ([RGB, RGB[:8]], r"batch\[1\]: \(8, 64, 3\)"),
        ([RGB, RGB.astype(np.float32)], "float32"),
        ([RGB[:, :, 0]], r"batch\[0\]"),
    ],
)
def test_uneven_batches(images: list[np.ndarray], what: str) -> None:
    with pytest.raises(ImageError, match=what):
        to_batch(images)


def test_prediction_imports_nothing_slow() -> None:
    code = f"""
import sys, cv2, numpy
before = set(sys.modules)  # numpy 1 loads numpy.random by itself
from tinysight.transforms import Compose, decode, to_batch
Compose.from_specs({EVAL!r})
slow = {{"numpy.random", "pydantic", "annotated_types", "torch", "tinysight.transforms.augment"}}
print(sorted(slow & (set(sys.modules) - before)))
"""
    done = python("-c", code)
    assert done.out.strip() == "[]"
