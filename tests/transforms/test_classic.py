"""The classic augmentations against the published algorithms, written down with Pillow, for the same draws."""

from __future__ import annotations

import random
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from support.preprocess import DRAWS
from tinysight.errors import ConfigError
from tinysight.registry import transforms
from tinysight.transforms.augment.classic import _SCALES, _policy_value

IMAGE = np.random.default_rng(3).integers(0, 256, (40, 56, 3), np.uint8)
AFFINE, NEAREST, BILINEAR, BICUBIC = 0, 0, 2, 3


def build(name: str, **options: Any) -> Any:
    spec, problems = transforms.check({"name": name, **options}, "")
    assert problems == []
    return transforms.build(spec)


def test_levels_by_hand() -> None:
    assert [_policy_value("posterize", n) for n in (0, 5, 9)] == [8, 6, 4]
    assert [_policy_value("solarize", n) for n in (0, 9)] == [256, 0]
    assert _policy_value("rotate", 9) == 30
    assert _policy_value("equalize", 3) == 0
    assert [_policy_value("cutout", n) for n in (1, 2, 9)] == [2, 4, 20]  # 2.2, 4.4, 20
    first, efficient, mobile = (
        _SCALES[s].values for s in ("first", "efficientnetv2", "mobilevitv2")
    )
    assert [t["posterize"](0.5) for t in (first, efficient, mobile)] == [2, 2, 6]
    assert [t["solarize"](0.5) for t in (first, efficient, mobile)] == [128, 128, 127.5]
    assert (efficient["solarize_add"](0.5), efficient["cutout"](0.5)) == (55, 20)


def _cut(image: Image.Image, reach: int, value: int) -> Image.Image:
    row, column = (np.random.randint(0, side + 1) for side in image.size[::-1])
    made = np.array(image)
    made[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach] = value
    return Image.fromarray(made)


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """Grey where nothing is, by way of a transparent copy."""
    turned = image.convert("RGBA").rotate(degrees)
    grey = Image.new("RGBA", turned.size, (128,) * 4)
    return Image.composite(turned, grey, turned).convert("RGB")


def _moved(image: Image.Image, matrix: tuple[float, ...], kind: int, fill: Any) -> Image.Image:
    return image.transform(image.size, AFFINE, matrix, kind, fillcolor=fill)


def _operation(
    image: Image.Image, name: str, v: float, sign: Any, shear: int, slide: int, fill: Any
) -> Image.Image:
    width, height = image.size
    added = image.point(lambda x: min(255, x + int(v)) if x < 128 else x)
    match name:
        case "shear_x":
            return _moved(image, (1, v * sign(), 0, 0, 1, 0), shear, fill)
        case "shear_y":
            return _moved(image, (1, 0, 0, v * sign(), 1, 0), shear, fill)
        case "translate_x":
            return _moved(image, (1, 0, v * width * sign(), 0, 1, 0), slide, fill)
        case "translate_y":
            return _moved(image, (1, 0, 0, 0, 1, v * height * sign()), slide, fill)
        case "color" | "contrast" | "sharpness" | "brightness":
            return getattr(ImageEnhance, name.capitalize())(image).enhance(v)  # type: ignore[no-any-return]
        case "posterize" | "solarize":
            return getattr(ImageOps, name)(image, v if name == "solarize" else int(v))  # type: ignore[no-any-return]
        case "solarize_add":
            return added
    return getattr(ImageOps, name)(image)  # type: ignore[no-any-return]


def _sign() -> int:
    return random.choice([-1, 1])


