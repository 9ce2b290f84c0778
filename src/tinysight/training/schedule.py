"""Learning rates as functions of the step, counted from 0 at the start of the run.

A schedule counts units: steps, or whole epochs with `by_epoch`. Warm-up takes W units, rounded from
`warmup_epochs` (or `warmup_steps`) and at most the whole run, on a straight line from
`warmup_start_lr` to the first rate of the curve, which then begins with unit 0 and has the
remaining T units. A warm-up as long as the run leaves T = 0 and ends at the peak. `lr`, `epochs` and
`steps_per_epoch` come from the run.

Every component below is a curve without its warm-up; `_schedule` adds the parameters of the run and of
the warm-up to its signature. All but `plateau` are pure. The curves are those of PaddleClas.
"""

from __future__ import annotations

import inspect
import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MinLen

from tinysight.registry import schedules

logger = logging.getLogger(__name__)

Schedule: TypeAlias = Callable[[int], float]
Curve: TypeAlias = Callable[[int], float]
NonNegative: TypeAlias = Annotated[float, Ge(0)]
Positive: TypeAlias = Annotated[float, Gt(0)]
_C = TypeVar("_C", bound=Callable[..., Any])
Milestones: TypeAlias = Annotated[tuple[int, ...], MinLen(1)]

_SMALLEST_FALL = 1e-8  # Plateau ignores a smaller one; PaddleClas' number


class Length(NamedTuple):
    """Units of a schedule: `warm` of warm-up, then `rest`; one unit is `size` steps, an epoch is `epoch` units."""

    warm: int
    rest: int
    size: int
    epoch: int
    by_epoch: bool


def warm_up(curve: Curve, units: int, start: float, peak: float) -> Curve:
    """`units` units on a line from `start` to `peak`, then `curve` from its beginning."""

    def rate(unit: int) -> float:
        return (peak - start) * unit / units + start if unit < units else curve(unit - units)

    return rate


