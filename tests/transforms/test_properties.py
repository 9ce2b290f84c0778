"""What every registered transform promises, on small, odd, grey and oddly laid out images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinysight.errors import ImageError
from tinysight.registry import transforms
from tinysight.transforms.base import is_random, sets_label

ERASE = {"p": 1.0, "area": [0.1, 0.5]}
SPECS: dict[str, list[dict[str, Any]]] = {
    "append_channels": [{"channels": 4}],
    "auto_augment": [
        *({"policy": p} for p in ("original", "originalr", "v0", "v0r")),
        {"policy": "v0", "deviation": 2.0, "interpolation": "random", "fill": [1, 2, 3]},
    ],
    "cast": [{}, {"dtype": "float16"}],
    "center_crop": [{"size": 3}, {"size": [1, 4]}],
    "center_square": [{"size": 4}, {"size": 3, "share": 0.5, "backend": "pillow"}],
    "classic_auto_augment": [{}],
    "augmix": [{"p": 1.0}, {"p": 1.0, "width": 2, "depth": 0, "severity": 10.0}],
    "classic_rand_augment": [
        {"operations": 3, "magnitude": m, "scale": scale}
        for m in (0.0, 5.0, 10.0)
        for scale in ("first", "efficientnetv2", "mobilevitv2")
    ],
    "classic_rand_pairs": [{}],
    "cutout": [{"length": 8}, {"length": 5, "holes": 3, "fill": None}, {"fill": [7.0]}],
    "grid_mask": [{"step": [4, 9]}, {"step": [4, 9], "rotate": 45, "squares": True}],
    "random_box_crop": [{}],
    "random_size": [{"sizes": [8, 12]}],
    "color_jitter": [{"brightness": 0.4, "contrast": 0.4, "saturation": 2.0, "hue": 0.5}, {}],
    "hide_and_seek": [{"sizes": [0, 1, 3]}],
    "kernel_blur": [{"p": 1.0}, {"p": 1.0, "stretch": True, "normalize_kernel": False}, {}],
    "normalize": [{"mean": [0.5], "std": [0.25]}],
    "pad": [
        {"border": 2, "fill": [9]},
        {"border": [1, 2]},
        {"border": [0, 1, 2, 3], "mode": "edge"},
        {"size": [30, 40], "at": "center"},
        {"size": 30, "at": [1, 2]},
        {"multiple": 8, "at": "end"},
        {"border": 3, "mode": "reflect"},
        {"border": 3, "mode": "symmetric"},
    ],
    "pca_lighting": [{}],
    "rand_augment": [
        {},
        {"spec": "rand-m10-n4-mstd2", "interpolation": "random"},
        {"spec": "rand-m7-w0-inc1", "interpolation": "bilinear", "p": 0.5},
    ],
    "random_blur": [{"p": 1.0, "view": 8}, {"p": 1.0, "families": ["motion"]}, {}],
    "random_brightness_contrast": [{}],
    "random_crop": [{"size": 3}, {"size": [1, 4]}, {"size": 5, "pad": 2}],
    "random_erasing": [
        {**ERASE, "value": [7.0]},
        {**ERASE, "mode": "rand"},
        {**ERASE, "mode": "pixel", "log_aspect": True},
        {"p": 0.5, "attempts": 1},
    ],
    "random_flip": [{"direction": d} for d in ("horizontal", "vertical", "both")],
    "random_jpeg": [{"p": 1.0}],
    "random_grayscale": [{"p": 0.5}],
    "random_resampling": [{}],
    "random_resize": [{"short": 5}, {"short": [2, 9], "interpolations": ["nearest", "lanczos"]}],
    "random_resized_crop": [
        {"size": 4},
        {"size": [5, 2], "log_ratio": True, "interpolation": "bicubic", "backend": "pillow"},
    ],
    "random_rotation": [
        *({"p": 1.0, "interpolation": i} for i in ("nearest", "bilinear", "bicubic", "lanczos")),
        {"p": 1.0, "degrees": [10.0, 20.0], "fill": [5.0]},
    ],
    "random_turn": [{}, {"quarters": [1, 3]}],
    "resize": [
        *({"short": 5, "interpolation": i} for i in ("nearest", "bilinear", "area", "lanczos")),
        *({"size": [6, 3], "backend": "pillow", "interpolation": i} for i in ("box", "nearest")),
    ],
}
CASES = [{"name": name, **options} for name, several in SPECS.items() for options in several]
# An image smaller than the crop, or too small to mirror, or not of three channels.
MAY_REFUSE = ("append_channels", "center_crop", "pad", "pca_lighting", "random_crop")


def takes(spec: dict[str, Any], image: np.ndarray) -> np.ndarray:
    """`image` as the transform wants it: some are for normalised pixels."""
    floats = spec["name"] == "pca_lighting" or spec.get("mode") in ("rand", "pixel")
    return (image / np.float32(255)).astype(np.float32) if floats else image


def test_every_transform_is_here() -> None:
    assert sorted(SPECS) == transforms.names()


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
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
@given(image=images(), seed=st.integers(0, 9))
def test_promises(spec: dict[str, Any], image: np.ndarray, seed: int) -> None:
    transform = transforms.build(spec)
    image = takes(spec, image)
    before = image.copy()
    try:
        first = transform(image, np.random.default_rng(seed))
    except ImageError:
        assert spec["name"] in MAY_REFUSE
        assert min(image.shape[:2]) < 4 or image.shape[2:] != (3,)
        return
    again = transform(image, np.random.default_rng(seed))
    if sets_label(transform):
        assert first[1] == again[1]
        assert first[1] in getattr(transform, "quarters", (0, 1))
        first, again = first[0], again[0]
    assert np.array_equal(image, before), "the input was changed"
    assert np.array_equal(first, again), "not determined by the generator"
    dtypes = {"normalize": np.float32, "cast": spec.get("dtype", np.float32)}
    assert first.dtype == dtypes.get(spec["name"], image.dtype)
    assert first.ndim == image.ndim
    assert first.shape[2:] == (image.shape[2:] if spec["name"] != "append_channels" else (4,))
    assert min(first.shape[:2]) >= 1
    if not is_random(transform):
        assert np.array_equal(first, transform(image)), "draws although it says it does not"


@pytest.mark.parametrize("spec", CASES, ids=str)
def test_contiguous_or_not_is_the_same(spec: dict[str, Any]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)[5:30, 3:29]
    transform, image = transforms.build(spec), takes(spec, image)
    one = transform(image, np.random.default_rng(2))
    other = transform(np.ascontiguousarray(image), np.random.default_rng(2))
    for a, b in zip(*((x if sets_label(transform) else (x,)) for x in (one, other)), strict=True):
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
    if is_random(transform):
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
        ({"name": "rand_augment", "p": 2.0}, "here.p"),
        ({"name": "auto_augment", "policy": "v1"}, "here.policy"),
        ({"name": "random_erasing", "mode": "noise"}, "here.mode"),
        ({"name": "random_erasing", "area": [0.1, 1.5]}, "here.area"),
        ({"name": "color_jitter", "hue": 0.6}, "here.hue"),
        ({"name": "pad", "border": -1}, "here.border"),
    ],
)
def test_schema_refuses(spec: dict[str, Any], place: str) -> None:
    _, problems = transforms.check(spec, "here")
    assert problems
    assert all(p.where.startswith(place) for p in problems)
