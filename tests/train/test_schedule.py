"""Learning-rate schedules: the reference's curves, hand-worked points, and what holds for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.golden import cases, ids, not_built
from support.reference import translate_schedule
from tinysight.registry import schedules
from tinysight.train.schedule import polynomial_curve, warm_up

CURVES = cases("lr", "curves.json")


@pytest.mark.golden
def test_fixtures_are_there() -> None:
    assert CURVES


@pytest.mark.golden
@pytest.mark.parametrize("case", CURVES, ids=ids)
def test_curve(case: dict[str, Any]) -> None:
    translated = translate_schedule(case["config"])
    if translated is None:
        not_built(f"schedule {case['config']['name']}")
    spec, peak = translated
    size, epochs = case["step_each_epoch"], case["epochs"]
    unit = size if case["unit"] == "epoch" else 1
    if spec["name"] == "linear" and (spec.get("cycle") or spec["by_epoch"]):
        rate = _linear_of_the_reference(spec, peak, epochs, size)
        unit = 1
    else:
        spec.pop("cycle", None)
        rate = _build(spec, peak, epochs, size)
    found = [rate(i * unit) for i in range(len(case["lr"]))]
    assert found == pytest.approx(case["lr"], rel=1e-12, abs=1e-15 * peak)


def _linear_of_the_reference(
    spec: dict[str, Any], peak: float, epochs: int, size: int
) -> Callable[[int], float]:
    """Cycles, and by epoch a warm-up that is measured in steps: not offered, as no recipe uses
    them.
    """
    warm = min(spec["warmup_epochs"], epochs)
    total = (epochs - warm) * (1 if spec["by_epoch"] else size)
    end, power = spec.get("end_lr", 0.0), spec.get("power", 1.0)
    curve = polynomial_curve(peak, total, end, power, spec.get("cycle", False))
    return warm_up(curve, round(warm * size), spec.get("warmup_start_lr", 0.0), peak)


def _build(spec: dict[str, Any], lr: float, epochs: int, size: int) -> Callable[[int], float]:
    checked, problems = schedules.check(spec, "schedule")
    assert problems == []
    return schedules.build(checked, lr=lr, epochs=epochs, steps_per_epoch=size)


def test_cosine_by_hand() -> None:
    # 5 epochs of 2 steps, 2 of them warm-up: 4 steps up from 0.1, then half a wave over 6 steps
    spec = {"name": "cosine", "warmup_epochs": 2, "warmup_start_lr": 0.1, "end_lr": 0.5}
    rate = _build(spec, 0.9, 5, 2)
    up = [0.1, 0.3, 0.5, 0.7]
    down = [0.9, 0.7 + 0.1 * math.sqrt(3), 0.8, 0.7, 0.6, 0.7 - 0.1 * math.sqrt(3), 0.5, 0.5]
    assert [rate(i) for i in range(12)] == pytest.approx(up + down)


def test_by_epoch_keeps_the_rate_for_an_epoch() -> None:
    rate = _build({"name": "cosine", "warmup_epochs": 1, "by_epoch": True}, 1.0, 3, 4)
    assert [rate(i) for i in range(12)] == pytest.approx([0.0] * 4 + [1.0] * 4 + [0.5] * 4)


def test_piecewise_by_hand() -> None:
    spec = {"name": "piecewise", "milestones": [1, 3], "factors": [0.5, 0.1], "warmup_epochs": 0.5}
    rate = _build(spec, 2.0, 4, 2)
    assert [rate(i) for i in range(8)] == pytest.approx([0, 2, 2, 1, 1, 1, 1, 0.2])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"milestones": [3, 1]}, "ascend"),
        ({"milestones": [1, 1]}, "ascend"),
        ({"milestones": [1, 2, 3], "factors": [0.1, 0.2]}, "3 milestones need as many factors"),
    ],
)
def test_piecewise_refuses(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        schedules.build({"name": "piecewise", **spec}, lr=1.0, epochs=4, steps_per_epoch=2)


def test_step_refuses_fractions() -> None:
    for spec in ({"step_epochs": 0.2}, {"step_epochs": 1.5, "by_epoch": True}):
        with pytest.raises(Exception, match="no whole number of steps"):
            schedules.build({"name": "step", **spec}, lr=1.0, epochs=4, steps_per_epoch=2)


@given(
    name=st.sampled_from(["constant", "cosine", "linear", "step"]),
    epochs=st.integers(1, 6),
    size=st.integers(1, 9),
    warmup=st.floats(0, 8),
    by_epoch=st.booleans(),
)
def test_rates_stay_between_zero_and_the_peak(
    name: str, epochs: int, size: int, warmup: float, by_epoch: bool
) -> None:
    rate = _build({"name": name, "warmup_epochs": warmup, "by_epoch": by_epoch}, 0.3, epochs, size)
    values = [rate(i) for i in range(epochs * size + 3)]
    assert all(0.0 <= v <= 0.3 + 1e-12 for v in values)
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    if warmup < epochs - 1:
        assert max(values) == pytest.approx(0.3)
