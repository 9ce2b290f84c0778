"""RandAugment and AutoAugment: what a spec says, what is drawn, and how often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tinysight.errors import ConfigError, ImageError
from tinysight.registry import transforms
from tinysight.transforms.augment import auto_augment
from tinysight.transforms.augment.auto_augment import Strength, parse_spec
from tinysight.transforms.augment.policies import FALLING, POLICIES, RISING

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("spec", "strength"),
    [
        ("rand", Strength()),
        ("rand-m9-mstd0.5-inc1", Strength(9, 2, 0.5, True)),
        ("rand-inc1-mstd1-m7-n3", Strength(7, 3, 1.0, True)),
        ("rand-m5-inc0", Strength(5, 2, 0.0, False)),
        ("rand-w0-n13", Strength(10, 13, 0.0, False, 0)),
    ],
)
def test_spec(spec: str, strength: Strength) -> None:
    assert parse_spec(spec) == strength


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("m9", "begin with 'rand'"),
        ("rand-x3", "unknown section 'x3'"),
        ("rand-m9.5", "unknown section 'm9.5'"),
        ("rand-m", "unknown section 'm'"),
        ("rand-m9-m8", "twice"),
        ("rand-m11", "0 to 10"),
        ("rand-n0", "at least 1"),
        ("rand-w0-n14", "at most 13"),
        ("rand-w1", "w should be 0"),
    ],
)
def test_wrong_specs_are_refused_when_the_recipe_is_built(spec: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        transforms.build({"name": "rand_augment", "spec": spec}, "transforms.train[0]")


class Told:
    """A generator that answers what it was told; every method takes the next answer."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def _next(self, *_: Any, **__: Any) -> Any:
        return self._answers.pop(0)

    random = choice = integers = normal = _next

    @property
    def finished(self) -> bool:
        return not self._answers


def test_two_operations_by_hand() -> None:
    # p; choices 8 contrast and 11 shear x; apply; noise 12 is cut to 10; minus; apply; noise; plus
    rng = Told(0.0, [8, 11], 0.2, 12.0, 0.9, 0.5, 5.0, 0.1)
    ours = transforms.build({"name": "rand_augment"})(IMAGE, rng)
    wanted = ImageEnhance.Contrast(Image.fromarray(IMAGE)).enhance(1.0 - 0.9)
    matrix = (1, 0.15, 0, 0, 1, 0)
    wanted = wanted.transform(wanted.size, 0, matrix, 3, fillcolor=(124, 116, 104))
    assert rng.finished
    assert np.array_equal(ours, np.asarray(wanted))


def test_an_operation_is_left_out_half_of_the_time_and_p_is_around_it_all() -> None:
    augment = transforms.build({"name": "rand_augment", "spec": "rand-m9", "p": 0.5})
    rng = Told(0.49, [2, 2], 0.51, 0.51)
    assert np.array_equal(augment(IMAGE, rng), IMAGE)
    assert rng.finished
    assert augment(IMAGE, Told(0.5)) is IMAGE


def test_interpolation_is_drawn_after_the_sign_where_it_is_random() -> None:
    augment = transforms.build(
        {"name": "rand_augment", "spec": "rand-m10-n2", "interpolation": "random"}
    )
    rng = Told(0.0, [3, 1], 0.0, 0.0, 0, 0.0)  # rotate: apply, plus, bilinear; equalize: apply
    wanted = Image.fromarray(IMAGE).rotate(30, Image.Resampling.BILINEAR, fillcolor=(124, 116, 104))
    assert np.array_equal(augment(IMAGE, rng), np.asarray(ImageOps.equalize(wanted)))
    assert rng.finished


def test_published_weights_never_choose_posterize_or_invert_and_never_repeat() -> None:
    shares = auto_augment._SHARES
    assert shares.sum() == pytest.approx(1.0)
    zero = {c for c, w in zip(auto_augment._CHOICES, shares, strict=True) if w == 0}
    assert zero == {"posterize", "invert"}
    assert (
        transforms.build({"name": "rand_augment", "spec": "rand-w0-n13"})(
            IMAGE, np.random.default_rng(0)
        ).shape
        == IMAGE.shape
    )


@pytest.mark.parametrize("level", range(11))
def test_rising_tables_rise(level: int) -> None:
    assert RISING["posterize"].value(level) == 4 - int(0.4 * level)
    assert FALLING["posterize"].value(level) == int(0.4 * level)
    assert FALLING["posterize_4_to_8"].value(level) == 4 + int(0.4 * level)
    assert RISING["solarize"].value(level) + FALLING["solarize"].value(level) == 256
    assert FALLING["color"].value(level) == pytest.approx(0.1 + 0.18 * level)
    assert RISING["color"].value(level) == pytest.approx(0.09 * level)
    assert RISING["rotate"].value(level) == pytest.approx(3 * level)
    assert FALLING["solarize_add"].value(level) == 11 * level


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_policies_are_whole(name: str) -> None:
    policy = POLICIES[name]
    assert len(policy) == 25
    assert all(len(pair) == 2 for pair in policy)
    steps = [step for pair in policy for step in pair]
    assert all(0 <= s.p <= 1 and 0 <= s.level <= 10 for s in steps)
    known = {*FALLING, "posterize_rising"}
    assert {s.name for s in steps} <= known
    posterize = {s.name for s in steps if s.name.startswith("posterize")}
    assert (
        posterize
        == {
            "original": {"posterize_4_to_8"},
            "originalr": {"posterize_rising"},
            "v0": {"posterize"},
            "v0r": {"posterize_rising"},
        }[name]
    )


def test_a_pair_of_a_policy_by_hand() -> None:
    # v0, pair 15: rotate 1.0 7 (no draw for whether), translate_y 0.8 9
    augment = transforms.build({"name": "auto_augment", "policy": "v0", "fill": [1, 2, 3]})
    rng = Told(0.0, 15, 0.9, 0.5, 0.2)
    wanted = Image.fromarray(IMAGE).rotate(-21.0, Image.Resampling.BICUBIC, fillcolor=(1, 2, 3))
    matrix = (1, 0, 0, 0, 1, 0.9 * 0.45 * 20)
    wanted = wanted.transform(wanted.size, 0, matrix, 3, fillcolor=(1, 2, 3))
    assert np.array_equal(augment(IMAGE, rng), np.asarray(wanted))
    assert rng.finished


@pytest.mark.parametrize(
    "name",
    [
        "rand_augment",
        "auto_augment",
        "classic_auto_augment",
        "classic_rand_augment",
        "classic_rand_pairs",
    ],
)
def test_grey_images_equal_colour_ones_without_colour(name: str) -> None:
    grey = IMAGE[:, :, :1]
    augment = transforms.build({"name": name, "fill": [7, 7, 7]})
    for seed in range(20):
        one = augment(grey, np.random.default_rng(seed))
        three = augment(np.repeat(grey, 3, axis=2), np.random.default_rng(seed))
        assert np.array_equal(np.repeat(one, 3, axis=2), three)


@pytest.mark.parametrize("name", ["rand_augment", "auto_augment", "classic_rand_augment"])
def test_normalised_pixels_are_refused(name: str) -> None:
    with pytest.raises(ImageError, match="put it before normalize"):
        transforms.build({"name": name})(IMAGE.astype(np.float32), np.random.default_rng(0))


@pytest.mark.parametrize("fill", [[1, 2], [1, 2, 3, 4]])
def test_a_fill_is_a_colour(fill: list[int]) -> None:
    with pytest.raises(ConfigError, match="three numbers"):
        transforms.build({"name": "auto_augment", "fill": fill})
