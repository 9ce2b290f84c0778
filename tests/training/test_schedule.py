"""Learning-rate schedules: PaddleClas' curves, hand-worked points, and what holds for all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.golden import Case, each_case, not_built
from support.reference import translate_schedule
from tinysight.registry import schedules
from tinysight.training.schedule import (
    Length,
    cosine_fixmatch,
    one_cycle,
    polynomial,
    warm_up,
)


@each_case("lr")
def test_curve(case: Case) -> None:
    translated = translate_schedule(case["config"])
    if translated is None:
        not_built(f"schedule {case['config']['name']}")
    spec, peak = translated
    size, epochs = case["step_each_epoch"], case["epochs"]
    if spec["name"] == "plateau":
        found = _plateau(spec, peak, case)
    elif rate := _counted_as_in_the_reference(spec, peak, epochs, size):
        found = [rate(i) for i in range(len(case["lr"]))]
    else:
        unit = size if case["unit"] == "epoch" else 1
        rate = _build(spec, peak, epochs, size)
        found = [rate(i * unit) for i in range(len(case["lr"]))]
    assert found == pytest.approx(case["lr"], rel=1e-12, abs=1e-15 * peak)


def _plateau(spec: dict[str, Any], peak: float, case: dict[str, Any]) -> list[float]:
    """Rates of ours, told of each metric in turn; of PaddleClas where it never leaves warm-up."""
    schedule = _build(spec, peak, case["epochs"], case["step_each_epoch"])
    if spec["warmup_epochs"]:  # its defect, see the README of the recording; ours goes on
        start = spec.get("warmup_start_lr", 0.0)
        warm = round(spec["warmup_epochs"] * case["step_each_epoch"])
        assert schedule(0) == start
        assert schedule(warm) == peak
        return [start] * len(case["lr"])
    rates = [schedule(0)]
    for i, metric in enumerate(case["metrics"], 1):
        schedule(i - 1)
        schedule.observe(metric)
        copy = _build(spec, peak, case["epochs"], case["step_each_epoch"])
        copy.restore(json.loads(json.dumps(schedule.state)))
        schedule = copy  # as a run does that is interrupted after every evaluation
        rates.append(schedule(i))
    return rates


def _counted_as_in_the_reference(
    spec: dict[str, Any], peak: float, epochs: int, size: int
) -> Callable[[int], float] | None:
    """Our curves with PaddleClas' lengths where it counts steps by epoch, or a cycle's warm-up
    twice; None where it counts as we do.
    """
    by_epoch, warm = spec.get("by_epoch", False), spec.get("warmup_epochs", 0)
    units = warm * (1 if by_epoch else size)
    start = spec.get("warmup_start_lr", 0.0)
    if spec["name"] == "polynomial" and by_epoch:
        warm = min(warm, epochs)
        own = {k: spec[k] for k in ("end_lr", "power", "cycle") if k in spec}
        curve = polynomial(peak, _length(epochs - warm), **own)
        return warm_up(curve, round(warm * size), start, peak)
    if spec["name"] == "cosine_fixmatch" and by_epoch:
        units = spec["warmup_steps"]
        curve = cosine_fixmatch(peak, _length(epochs * size - units), spec.get("cycles", 7 / 16))
        return warm_up(curve, units, start, peak)
    if spec["name"] == "one_cycle" and (by_epoch or warm):
        own = {
            k: spec[k]
            for k in ("start_divisor", "rise", "anneal", "three_phase", "end_lr")
            if k in spec
        }
        curve, _ = one_cycle(peak, _length(epochs * size), **own)
        return warm_up(curve, units, start, peak)
    return None


def _length(units: int) -> Length:
    return Length(0, units, 1, 1, by_epoch=False)


def _build(spec: dict[str, Any], lr: float, epochs: int, size: int) -> Any:
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
    name=st.sampled_from(
        ["constant", "cosine", "cosine_fixmatch", "exponential", "linear", "polynomial", "step"]
    ),
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


def test_warm_up_in_steps() -> None:
    rate = _build({"name": "constant", "warmup_steps": 3}, 0.3, 2, 4)
    assert [rate(i) for i in range(8)] == pytest.approx([0, 0.1, 0.2] + [0.3] * 5)
    longer = _build({"name": "cosine", "warmup_steps": 99}, 0.4, 2, 2)
    assert [longer(i) for i in range(5)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for other in ({"warmup_epochs": 1}, {"by_epoch": True}):
        with pytest.raises(Exception, match="warmup_steps"):
            _build({"name": "constant", "warmup_steps": 3, **other}, 0.3, 2, 4)


def test_exponential_by_hand() -> None:
    spec = {"name": "exponential", "factor": 0.25, "decay_epochs": 1}
    rate = _build(spec, 1.0, 2, 2)
    assert [rate(i) for i in range(4)] == pytest.approx([1, 0.5, 0.25, 0.125])
    stairs = _build({**spec, "staircase": True}, 1.0, 2, 2)
    assert [stairs(i) for i in range(4)] == pytest.approx([1, 1, 0.25, 0.25])
    epochs = _build({**spec, "by_epoch": True}, 1.0, 2, 2)
    assert [epochs(i) for i in range(4)] == pytest.approx([1, 1, 0.25, 0.25])


def test_multi_step_by_hand() -> None:
    rate = _build({"name": "multi_step", "milestones": [1, 2], "factor": 0.5}, 4.0, 3, 2)
    assert [rate(i) for i in range(6)] == pytest.approx([4, 4, 2, 2, 1, 1])


def test_one_cycle_by_hand() -> None:
    # 10 units: up over units 0 to 4, down over 4 to 9, on lines
    spec = {"name": "one_cycle", "start_divisor": 5, "rise": 0.5, "anneal": "linear"}
    rate = _build(spec, 1.0, 5, 2)
    up, down = [0.2, 0.4, 0.6, 0.8], [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    assert [rate(i) for i in range(10)] == pytest.approx(up + down, abs=1e-12)
    warm = _build({**spec, "warmup_epochs": 1}, 1.0, 6, 2)  # leads to the cycle's first rate
    found = [warm(i) for i in range(12)]
    assert found == pytest.approx([0.0, 0.1, *up, *down], abs=1e-12)
    with pytest.raises(Exception, match="does not fit"):
        _build({**spec, "three_phase": True, "rise": 0.6}, 1.0, 5, 2)


def test_cyclic_warms_up_to_its_lowest_rate() -> None:
    spec = {"name": "cyclic", "base_lr": 0.2, "up_steps": 2, "down_steps": 1, "warmup_steps": 2}
    rate = _build(spec, 1.0, 5, 2)
    found = [rate(i) for i in range(9)]
    assert found == pytest.approx([0, 0.1, 0.2, 0.6, 1.0, 0.2, 0.6, 1.0, 0.2], abs=1e-12)


def _after(schedule: Any, steps: int, value: float) -> float:
    """The rate of the next step, after so many and an evaluation that gave `value`."""
    schedule(steps - 1)
    schedule.observe(value)
    return float(schedule(steps))


def test_plateau_by_hand() -> None:
    spec = {"name": "plateau", "factor": 0.5, "patience": 1, "threshold": 0, "warmup_epochs": 1}
    schedule = _build(spec, 0.8, 9, 2)
    _after(schedule, 1, 0.5)  # during warm-up: the best, and no lack of progress
    for _ in range(3):
        _after(schedule, 1, 0.1)
    assert [schedule(i) for i in range(4)] == pytest.approx([0, 0.4, 0.8, 0.8])
    assert _after(schedule, 2, 0.5) == 0.8  # as good is no progress
    assert _after(schedule, 4, float("nan")) == 0.4
    assert [_after(schedule, 6, 0.6), _after(schedule, 8, 0.6)] == [0.4, 0.4]
    assert _after(schedule, 10, 0.55) == 0.2


def test_plateau_rests_and_ends_at_the_lowest_rate() -> None:
    spec = {"name": "plateau", "patience": 0, "cooldown": 2, "min_lr": 0.05, "mode": "min"}
    schedule = _build(spec, 1.0, 9, 1)
    _after(schedule, 1, 1.0)
    rates = [_after(schedule, step, 1.0) for step in range(2, 10)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05])


@pytest.mark.parametrize("by_epoch", [False, True])
def test_a_warm_up_that_takes_the_whole_run_is_told(
    by_epoch: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for warmup_epochs, told in ((4, False), (5, True), (9, True)):
        spec = {"name": "cosine", "warmup_epochs": warmup_epochs, "by_epoch": by_epoch}
        schedules.build(spec, lr=0.1, epochs=5, steps_per_epoch=3)
        assert bool(caplog.messages) == told
        if told:
            assert "takes the whole run of" in caplog.messages[0]
        caplog.clear()
