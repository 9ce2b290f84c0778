"""The training run: `fit(recipe, out)`, the one place where the sections of a recipe meet.

The same recipe, data and seed give the same weights. Everything random is a function of the seed
and the step, so a run that was killed goes on from its last checkpoint, also inside an epoch, to
the weights it would have had: byte for byte on a CPU with the same versions and number of threads.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tinysight.config import Recipe
from tinysight.data.labels import resolve_labels
from tinysight.data.loader import Batch, batches
from tinysight.errors import ConfigError
from tinysight.evaluation.predictor import Evaluation, evaluate
from tinysight.tasks.base import task_of_recipe
from tinysight.training.checkpoint import save_checkpoint
from tinysight.training.distributed import processes
from tinysight.training.folder import RunFolder
from tinysight.training.optim import set_lr
from tinysight.training.predictor import predictor
from tinysight.training.report import Report
from tinysight.training.run import Run, checkpoint, note_state, prepare, steps_per_epoch
from tinysight.training.selection import is_evaluated, judge
from tinysight.training.step import numerics
from tinysight.training.unreadable import cap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        out: the run folder.
        best: checkpoint of the best epoch, weights alone.
        last: checkpoint of the last epoch.
        epoch: the best one, from 1.
        metrics: of the best epoch.
        unreadable: (path, reason) of each image that was left out, in training and evaluation.
        seconds: wall-clock time of this call.
    """

    out: Path
    best: Path
    last: Path
    epoch: int
    metrics: dict[str, float]
    unreadable: tuple[tuple[str, str], ...]
    seconds: float


def fit(
    recipe: Recipe, out: str | Path, *, resume: bool = False, progress: bool | None = None
) -> FitResult:
    """Train `recipe` into the folder `out`.

    Started by `torchrun`, it is one of the processes of a run: each takes its share of every batch, the first one
    evaluates and writes, and all return the same but for `seconds`.

    Args:
        recipe: a resolved recipe.
        out: the run folder; made if it does not exist, never overwritten.
        resume: go on with the run in `out`, from its last checkpoint; begin if there is none.
        progress: show a bar. Default: on a terminal. Without one each epoch logs a line.

    Raises:
        ConfigError: a component refuses its values, or the loss is not a number any more.
        DataError: a list is wrong, or too many images are unreadable.
        CheckpointError: `out` holds a run (of another recipe, with `resume`), a checkpoint is
            damaged, or the pretrained weights do not fit.
        DistributedError: another process of the run has ended.
    """
    started = time.perf_counter()
    recipe = resolve_labels(recipe)
    with processes() as group, numerics(recipe.train):
        place = group.device
        with torch.random.fork_rng([place.index or 0] if place.type == "cuda" else []):
            run = prepare(recipe, RunFolder(out), resume, group)
            left_out = _train(run, progress)
        best, folder = run.state.best, run.folder
        unreadable = (*run.unreadable.named(), *group.broadcast_json(left_out))
    return FitResult(
        folder.path,
        folder.best,
        folder.last,
        best["epoch"],
        best["metrics"],
        tuple((path, reason) for path, reason in unreadable),
        time.perf_counter() - started,
    )


def _train(run: Run, progress: bool | None) -> list[tuple[str, str]]:
    """All steps that are left; the unreadable evaluation images."""
    settings, state, left_out = run.recipe.train, run.state, dict[str, str]()
    epochs, per_epoch = settings.epochs, steps_per_epoch(run.batches, settings)
    if state.stopped:
        return []
    stream = _stream(run, per_epoch)
    clock = time.perf_counter()
    with Report(
        epochs * per_epoch, state.step, progress if run.processes.main else False
    ) as report:
        while state.step < epochs * per_epoch:
            learn(run, stream, per_epoch)
            epoch, within = divmod(state.step, per_epoch)
            report.step(epoch + (within > 0))
            if within:
                if state.step % (settings.checkpoint_every or math.inf) == 0:
                    _save(run)
                continue
            record, found = _end_epoch(run, epoch, clock)
            clock = time.perf_counter()
            left_out.update(found.unreadable if found else ())
            if run.processes.main:
                report.epoch(record, epochs)
            if state.stopped:
                logger.info("epoch %d: no better one in %s, so the run ends", epoch, _patience(run))
                break
    return list(left_out.items())


