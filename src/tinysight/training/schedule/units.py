"""From units after warm-up to steps of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeAlias

from annotated_types import Ge

from tinysight.training.schedule.curves import Curve, warm_up

Schedule: TypeAlias = Callable[[int], float]
NonNegative: TypeAlias = Annotated[float, Ge(0)]
Steps: TypeAlias = Annotated[int, Ge(0)]


class Units(NamedTuple):
    """How a run is counted: `warm` units of warm-up, then `rest`; `size` steps are one unit."""

    warm: int
    rest: int
    size: int
    start: float

    @classmethod
    def of(
        cls,
        epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float,
        warmup_steps: int | None,
        warmup_start_lr: float,
        by_epoch: bool,
    ) -> Units:
        """The counts of a run.

        Raises:
            ValueError: warm-up is given twice, or in steps of a schedule that counts epochs.
        """
        scale = 1 if by_epoch else steps_per_epoch
        warm = round(warmup_epochs * scale)
        if warmup_steps is not None:
            if warmup_epochs:
                raise ValueError("warmup_epochs or warmup_steps, not both")
            if by_epoch:
                raise ValueError("warmup_steps goes with schedules that count steps, not by_epoch")
            warm = warmup_steps
        warm = min(warm, epochs * scale)
        size = steps_per_epoch if by_epoch else 1
        return cls(warm, epochs * scale - warm, size, warmup_start_lr)

    def schedule(self, curve: Curve, top: float) -> Schedule:
        """Warm-up to `top`, then `curve`, as a function of the step."""
        rate = warm_up(curve, self.warm, self.start, top)
        return rate if self.size == 1 else lambda step: rate(step // self.size)
