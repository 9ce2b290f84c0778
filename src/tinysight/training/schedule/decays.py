"""Schedules that fall smoothly, and the one that does not."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Gt

from tinysight.registry import schedules
from tinysight.training.schedule.curves import cosine_curve, polynomial_curve
from tinysight.training.schedule.units import NonNegative, Schedule, Steps, Units


@schedules.register("constant")
def constant(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """The same rate throughout, after warm-up."""
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    return units.schedule(lambda unit: lr, lr)


@schedules.register("cosine")
def cosine(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    end_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """Half a cosine wave from the peak to `end_lr`, after warm-up; arXiv:1608.03983."""
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    return units.schedule(cosine_curve(lr, units.rest, end_lr), lr)


@schedules.register("linear")
def linear(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    end_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """A straight line from the peak to `end_lr`, after warm-up."""
    return polynomial(
        lr,
        epochs,
        steps_per_epoch,
        warmup_epochs,
        warmup_steps,
        warmup_start_lr,
        end_lr,
        power=1.0,
        by_epoch=by_epoch,
    )


@schedules.register("polynomial")
def polynomial(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    end_lr: NonNegative = 0.0,
    power: Annotated[float, Gt(0)] = 1.0,
    cycle: bool = False,
    by_epoch: bool = False,
) -> Schedule:
    """(peak - end_lr) * (share of the run that is left) ** power + end_lr, after warm-up.

    PaddleClas' `Linear`. Deviation: with `by_epoch` it measures the warm-up, and nothing else,
    in steps. Its `cycle` lifts the rate after the run's end only, so that a run never sees it.
    """
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    return units.schedule(polynomial_curve(lr, units.rest, end_lr, power, cycle), lr)


@schedules.register("exponential")
def exponential(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    factor: Annotated[float, Gt(0)] = 0.97,
    decay_epochs: Annotated[float, Gt(0)] = 1.0,
    staircase: bool = False,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """The peak times `factor` ** (epochs since warm-up / `decay_epochs`).

    With `staircase` that exponent is cut to a whole number.
    """
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    length = decay_epochs * (1 if by_epoch else steps_per_epoch)

    def curve(unit: int) -> float:
        exponent = unit / length
        return lr * factor ** (math.floor(exponent) if staircase else exponent)

    return units.schedule(curve, lr)
