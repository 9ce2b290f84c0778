"""Schedules that fall in steps."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated

from annotated_types import Gt, MinLen

from tinysight.registry import schedules
from tinysight.training.schedule.units import NonNegative, Schedule, Steps, Units


@schedules.register("step")
def step_decay(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    step_epochs: Annotated[float, Gt(0)] = 30.0,
    factor: Annotated[float, Gt(0)] = 0.1,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
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
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    return units.schedule(lambda unit: lr * factor ** (unit // size), lr)


@schedules.register("piecewise")
def piecewise(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    milestones: Annotated[tuple[int, ...], MinLen(1)],
    factors: Annotated[tuple[float, ...], MinLen(1)] = (0.1,),
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
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
        warmup_steps: instead of `warmup_epochs`.
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
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    return units.schedule(lambda unit: rates[bisect_right(ends, unit)], lr)


@schedules.register("multi_step")
def multi_step(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    milestones: Annotated[tuple[int, ...], MinLen(1)],
    factor: Annotated[float, Gt(0)] = 0.1,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """The rate times `factor` at each epoch of `milestones`, counted from the end of warm-up.

    Raises:
        ValueError: milestones that do not ascend.
    """
    return piecewise(
        lr,
        epochs,
        steps_per_epoch,
        milestones,
        (factor,),
        warmup_epochs,
        warmup_steps,
        warmup_start_lr,
        by_epoch,
    )
