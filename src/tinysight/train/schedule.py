"""Learning rates as pure functions of the step, counted from 0 at the start of the run.

A schedule counts units: steps, or whole epochs with `by_epoch`. Warm-up takes W units, rounded from
`warmup_epochs` and at most the whole run, on a straight line from `warmup_start_lr` to the peak;
then the schedule begins with unit 0 and has the remaining T units. A warm-up as long as the run
leaves T = 0 and ends at the peak. `lr`, `epochs` and `steps_per_epoch` come from the run.

The curves are those of the reference (`tests/train/test_schedule.py`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, MinLen

from tinysight.registry import schedules

Schedule: TypeAlias = Callable[[int], float]
Curve: TypeAlias = Callable[[int], float]  # of the unit after warm-up


def warm_up(curve: Curve, units: int, start: float, peak: float) -> Curve:
    """`units` units on a line from `start` to `peak`, then `curve` from its beginning."""

    def rate(unit: int) -> float:
        return (peak - start) * unit / units + start if unit < units else curve(unit - units)

    return rate


def cosine_curve(peak: float, total: int, end: float) -> Curve:
    """Half a cosine wave from `peak` at unit 0 to `end` at unit `total`, and `end` from there
    on.
    """

    def rate(unit: int) -> float:
        if unit >= total:
            return end if total else peak
        return end + (peak - end) * (1.0 + math.cos(math.pi * unit / total)) / 2.0

    return rate


def polynomial_curve(peak: float, total: int, end: float, power: float, cycle: bool) -> Curve:
    """(peak - end) * (1 - unit / total) ** power + end.

    After `total` units it stays at `end`, or with `cycle` starts again on a line to the next
    multiple of `total`.
    """

    def rate(unit: int) -> float:
        if total == 0:
            return peak
        length = total * max(1, math.ceil(unit / total)) if cycle else total
        return (peak - end) * float((1.0 - min(unit, length) / length) ** power) + end

    return rate


def _schedule(
    curve: Callable[[int], Curve],
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float,
    warmup_start_lr: float,
    by_epoch: bool,
) -> Schedule:
    """Warm-up, then `curve(T)`, as a function of the step."""
    scale = 1 if by_epoch else steps_per_epoch
    units = min(round(warmup_epochs * scale), epochs * scale)
    rate = warm_up(curve(epochs * scale - units), units, warmup_start_lr, lr)
    return (lambda step: rate(step // steps_per_epoch)) if by_epoch else rate


NonNegative: TypeAlias = Annotated[float, Ge(0)]


@schedules.register("constant")
def constant(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegative = 0.0,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """The same rate throughout, after warm-up."""
    return _schedule(
        lambda total: lambda unit: lr,
        lr, epochs, steps_per_epoch, warmup_epochs, warmup_start_lr, by_epoch,
    )  # fmt: skip


@schedules.register("cosine")
def cosine(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegative = 0.0,
    warmup_start_lr: NonNegative = 0.0,
    end_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """Half a cosine wave from the peak to `end_lr`, after warm-up; arXiv:1608.03983."""
    return _schedule(
        lambda total: cosine_curve(lr, total, end_lr),
        lr, epochs, steps_per_epoch, warmup_epochs, warmup_start_lr, by_epoch,
    )  # fmt: skip


@schedules.register("linear")
def linear(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegative = 0.0,
    warmup_start_lr: NonNegative = 0.0,
    end_lr: NonNegative = 0.0,
    power: Annotated[float, Gt(0)] = 1.0,
    by_epoch: bool = False,
) -> Schedule:
    """A line from the peak to `end_lr` after warm-up, or a polynomial of degree `power`.

    Deviation: with `by_epoch` the reference measures the warm-up, and nothing else, in steps.
    """
    return _schedule(
        lambda total: polynomial_curve(lr, total, end_lr, power, cycle=False),
        lr, epochs, steps_per_epoch, warmup_epochs, warmup_start_lr, by_epoch,
    )  # fmt: skip


@schedules.register("step")
def step_decay(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    step_epochs: Annotated[float, Gt(0)] = 30.0,
    factor: Annotated[float, Gt(0)] = 0.1,
    warmup_epochs: NonNegative = 0.0,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """The rate times `factor` after every `step_epochs` epochs, counted from the end of warm-up.

    A fraction of an epoch is cut to whole steps.

    Raises:
        ValueError: `step_epochs` is shorter than a step, or with `by_epoch` not whole.
    """
    size = int(step_epochs * (1 if by_epoch else steps_per_epoch))
    if size < 1 or (by_epoch and size != step_epochs):
        raise ValueError(f"step_epochs {step_epochs} is no whole number of steps")
    return _schedule(
        lambda total: lambda unit: lr * factor ** (unit // size),
        lr, epochs, steps_per_epoch, warmup_epochs, warmup_start_lr, by_epoch,
    )  # fmt: skip


@schedules.register("piecewise")
def piecewise(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    milestones: Annotated[tuple[int, ...], MinLen(1)],
    factors: Annotated[tuple[float, ...], MinLen(1)] = (0.1,),
    warmup_epochs: NonNegative = 0.0,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """The peak times `factors[i]` from epoch `milestones[i]` on, counted from the end of warm-up.

    Args:
        lr: the peak, in force before the first milestone.
        epochs: of the run.
        steps_per_epoch: of the run.
        milestones: epochs, ascending.
        factors: of the peak, one for each milestone; a single one is multiplied in at each.
        warmup_epochs: before the first unit.
        warmup_start_lr: at step 0.
        by_epoch: change the rate during warm-up once an epoch only.

    Raises:
        ValueError: milestones that do not ascend, or not one factor for each.
    """
    if list(milestones) != sorted(set(milestones)):
        raise ValueError(f"milestones ascend, got {list(milestones)}")
    if len(factors) == 1:
        factors = tuple(factors[0] ** (i + 1) for i in range(len(milestones)))
    if len(factors) != len(milestones):
        raise ValueError(f"{len(milestones)} milestones need as many factors, got {len(factors)}")
    scale = 1 if by_epoch else steps_per_epoch
    ends = [m * scale for m in milestones]
    rates = (lr, *(lr * f for f in factors))
    return _schedule(
        lambda total: lambda unit: rates[bisect_right(ends, unit)],
        lr, epochs, steps_per_epoch, warmup_epochs, warmup_start_lr, by_epoch,
    )  # fmt: skip
