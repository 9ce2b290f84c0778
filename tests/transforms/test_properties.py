"""What every registered transform promises, on small, odd, grey and oddly laid out pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinysight.errors import ImageError
from tinysight.registry import transforms

SPECS: dict[str, list[dict[str, Any]]] = {
    "center_crop": [{"size": 3}, {"size": [1, 4]}],
    "kernel_blur": [{"p": 1.0}, {"p": 1.0, "stretch": True, "normalize_kernel": False}, {}],
    "normalize": [{"mean": [0.5], "std": [0.25]}],
    "random_blur": [{"p": 1.0, "view": 8}, {"p": 1.0, "families": ["motion"]}, {}],
    "random_brightness_contrast": [{}],
    "random_crop": [{"size": 3}, {"size": [1, 4]}],
    "random_flip": [{"direction": d} for d in ("horizontal", "vertical", "both")],
    "random_jpeg": [{"p": 1.0}],
    "random_resize": [{"short": 5}, {"short": [2, 9], "interpolations": ["nearest", "lanczos"]}],
    "random_resized_crop": [
        {"size": 4},
        {"size": [5, 2], "log_ratio": True, "interpolation": "bicubic", "backend": "pillow"},
    ],
    "resize": [
        *({"short": 5, "interpolation": i} for i in ("nearest", "bilinear", "area", "lanczos")),
        *({"size": [6, 3], "backend": "pillow", "interpolation": i} for i in ("box", "nearest")),
    ],
}
CASES = [{"name": name, **options} for name, several in SPECS.items() for options in several]
MAY_REFUSE = ("center_crop", "random_crop")  # a picture smaller than the crop


def test_every_transform_is_here() -> None:
    assert sorted(SPECS) == transforms.names()


@st.composite
def pictures(draw: st.DrawFn) -> np.ndarray:
    """Uint8 (H, W, 3), (H, W, 1) or (H, W); contiguous, a window, mirrored or transposed."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    shape = draw(st.sampled_from([(3,), (1,), ()]))
    big = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 256, (2 * height, 2 * width, *shape), dtype=np.uint8
    )
    layout = draw(st.sampled_from(["contiguous", "window", "strided", "mirrored", "transposed"]))
    window = big[:height, width:]
    match layout:
        case "contiguous":
            return np.ascontiguousarray(window)
        case "strided":
            return big[::2, ::2]
        case "mirrored":
            return window[::-1, ::-1]
        case "transposed":
            return window.swapaxes(0, 1)
    return window


@pytest.mark.parametrize("spec", CASES, ids=str)
@settings(max_examples=40, deadline=None)
@given(image=pictures(), seed=st.integers(0, 9))
def test_promises(spec: dict[str, Any], image: np.ndarray, seed: int) -> None:
    transform = transforms.build(spec)
    before = image.copy()
    try:
        first = transform(image, np.random.default_rng(seed))
    except ImageError:
        assert spec["name"] in MAY_REFUSE
        assert image.shape[0] < 4 or image.shape[1] < 4
        return
    again = transform(image, np.random.default_rng(seed))
    if transform.sets_label:
        assert first[1] == again[1]
        assert first[1] in (0, 1)
        first, again = first[0], again[0]
    assert np.array_equal(image, before), "the input was changed"
    assert np.array_equal(first, again), "not determined by the generator"
    assert first.dtype == (np.float32 if spec["name"] == "normalize" else np.uint8)
    assert first.ndim == image.ndim
    assert first.shape[2:] == image.shape[2:]
    assert min(first.shape[:2]) >= 1
    if not transform.random:
        assert np.array_equal(first, transform(image)), "draws although it says it does not"


@pytest.mark.parametrize("spec", CASES, ids=str)
def test_contiguous_or_not_is_the_same(spec: dict[str, Any]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)[5:30, 3:29]
    transform = transforms.build(spec)
    one = transform(image, np.random.default_rng(2))
    other = transform(np.ascontiguousarray(image), np.random.default_rng(2))
    for a, b in zip(*((x if transform.sets_label else (x,)) for x in (one, other)), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("spec", CASES, ids=str)
def test_schema_accepts_and_completes(spec: dict[str, Any]) -> None:
    full, problems = transforms.check(spec, "here")
    assert not problems
    assert {k: full[k] for k in spec} == spec
    assert transforms.build(full) == transforms.build(spec)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_random_ones_ask_for_a_generator(name: str) -> None:
    transform = transforms.build({"name": name, **SPECS[name][0]})
    if transform.random:
        with pytest.raises(TypeError, match="Generator"):
            transform(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"name": "resize", "short": 0}, "here.short"),
        ({"name": "resize", "short": 8, "interpolation": "cubic"}, "here.interpolation"),
        ({"name": "random_flip", "p": 1.5}, "here.p"),
        ({"name": "random_resized_crop", "size": 8, "scale": [0.0, 1.0]}, "here.scale"),
        ({"name": "random_blur", "min_sigma": 0}, "here.min_sigma"),
        ({"name": "center_crop"}, "here.size"),
    ],
)
def test_schema_refuses(spec: dict[str, Any], place: str) -> None:
    _, problems = transforms.check(spec, "here")
    assert problems
    assert all(p.where.startswith(place) for p in problems)
