"""The short way to a network's input gives the bits of the plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinysight.errors import ImageError
from tinysight.transforms import Compose, InputPipeline, to_batch
from tinysight.transforms.compose import min_decode_size
from tinysight.transforms.photometric import Normalize

IMAGE = np.random.default_rng(1).integers(0, 256, (37, 53, 3), dtype=np.uint8)
PIPELINES: dict[str, list[dict[str, Any]]] = {
    "usual": [
        {"name": "resize", "short": 32},
        {"name": "center_crop", "size": 24},
        {"name": "normalize"},
    ],
    "one mean": [{"name": "resize", "size": [20, 30]}, {"name": "normalize", "mean": [0.5], "std": [0.25]}],
    "other scale": [{"name": "normalize", "scale": 1.0, "mean": [127.0] * 3, "std": [128.0] * 3}],
    "no normalisation": [{"name": "center_crop", "size": [16, 8]}],
    "normalised twice": [{"name": "normalize"}, {"name": "normalize", "scale": 1.0}],
    "nothing": [],
}  # fmt: skip


@pytest.mark.parametrize("specs", PIPELINES.values(), ids=PIPELINES)
def test_the_same_bits(specs: list[dict[str, Any]]) -> None:
    compose = Compose.from_specs(specs)
    expected = to_batch([compose(IMAGE)])
    found = InputPipeline(compose)(IMAGE)
    assert found.dtype == expected.dtype
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected)


def test_an_engine_that_normalises_gets_pixels() -> None:
    asked: list[Normalize] = []

    def take(normalize: Normalize) -> bool:
        asked.append(normalize)
        return True

    usual = Compose.from_specs(PIPELINES["usual"])
    pipeline = InputPipeline(usual, take_pixels=take)
    assert pipeline.gives_pixels
    assert asked == [Normalize()]
    pixels = pipeline(IMAGE)
    assert (pixels.shape, pixels.dtype) == ((1, 24, 24, 3), np.uint8)
    assert np.array_equal(to_batch([Normalize()(pixels[0])]), InputPipeline(usual)(IMAGE))
    assert not InputPipeline(usual, take_pixels=lambda _: False).gives_pixels
    for name in ("normalised twice", "no normalisation", "nothing"):  # the engine is not asked
        twice = InputPipeline(Compose.from_specs(PIPELINES[name]), take_pixels=take)
        assert not twice.gives_pixels
    assert len(asked) == 1


def test_the_image_is_left_as_it_was() -> None:
    before = IMAGE.copy()
    InputPipeline(Compose.from_specs(PIPELINES["usual"]))(IMAGE)
    assert np.array_equal(IMAGE, before)


def test_results_do_not_share_memory() -> None:
    prepare = InputPipeline(Compose.from_specs(PIPELINES["usual"]))
    first = prepare(IMAGE)
    kept = first.copy()
    prepare(255 - IMAGE)
    assert np.array_equal(first, kept)


def test_a_image_that_is_too_small_is_named() -> None:
    prepare = InputPipeline(
        Compose.from_specs([{"name": "center_crop", "size": 99}, {"name": "normalize"}])
    )
    with pytest.raises(ImageError, match="smaller than the crop"):
        prepare(IMAGE)


@pytest.mark.parametrize(
    ("specs", "margin", "expected"),
    [
        ([{"name": "resize", "short": 256}], 1, (256, 256)),
        ([{"name": "resize", "short": 256, "size": None}], 1.5, (384, 384)),
        ([{"name": "resize", "size": [160, 80]}], 2, (320, 160)),
        ([{"name": "resize", "size": 96}], 1.01, (97, 97)),
        ([{"name": "center_crop", "size": 96}], 1, None),
        ([], 1, None),
    ],
)  # fmt: skip
def test_what_a_image_must_keep(
    specs: list[dict[str, Any]], margin: float, expected: tuple[int, int] | None
) -> None:
    assert min_decode_size(specs, margin) == expected
