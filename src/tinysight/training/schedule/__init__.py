"""Learning rates as functions of the step, counted from 0 at the start of the run.

A schedule counts units: steps, or whole epochs with `by_epoch`. Warm-up takes W units, rounded from
`warmup_epochs` (or `warmup_steps`) and at most the whole run, on a straight line from
`warmup_start_lr` to the first rate of the schedule; then that begins with unit 0 and has the
remaining T units. A warm-up as long as the run leaves T = 0 and ends at the peak. `lr`, `epochs` and
`steps_per_epoch` come from the run.

All but one are pure. `Plateau` also looks at the metric: it has `observe`, `state` and `restore`,
see there. The curves are those of PaddleClas (`tests/train/test_schedule.py`).
"""

from tinysight.training.schedule.curves import (
    Curve,
    cosine_curve,
    cosine_part_curve,
    cyclic_curve,
    one_cycle_curve,
    polynomial_curve,
    warm_up,
)
from tinysight.training.schedule.cycles import cosine_fixmatch, cyclic, one_cycle
from tinysight.training.schedule.decays import (
    constant,
    cosine,
    exponential,
    linear,
    polynomial,
)
from tinysight.training.schedule.plateau import Plateau
from tinysight.training.schedule.steps import multi_step, piecewise, step_decay
from tinysight.training.schedule.units import Schedule

__all__ = [
    "Curve",
    "Plateau",
    "Schedule",
    "constant",
    "cosine",
    "cosine_curve",
    "cosine_fixmatch",
    "cosine_part_curve",
    "cyclic",
    "cyclic_curve",
    "exponential",
    "linear",
    "multi_step",
    "one_cycle",
    "one_cycle_curve",
    "piecewise",
    "polynomial",
    "polynomial_curve",
    "step_decay",
    "warm_up",
]
