"""Schedules that rise and fall, and part of a cosine wave."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from tinysight.registry import schedules
from tinysight.training.schedule.curves import cosine_part_curve, cyclic_curve, one_cycle_curve
from tinysight.training.schedule.units import NonNegative, Schedule, Steps, Units


@schedules.register("one_cycle")
def one_cycle(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    start_divisor: Annotated[float, Ge(1)] = 25.0,
    rise: Annotated[float, Gt(0), Lt(1)] = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
    end_lr: NonNegative = 0.0,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """One rise to the peak and one fall, arXiv:1708.07120; it needs no warm-up of its own.

    Deviation: after a warm-up PaddleClas jumps from the peak to the cycle's first rate, and cuts
    the cycle's end off; here the warm-up leads to the first rate, and the cycle fits what is left.

    Args:
        lr: the peak.
        epochs: of the run.
        steps_per_epoch: of the run.
        start_divisor: the cycle begins at the peak divided by this.
        rise: share of the units that go up; with `three_phase` as many go down to the beginning.
        anneal: shape of both ways.
        three_phase: down to the beginning first, then to `end_lr`.
        end_lr: the last rate.
        warmup_epochs: before the cycle.
        warmup_steps: instead of `warmup_epochs`.
        warmup_start_lr: at step 0 of a warm-up.
        by_epoch: change the rate once an epoch only.

    Raises:
        ValueError: the run is too short: the rise takes less than one unit after the first.
    """
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    start = lr / start_divisor
    if units.rest == 0:
        return units.schedule(lambda unit: start, start)
    phases = 2 if three_phase else 1
    if rise * units.rest <= 1.0 or phases * (rise * units.rest - 1.0) >= units.rest - 1.0:
        what = f"{phases * rise:g} of the {units.rest} units after warm-up are to go up and down"
        raise ValueError(f"the cycle does not fit: {what}")
    curve = one_cycle_curve(lr, units.rest, start, end_lr, rise, anneal, three_phase)
    return units.schedule(curve, start)


@schedules.register("cyclic")
def cyclic(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    base_lr: NonNegative,
    up_steps: Annotated[int, Ge(1)],
    down_steps: Annotated[int, Ge(1)] | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: Annotated[float, Gt(0), Le(1)] = 1.0,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """Up from `base_lr` to the peak and down again, over and over; arXiv:1506.01186.

    Args:
        lr: the peak.
        epochs: of the run.
        steps_per_epoch: of the run.
        base_lr: lowest rate; warm-up leads to it.
        up_steps: steps (epochs with `by_epoch`) of a rise.
        down_steps: of a fall; default: as many.
        mode: the height stays, halves with each cycle (triangular2), or is multiplied by `gamma`
            every unit (exp_range).
        gamma: for exp_range.
        warmup_epochs: before the first cycle.
        warmup_steps: instead of `warmup_epochs`.
        warmup_start_lr: at step 0 of a warm-up.
        by_epoch: change the rate once an epoch only.
    """
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    curve = cyclic_curve(base_lr, lr, up_steps, down_steps or up_steps, mode, gamma)
    return units.schedule(curve, base_lr)


@schedules.register("cosine_fixmatch")
def cosine_fixmatch(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    cycles: Annotated[float, Gt(0)] = 7 / 16,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Steps | None = None,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
) -> Schedule:
    """Peak * cos(pi * cycles * share of the run), at least 0, after warm-up; arXiv:2001.07685.

    With 7/16 it ends at a fifth of the peak.
    """
    units = Units.of(
        epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
    )
    return units.schedule(cosine_part_curve(lr, units.rest, cycles), lr)