EFFICIENT = [
    *("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "color", "posterize"),
    *("solarize", "solarize_add", "contrast", "sharpness", "brightness", "autocontrast"),
    *("equalize", "invert", "cutout"),
]
PLAIN = [name for name in EFFICIENT if name not in ("solarize_add", "cutout")]


def efficientnet(image: Image.Image, share: float) -> Image.Image:
    name = str(np.random.choice(EFFICIENT))
    value = {
        "shear": 0.3 * share, "translate": 2.0 * share, "posterize": int(4 * share), "cutout": int(40 * share),
        "solarize": int(110 * share) if name == "solarize_add" else int(256 * share),
    }.get(name.split("_")[0], 1.8 * share + 0.1)  # fmt: skip
    if name == "rotate":
        return _turned(image, 30 * share * _sign())
    if name == "cutout":
        return _cut(image, int(value), 9)
    return _operation(image, name, value, _sign, NEAREST, NEAREST, (9, 9, 9))


def mobilevit(image: Image.Image, share: float) -> Image.Image:
    name = str(np.random.choice(PLAIN))
    value = {
        "shear": 0.3 * share, "translate": 150 / 331 * share, "posterize": 8 - int(4 * share),
        "solarize": 255 * (1 - share),
    }.get(name.split("_")[0], 0.9 * share)  # fmt: skip
    if name == "rotate":
        return image.rotate(30 * share * _sign(), BICUBIC, fillcolor=(9, 9, 9))
    value = (
        1 + value * _sign() if name in ("color", "contrast", "sharpness", "brightness") else value
    )
    return _operation(image, name, value, _sign, BICUBIC, BICUBIC, (9, 9, 9))


@pytest.mark.parametrize(
    ("scale", "theirs"), [("efficientnetv2", efficientnet), ("mobilevitv2", mobilevit)]
)
def test_rand_augment_of_other_networks(scale: str, theirs: Any) -> None:
    options = {"shift": 2.0} if scale == "efficientnetv2" else {}
    ours = build("classic_rand_augment", scale=scale, fill=[9, 9, 9], magnitude=7.0, **options)
    for seed in range(60):
        random.seed(seed)
        np.random.seed(seed)
        wanted = theirs(theirs(Image.fromarray(IMAGE), 0.7), 0.7)
        found = ours(IMAGE, DRAWS[f"RandAugment{'V2' if options else 'V3'}"](seed, seed))
        assert np.array_equal(found, np.asarray(wanted)), seed


def pairs(image: Image.Image) -> Image.Image:
    names = [*PLAIN, "cutout"]
    listed = [(name, level) for name in names for level in range(1, 10)]
    for name, level in divmod_pair(random.randint(0, len(listed) ** 2 - 1), listed):
        if random.random() >= 0.5:
            continue
        low, high = {
            "shear": (0, 0.3), "translate": (0, 150 / 331), "rotate": (0, 30), "posterize": (8, 4),
            "solarize": (256, 0), "cutout": (0, 20),
        }.get(name.split("_")[0], (0, 0.9))  # fmt: skip
        value = float(np.linspace(low, high, 10)[level])
        if name == "rotate":
            image = _turned(image, value)
        elif name == "cutout":
            image = _cut(image, int(np.round(value)), 0)
        else:
            value = int(np.round(value)) if name == "posterize" else value
            factor = name in ("color", "contrast", "sharpness", "brightness")
            value = 1 + value * _sign() if factor else value
            image = _operation(image, name, value, _sign, BICUBIC, NEAREST, (128, 128, 128))
    return image


def divmod_pair(index: int, listed: list[Any]) -> list[Any]:
    return [listed[index // len(listed)], listed[index % len(listed)]]


def test_pairs_of_operations() -> None:
    ours = build("classic_rand_pairs")
    for seed in range(80):
        random.seed(seed)
        np.random.seed(seed)
        wanted = pairs(Image.fromarray(IMAGE))
        found = ours(IMAGE, DRAWS["RandAugmentV4"](seed, seed))
        assert np.array_equal(found, np.asarray(wanted)), seed


MIXED = [
    *("autocontrast", "equalize", "posterize", "rotate", "solarize"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
]


def augmix(image: np.ndarray, alpha: float, width: int, depth: int, severity: float) -> np.ndarray:
    shares = np.float32(np.random.dirichlet([alpha] * width))
    share = np.float32(np.random.beta(alpha, alpha))
    mixture = np.zeros(image.shape)
    for one in shares:
        chain = Image.fromarray(image)
        for _ in range(depth if depth > 0 else np.random.randint(1, 4)):
            name = str(np.random.choice(MIXED))
            chain = _step(chain, name, severity)
        mixture += one * np.asarray(chain).astype(np.float32)
    return np.asarray(((1 - share) * image.astype(np.float32) + share * mixture).astype(np.uint8))


def _step(image: Image.Image, name: str, severity: float) -> Image.Image:
    if name in ("autocontrast", "equalize"):
        return getattr(ImageOps, name)(image)  # type: ignore[no-any-return]
    level = np.random.uniform(low=0.1, high=severity)
    if name == "posterize":
        return ImageOps.posterize(image, 4 - int(level * 4 / 10))
    if name == "solarize":
        return ImageOps.solarize(image, 256 - int(level * 256 / 10))
    most = {"rotate": 30, "translate_x": image.size[0] / 3, "translate_y": image.size[1] / 3}
    value = level * 0.3 / 10 if name.startswith("shear") else int(level * most[name] / 10)
    value = -value if np.random.uniform() > 0.5 else value
    if name == "rotate":
        return image.rotate(value, BILINEAR)
    matrix = {
        "shear_x": (1, value, 0, 0, 1, 0), "shear_y": (1, 0, 0, value, 1, 0),
        "translate_x": (1, 0, value, 0, 1, 0), "translate_y": (1, 0, 0, 0, 1, value),
    }[name]  # fmt: skip
    return image.transform(image.size, AFFINE, matrix, BILINEAR)


@pytest.mark.parametrize(("depth", "severity"), [(1, 1.0), (0, 9.0)])
def test_augmix(depth: int, severity: float) -> None:
    ours = build("augmix", p=1.0, alpha=1.0, depth=depth, severity=severity)
    for seed in range(40):
        random.seed(seed)
        np.random.seed(seed)
        random.random()
        wanted = augmix(IMAGE, 1.0, 3, depth, severity)
        found = ours(IMAGE, DRAWS["AugMix"](seed, seed))
        assert np.abs(found.astype(int) - wanted).max() <= 1, (
            seed
        )  # rounding of one sum of products
        assert (found == wanted).mean() > 0.999


def test_a_cutout_of_a_drawn_colour_is_opencvs_rectangle() -> None:
    ours = build("cutout", holes=2, length=10, fill=None)
    for seed in range(20):
        random.seed(seed)
        np.random.seed(seed)
        wanted = IMAGE.copy()
        for _ in range(2):
            row, column = np.random.randint(40), np.random.randint(56)
            colour = [random.randint(0, 255) for _ in range(3)]
            corners = [(np.clip(column + d, 0, 56), np.clip(row + d, 0, 40)) for d in (-5, 5)]
            cv2.rectangle(wanted, *[tuple(map(int, c)) for c in corners], colour, -1)
        found = ours(IMAGE, DRAWS["Cutout"](seed, seed))
        assert np.array_equal(found, wanted)


def test_a_cutout_of_one_colour() -> None:
    found = build("cutout", length=9, fill=[1.0, 2.0, 3.0])(IMAGE, np.random.default_rng(0))
    changed = (found != IMAGE).any(axis=2)
    assert (found[changed] == [1, 2, 3]).all()
    assert 0 < changed.sum() <= 81


def test_a_grid_mask_by_hand() -> None:
    """Stripes of zeros on a canvas half as large again, of which the middle is taken."""
    ours = build("grid_mask", step=[8, 9], ratio=0.25)
    found = ours(np.ones((20, 20, 3), np.float32), np.random.default_rng(1))[:, :, 0]
    lines = [(found.max(axis=axis) == 0).astype(int) for axis in (0, 1)]
    assert np.array_equal(found, 1.0 - np.maximum(lines[0], lines[1][:, None]))
    for line in lines:  # stripes of 2 in steps of 8
        assert set(np.diff(np.flatnonzero(line)).tolist()) <= {1, 7}
    squares = build("grid_mask", step=[8, 9], ratio=0.25, squares=True)
    other = squares(np.ones((20, 20, 3), np.float32), np.random.default_rng(1))[:, :, 0]
    assert np.array_equal(found + other, np.ones((20, 20)))
    turned = build("grid_mask", step=[8, 9], rotate=90)
    assert 0 < turned(np.ones((20, 20), np.float32), np.random.default_rng(1)).mean() < 1
    with pytest.raises(ConfigError, match="the first below the second"):
        build("grid_mask", step=[9, 9])