def _warmed(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegative = 0.0,
    warmup_steps: Annotated[int, Ge(0)] | None = None,
    warmup_start_lr: NonNegative = 0.0,
    by_epoch: bool = False,
    *,
    curve: Callable[[float, Length], Curve | tuple[Curve, float]],
) -> Schedule:
    """The schedule of a curve: what every component takes besides its own parameters.

    Raises:
        ValueError: warm-up is given twice, or in steps of a schedule that counts epochs.
    """
    epoch = 1 if by_epoch else steps_per_epoch
    warm = round(warmup_epochs * epoch)
    if warmup_steps is not None:
        if warmup_epochs:
            raise ValueError("warmup_epochs or warmup_steps, not both")
        if by_epoch:
            raise ValueError("warmup_steps goes with schedules that count steps, not by_epoch")
        warm = warmup_steps
    if warm >= epochs * epoch:
        unit = "epochs" if by_epoch else "steps"
        text = "the warm-up (%d %s) takes the whole run of %d, so the rate never reaches train.lr; lower the warm-up"
        logger.warning(text, warm, unit, epochs * epoch)
        warm = epochs * epoch
    size = steps_per_epoch if by_epoch else 1
    rates = curve(lr, Length(warm, epochs * epoch - warm, size, epoch, by_epoch))
    if isinstance(rates, Plateau):
        rates.start = warmup_start_lr
        return rates
    rates, first = rates if isinstance(rates, tuple) else (rates, lr)
    rate = warm_up(rates, warm, warmup_start_lr, first)
    return rate if size == 1 else lambda step: rate(step // size)


def _schedule(name: str) -> Callable[[_C], _C]:
    """Register a curve of (peak, length, own parameters) as a schedule with a warm-up; the curve stays as it is."""
    shared = list(inspect.signature(_warmed).parameters.values())[:-1]
    hints = {k: v for k, v in _warmed.__annotations__.items() if k != "curve"}

    def add(curve: _C) -> _C:
        own = list(inspect.signature(curve).parameters.values())[2:]
        names = {p.name for p in own}

        def build(**options: Any) -> Schedule:
            mine = {k: options.pop(k) for k in list(options) if k in names}
            return _warmed(**options, curve=lambda lr, length: curve(lr, length, **mine))

        build.__doc__ = curve.__doc__
        build.__signature__ = inspect.Signature([*shared[:3], *own, *shared[3:]])  # type: ignore[attr-defined]
        build.__annotations__ = {**hints, **{p.name: p.annotation for p in own}}
        schedules.register(name)(build)
        return curve

    return add


@_schedule("constant")
def constant(lr: float, length: Length, /) -> Curve:
    """The same rate throughout, after warm-up."""
    return lambda unit: lr


@_schedule("cosine")
def cosine(lr: float, length: Length, /, end_lr: NonNegative = 0.0) -> Curve:
    """Half a cosine wave from the peak to `end_lr`, after warm-up; arXiv:1608.03983."""
    total = length.rest

    def rate(unit: int) -> float:
        if unit >= total:
            return end_lr if total else lr
        return end_lr + (lr - end_lr) * (1.0 + math.cos(math.pi * unit / total)) / 2.0

    return rate


@_schedule("cosine_fixmatch")
def cosine_fixmatch(lr: float, length: Length, /, cycles: Positive = 7 / 16) -> Curve:
    """Peak * cos(pi * cycles * share of the run), at least 0, after warm-up; arXiv:2001.07685.

    With 7/16 it ends at a fifth of the peak.
    """
    total = max(1, length.rest)
    return lambda unit: lr * max(0.0, math.cos(math.pi * cycles * unit / total))


@_schedule("linear")
def linear(lr: float, length: Length, /, end_lr: NonNegative = 0.0) -> Curve:
    """A straight line from the peak to `end_lr`, after warm-up."""
    return polynomial(lr, length, end_lr)


@_schedule("polynomial")
def polynomial(
    lr: float,
    length: Length,
    /,
    end_lr: NonNegative = 0.0,
    power: Positive = 1.0,
    cycle: bool = False,
) -> Curve:
    """(peak - end_lr) * (share of the run that is left) ** power + end_lr, after warm-up.

    PaddleClas' `Linear`. Deviation: with `by_epoch` it measures the warm-up, and nothing else,
    in steps. Its `cycle` lifts the rate after the run's end only, so that a run never sees it.
    """
    total = length.rest

    def rate(unit: int) -> float:
        if total == 0:
            return lr
        period = total * max(1, math.ceil(unit / total)) if cycle else total
        return (lr - end_lr) * float((1.0 - min(unit, period) / period) ** power) + end_lr

    return rate


@_schedule("exponential")
def exponential(
    lr: float,
    length: Length,
    /,
    factor: Positive = 0.97,
    decay_epochs: Positive = 1.0,
    staircase: bool = False,
) -> Curve:
    """The peak times `factor` ** (epochs since warm-up / `decay_epochs`).

    With `staircase` that exponent is cut to a whole number.
    """
    units = decay_epochs * length.epoch
    return lambda unit: lr * factor ** (math.floor(unit / units) if staircase else unit / units)


@_schedule("step")
def step_decay(
    lr: float, length: Length, /, step_epochs: Positive = 30.0, factor: Positive = 0.1
) -> Curve:
    """The rate times `factor` after every `step_epochs` epochs, counted from the end of warm-up.

    A fraction of an epoch is cut to whole steps.

    Raises:
        ValueError: `step_epochs` is shorter than a step, or with `by_epoch` not whole.
    """
    units = int(step_epochs * length.epoch)
    if units < 1 or (length.by_epoch and units != step_epochs):
        raise ValueError(f"step_epochs {step_epochs} is no whole number of steps")
    return lambda unit: lr * factor ** (unit // units)


@_schedule("piecewise")
def piecewise(
    lr: float,
    length: Length,
    /,
    milestones: Milestones,
    factors: Annotated[tuple[float, ...], MinLen(1)] = (0.1,),
) -> Curve:
    """The peak times `factors[i]` from epoch `milestones[i]` on, counted from the end of warm-up.

    Args:
        lr: the peak, in force before the first milestone.
        length: units of the run.
        milestones: epochs, ascending.
        factors: multiples of the peak, one for each milestone; a single one is multiplied in at each.

    Raises:
        ValueError: milestones that do not ascend, or not one factor for each.
    """
    if list(milestones) != sorted(set(milestones)):
        raise ValueError(f"milestones ascend, got {list(milestones)}")
    if len(factors) == 1:
        factors = tuple(factors[0] ** (i + 1) for i in range(len(milestones)))
    if len(factors) != len(milestones):
        raise ValueError(f"{len(milestones)} milestones need as many factors, got {len(factors)}")
    ends = [m * length.epoch for m in milestones]
    rates = (lr, *(lr * f for f in factors))
    return lambda unit: rates[bisect_right(ends, unit)]


@_schedule("multi_step")
def multi_step(
    lr: float, length: Length, /, milestones: Milestones, factor: Positive = 0.1
) -> Curve:
    """The rate times `factor` at each epoch of `milestones`, counted from the end of warm-up.

    Raises:
        ValueError: milestones that do not ascend.
    """
    ends = [m * length.epoch for m in milestones]
    if ends != sorted(set(ends)):
        raise ValueError(f"milestones ascend, got {list(milestones)}")
    return lambda unit: lr * factor ** bisect_right(ends, unit)


@_schedule("one_cycle")
def one_cycle(
    lr: float,
    length: Length,
    /,
    start_divisor: Annotated[float, Ge(1)] = 25.0,
    rise: Annotated[float, Gt(0), Lt(1)] = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
    end_lr: NonNegative = 0.0,
) -> tuple[Curve, float]:
    """One rise to the peak and one fall, arXiv:1708.07120; it needs no warm-up of its own.

    Deviation: after a warm-up PaddleClas jumps from the peak to the cycle's first rate, and cuts
    the cycle's end off; here the warm-up leads to the first rate, and the cycle fits what is left.

    Args:
        lr: the peak.
        length: units of the run.
        start_divisor: the cycle begins at the peak divided by this.
        rise: share of the units that go up; with `three_phase` as many go down to the beginning.
        anneal: shape of both ways.
        three_phase: down to the beginning first, then to `end_lr`.
        end_lr: the last rate.

    Raises:
        ValueError: the run is too short: the rise takes less than one unit after the first.
    """
    total, start, phases = length.rest, lr / start_divisor, 2 if three_phase else 1
    if total == 0:
        return (lambda unit: start), start
    if rise * total <= 1.0 or phases * (rise * total - 1.0) >= total - 1.0:
        what = f"{phases * rise:g} of the {total} units after warm-up are to go up and down"
        raise ValueError(f"the cycle does not fit: {what}")
    knots = [(0.0, start), (rise * total - 1.0, lr), (total - 1.0, end_lr)]
    if three_phase:
        knots.insert(2, (2.0 * rise * total - 2.0, start))

    def rate(unit: int) -> float:
        for (left, high), (right, low) in zip(knots, knots[1:], strict=False):
            if unit <= right:
                share = (unit - left) / (right - left)
                if anneal == "linear":
                    return (low - high) * share + high
                return low + (high - low) / 2.0 * (1.0 + math.cos(math.pi * share))
        return end_lr

    return rate, start


@_schedule("cyclic")
def cyclic(
    lr: float,
    length: Length,
    /,
    base_lr: NonNegative,
    up_steps: Annotated[int, Ge(1)],
    down_steps: Annotated[int, Ge(1)] | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: Annotated[float, Gt(0), Le(1)] = 1.0,
) -> tuple[Curve, float]:
    """Up from `base_lr` to the peak and down again, over and over; arXiv:1506.01186.

    Args:
        lr: the peak.
        length: units of the run.
        base_lr: lowest rate; warm-up leads to it.
        up_steps: steps (epochs with `by_epoch`) of a rise.
        down_steps: steps of a fall; default: as many.
        mode: the height stays, halves with each cycle (triangular2), or is multiplied by `gamma`
            every unit (exp_range).
        gamma: the factor of exp_range.
    """
    total = up_steps + (down_steps or up_steps)
    turn = up_steps / total

    def rate(unit: int) -> float:
        cycle = unit // total
        place = unit / total - cycle
        height = place / turn if place <= turn else (1.0 - place) / (1.0 - turn)
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": gamma**unit}[mode]
        return base_lr + (lr - base_lr) * height * scale

    return rate, base_lr


class Plateau:
    """The peak, times `factor` whenever `patience` evaluations in a row brought nothing better.

    The one schedule that is not a function of the step alone. After each evaluation the loop calls
    `observe` with the value that picks the best epoch; a checkpoint keeps `state`, and `restore`
    brings it back. Asked for the same step, it answers the same until it observes. What it observes
    during warm-up counts towards the best value, but not as a lack of progress; warm-up it is by the
    step that was asked for last.

    Deviation: with warm-up PaddleClas' never leaves `warmup_start_lr`.
    """

    def __init__(
        self, lr: float, length: Length, better: Callable[[float, float], bool], min_lr: float,
        factor: float, patience: int, cooldown: int,
    ) -> None:  # fmt: skip
        self.start = 0.0  # of the warm-up
        self._peak = self._rate = lr
        self._length, self._better, self._min_lr = length, better, min_lr
        self._factor, self._patience, self._cooldown = factor, patience, cooldown
        self._best: float | None = None
        self._bad = self._resting = 0
        self._step = -1  # the last one that was asked for

    def __call__(self, step: int) -> float:
        """The rate of a step, as far as it is known by now."""
        self._step = step
        rate = warm_up(lambda unit: self._rate, self._length.warm, self.start, self._peak)
        return rate(step // self._length.size)

    def observe(self, value: float) -> None:
        """Take in the metric that was measured after the last step; nan is no progress."""
        better = value == value and (self._best is None or self._better(value, self._best))
        if self._step + 1 < self._length.warm * self._length.size:
            if better:
                self._best = value
        elif self._resting:
            self._resting -= 1
        elif better:
            self._best, self._bad = value, 0
        else:
            self._bad += 1
            if self._bad > self._patience:
                self._resting, self._bad = self._cooldown, 0
                lower = max(self._rate * self._factor, self._min_lr)
                if self._rate - lower > _SMALLEST_FALL:
                    self._rate = lower

    @property
    def state(self) -> dict[str, float | int | None]:
        """What has been observed, as plain data."""
        return {"rate": self._rate, "best": self._best, "bad": self._bad, "resting": self._resting}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of another run with the same settings."""
        best = state["best"]
        self._rate, self._best = float(state["rate"]), None if best is None else float(best)
        self._bad, self._resting = int(state["bad"]), int(state["resting"])


@_schedule("plateau")
def plateau(
    lr: float,
    length: Length,
    /,
    factor: Annotated[float, Gt(0), Lt(1)] = 0.1,
    patience: Annotated[int, Ge(0)] = 10,
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    mode: Literal["max", "min"] = "max",
    cooldown: Annotated[int, Ge(0)] = 0,
    min_lr: NonNegative = 0.0,
) -> Curve:
    """The peak, times `factor` whenever `patience` evaluations in a row brought nothing better.

    Args:
        lr: the peak.
        length: units of the run.
        factor: multiplier of each fall.
        patience: evaluations without progress that are tolerated; the next one lowers the rate.
        threshold: how much better counts as progress.
        threshold_mode: `threshold` is a share of the best value (rel) or a difference (abs).
        mode: what is better, higher values or lower ones.
        cooldown: evaluations after a fall that are ignored.
        min_lr: the rate falls no further.
    """
    sign = 1.0 if mode == "max" else -1.0

    def better(value: float, best: float) -> bool:
        margin = threshold * (best if threshold_mode == "rel" else 1.0)
        return sign * value > sign * best + margin

    return Plateau(lr, length, better, min_lr, factor, patience, cooldown)
