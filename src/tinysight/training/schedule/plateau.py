"""The rate falls when the metric has stopped getting better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from tinysight.registry import schedules
from tinysight.training.schedule.units import NonNegative, Steps, Units

_SMALLEST_FALL = 1e-8  # a smaller one is not worth it; PaddleClas' number


@schedules.register("plateau")
class Plateau:
    """The peak, times `factor` whenever `patience` evaluations in a row brought nothing better.

    The one schedule that is not a function of the step alone. After each evaluation the loop calls
    `observe` with the value that picks the best epoch; a checkpoint keeps `state`, and `restore`
    brings it back. Asked for the same step, it answers the same until it observes. What it observes
    during warm-up counts towards the best value, but not as a lack of progress; warm-up it is by the
    step that was asked for last.

    Deviation: with warm-up PaddleClas' never leaves `warmup_start_lr`.

    Args:
        lr: the peak.
        epochs: of the run.
        steps_per_epoch: of the run.
        factor: of each fall.
        patience: evaluations without progress that are let pass; the next one lowers the rate.
        threshold: how much better counts as progress.
        threshold_mode: `threshold` is a share of the best value (rel) or a difference (abs).
        mode: what is better, higher values or lower ones.
        cooldown: evaluations after a fall that are not looked at.
        min_lr: the rate falls no further.
        warmup_epochs: before anything falls.
        warmup_steps: instead of `warmup_epochs`.
        warmup_start_lr: at step 0 of a warm-up.
        by_epoch: change the rate during warm-up once an epoch only.
    """

    def __init__(
        self,
        lr: float,
        epochs: int,
        steps_per_epoch: int,
        factor: Annotated[float, Gt(0), Lt(1)] = 0.1,
        patience: Annotated[int, Ge(0)] = 10,
        threshold: NonNegative = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        mode: Literal["max", "min"] = "max",
        cooldown: Annotated[int, Ge(0)] = 0,
        min_lr: NonNegative = 0.0,
        warmup_epochs: NonNegative = 0.0,
        warmup_steps: Steps | None = None,
        warmup_start_lr: NonNegative = 0.0,
        by_epoch: bool = False,
    ) -> None:
        self.factor, self.patience, self.cooldown = factor, patience, cooldown
        self.threshold, self.threshold_mode, self.mode = threshold, threshold_mode, mode
        self.min_lr = min_lr
        self._units = Units.of(
            epochs, steps_per_epoch, warmup_epochs, warmup_steps, warmup_start_lr, by_epoch
        )
        self._peak = self._rate = lr
        self._best: float | None = None
        self._bad = self._resting = 0
        self._step = -1  # the last one that was asked for

    def __call__(self, step: int) -> float:
        """The rate of a step, as far as it is known by now."""
        self._step = step
        return self._units.schedule(lambda unit: self._rate, self._peak)(step)

    def observe(self, value: float) -> None:
        """Take in the metric that was measured after the last step; nan is no progress."""
        if self._step + 1 < self._units.warm * self._units.size:
            if self._better(value):
                self._best = value
            return
        if self._resting:
            self._resting -= 1
            return
        if self._better(value):
            self._best, self._bad = value, 0
            return
        self._bad += 1
        if self._bad > self.patience:
            self._resting, self._bad = self.cooldown, 0
            lower = max(self._rate * self.factor, self.min_lr)
            if self._rate - lower > _SMALLEST_FALL:
                self._rate = lower

    @property
    def state(self) -> dict[str, float | int | None]:
        """What has been observed, as plain data."""
        return {
            "rate": self._rate,
            "best": self._best,
            "bad": self._bad,
            "resting": self._resting,
        }

    def restore(self, state: Mapping[str, float | int | None]) -> None:
        """Go on from the `state` of another run with the same settings."""
        rate, best = state["rate"], state["best"]
        bad, resting = state["bad"], state["resting"]
        assert rate is not None
        self._rate, self._best = float(rate), None if best is None else float(best)
        self._bad, self._resting = int(bad or 0), int(resting or 0)

    def _better(self, value: float) -> bool:
        if value != value:
            return False
        if self._best is None:
            return True
        margin = self.threshold * (self._best if self.threshold_mode == "rel" else 1.0)
        return value > self._best + margin if self.mode == "max" else value < self._best - margin
