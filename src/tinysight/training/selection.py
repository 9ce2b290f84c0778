"""What follows from an evaluation: which epoch is best, and whether the run has gone on for long enough."""

from __future__ import annotations

from collections.abc import Mapping

from tinysight.config.schema import Train
from tinysight.training.checkpoint import TrainState


def is_evaluated(settings: Train, epoch: int) -> bool:
    """Every `eval_every` epochs from `eval_from` on, and the last one in any case."""
    due = epoch >= settings.eval_from and epoch % settings.eval_every == 0
    return due or epoch == settings.epochs


def judge(
    state: TrainState, settings: Train, epoch: int, metrics: Mapping[str, float]
) -> tuple[bool, bool]:
    """Take the metrics of `epoch` into `state`. The first of them counts; larger is better.

    Early stopping waits for a value more than `min_delta` above the last that did so, `patience` epochs long.

    Returns:
        Whether this epoch is the best so far, and whether the run ends with it.
    """
    value = next(iter(metrics.values()))
    best = not state.best or value > next(iter(state.best["metrics"].values()))
    if best:
        state.best = {"epoch": epoch, "metrics": dict(metrics)}
    stopping = settings.early_stopping
    if stopping:
        if not state.mark or value > state.mark["value"] + stopping.min_delta:
            state.mark = {"epoch": epoch, "value": value}
        state.stopped = epoch - state.mark["epoch"] >= stopping.patience
    return best, state.stopped