def _stream(run: Run, per_epoch: int) -> Iterator[Batch]:
    """The batches from the next step on."""
    epoch, within = divmod(run.state.step, per_epoch)
    first = epoch * run.batches.per_epoch + within * run.recipe.train.accumulate
    pin = run.processes.device.type == "cuda"
    return batches(run.batches, first, run.recipe.data.workers, pin)


def learn(run: Run, stream: Iterator[Batch], per_epoch: int) -> None:
    """One step, of as many batches as are due, taken from `stream`."""
    state, each = run.state, run.recipe.train.accumulate
    epoch, within = divmod(state.step, per_epoch)
    first = epoch * run.batches.per_epoch + within * each
    count = min(each, (epoch + 1) * run.batches.per_epoch - first)
    images = sum(len(run.batches.indices(first + i)) for i in range(count))
    set_lr(run.optimizer, run.schedule(state.step))
    changed = run.step(_noted(run, islice(stream, count)), images, first)
    if changed and run.average:
        run.average.update(state.step)
    state.step += 1


def _noted(run: Run, stream: Iterator[Batch]) -> Iterator[Batch]:
    for batch in stream:
        run.unreadable.note(batch.unreadable)
        yield batch


def _end_epoch(run: Run, epoch: int, clock: float) -> tuple[dict[str, Any], Evaluation | None]:
    """Evaluate if it is time, keep the best, write the epoch's line, then its checkpoint."""
    settings, state, found = run.recipe.train, run.state, None
    record: dict[str, Any] = {"epoch": epoch, "step": state.step, "loss": _mean_loss(run)}
    record["lr"] = run.schedule(state.step - 1)
    if is_evaluated(settings, epoch):
        found = _evaluate(run) if run.processes.main else None
        metrics = run.processes.broadcast_json(found.metrics if found else {})
        record |= {"metrics": metrics, "unreadable": len(found.unreadable) if found else 0}
        best, _ = judge(state, settings, epoch, metrics)
        if hasattr(run.schedule, "observe"):
            run.schedule.observe(next(iter(metrics.values())))
        if best:
            record["best"] = True
            if run.processes.main:
                save_checkpoint(run.folder.best, checkpoint(run, weights_only=True))
    record["seconds"] = round(time.perf_counter() - clock, 3)
    record["time"] = round(time.time(), 3)
    if run.processes.main:
        run.folder.append(record)
    run.step.totals.zero_()
    _save(run)
    return record, found


def _evaluate(run: Run) -> Evaluation:
    data, task = run.recipe.data, task_of_recipe(run.recipe)
    found = evaluate(
        predictor(run.shown.eval(), task),
        run.eval_samples,
        run.prepare,
        [m.spec for m in run.recipe.metrics],
        batch_size=data.eval_batch_size,
        labels=data.labels or (),
        task=task,
    )
    cap(found.unreadable, run.eval_samples, data.max_bad_fraction)
    return found


def _save(run: Run) -> None:
    """Write the checkpoint to go on from."""
    _mean_loss(run)
    if run.processes.main:
        run.folder.save_last(checkpoint(run))


def _mean_loss(run: Run) -> float:
    """Mean loss of this epoch's images so far, with the state brought up to date.

    Raises:
        ConfigError: it is not a number any more; no checkpoint is written of such weights.
    """
    note_state(run)
    mean = run.state.loss_sum / max(run.state.seen, 1)
    if not math.isfinite(mean):
        what = f"the loss became {mean} before step {run.state.step}"
        raise ConfigError("train.lr", what, "lower it, or warm up longer")
    return mean


def _patience(run: Run) -> str:
    stopping = run.recipe.train.early_stopping
    return f"{stopping.patience} epochs" if stopping else ""
