"""The training run: `fit(recipe, out)`, the one place where the sections of a recipe meet.

The same recipe, data and seed give the same weights. Everything random is a function of the seed
and the step, so a run that was killed resumes from its last checkpoint, also inside an epoch, to
the weights it would have had: byte for byte on a CPU with the same versions and number of threads.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tinysight.config import Recipe
from tinysight.config.schema import Train
from tinysight.data.labels import label_names, resolve_labels
from tinysight.data.loader import Batch, batches
from tinysight.errors import ConfigError, DataError, TinysightError
from tinysight.evaluation.predictor import evaluate
from tinysight.tasks.base import task_of_recipe
from tinysight.training.callbacks import Callback, Progress
from tinysight.training.checkpoint import TrainState, save_checkpoint
from tinysight.training.distributed import processes
from tinysight.training.folder import RunFolder
from tinysight.training.objective import usual_objective
from tinysight.training.optim import set_lr
from tinysight.training.predictor import predictor
from tinysight.training.run import (
    ObjectiveFactory,
    Run,
    best_checkpoint,
    build_run,
    check_bad_fraction,
    checkpoint,
    current_state,
    note_unreadable,
    unreadable_images,
)
from tinysight.training.step import numerics

logger = logging.getLogger(__name__)

_CHECKED = 64  # images of a batch that is only a check


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        out: the run folder.
        best: checkpoint of the best epoch, weights alone.
        last: checkpoint of the last epoch.
        epoch: number of the best epoch, from 1; 0 if the run was stopped before an evaluation.
        metrics: values of the best epoch by name.
        unreadable: (path, reason) of each image that was left out, in training and evaluation.
        seconds: wall-clock time of this call.
        stop_reason: what a callback gave to `run.stop`; empty if none did.
    """

    out: Path
    best: Path
    last: Path
    epoch: int
    metrics: dict[str, float]
    unreadable: tuple[tuple[str, str], ...]
    seconds: float
    stop_reason: str = ""


def fit(
    recipe: Recipe, out: str | Path, *, resume: bool = False, progress: bool | None = None,
    callbacks: Sequence[Callback] = (), objective: ObjectiveFactory = usual_objective,
    force: bool = False,
) -> FitResult:  # fmt: skip
    """Train `recipe` into the folder `out`.

    Started by `torchrun`, it is one of the processes of a run: each takes its share of every batch, the first one
    evaluates and writes, and all return the same but for `seconds`.

    Args:
        recipe: a resolved recipe.
        out: the run folder; made if it does not exist, never overwritten without `force`.
        resume: resume the run in `out` from its last checkpoint; begin if there is none.
        progress: show a bar. Default: on a terminal. Without one each epoch logs a line.
        callbacks: called after every step and epoch; may stop the run.
        objective: builds what is trained from the recipe and the training images. Default: the recipe's network,
            teachers and losses. The network that it evaluates has to be the one of the recipe's `model`. A run is
            resumed with the objective that it began with.
        force: replace the run in `out`, once the new one is ready to begin.

    Raises:
        ConfigError: a component refuses its values, or the loss is not a number any more.
        DataError: a list is wrong, or too many images are unreadable.
        CheckpointError: `out` holds a run (of another recipe, with `resume`), a checkpoint is
            damaged, or the pretrained weights do not fit.
        DistributedError: another process of the run has ended.
    """
    started = time.perf_counter()
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ConfigError("callbacks", f"expected a Callback, got {callback!r}")
    recipe = resolve_labels(recipe)
    with closing(RunFolder(out)) as folder, processes() as group, numerics(recipe.train):
        device = group.device
        with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []):
            run = build_run(recipe, folder, resume, group, objective, force)
            own = (Progress(progress), *_loggers(recipe))
            run.callbacks = (*own, *callbacks) if group.main else ()
            with _watched(run):
                if recipe.model.linear_probe and group.main and not run.state.step:
                    run.state.probe = evaluate_splits(run)[0]
                    logger.info("the probe alone: %s", _shown(run.state.probe))
                left_out = _train(run)
            _compare_with_probe(run)
        best = run.state.best
        unreadable = (*unreadable_images(run), *group.broadcast_json(left_out))
    images = tuple((path, reason) for path, reason in unreadable)
    found = best.get("epoch", 0), best.get("metrics", {}), images
    seconds = time.perf_counter() - started
    return FitResult(folder.path, folder.best, folder.last, *found, seconds, run.stop_reason)


def _loggers(recipe: Recipe) -> list[Callback]:
    if not recipe.train.loggers:
        return []
    from tinysight.training.loggers import loggers_of

    return loggers_of(recipe)


@contextmanager
def _watched(run: Run) -> Iterator[None]:
    """The folder shows that the run goes on, and then how it ended."""
    if not run.processes.main:
        yield
        return
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        with suppress(OSError, TinysightError):  # what is raised already says more
            run.folder.note_end(*(("interrupted",) if stopped else ("failed", str(error))))
        raise
    settings, state = run.recipe.train, run.state
    whole = state.stopped or state.step >= settings.epochs * run.steps_per_epoch
    run.folder.note_end("finished" if whole else "interrupted", run.stop_reason)


def check_run(recipe: Recipe) -> None:
    """Build everything that `fit` would, and compute one batch, so that what it refuses is found; nothing is written.

    Raises:
        TinysightError: as `fit` does, up to its first step.
    """
    recipe = resolve_labels(recipe)
    with processes() as group, numerics(recipe.train), torch.random.fork_rng([]):
        run = build_run(recipe, None, False, group)
        train_step(run, (_few(run.batches[i]) for i in range(recipe.train.accumulate)))


def _compare_with_probe(run: Run) -> None:
    """Say that training has lost what the network came with."""
    probe, best = run.state.probe, run.state.best.get("metrics", {})
    name = next(iter(probe), "")
    if name in best and best[name] < probe[name]:
        text = "the best epoch (%s) is worse than the linear probe that the run began with (%s); %s"
        hint = f"lower train.lr ({run.recipe.train.lr:g}), or train for more epochs"
        logger.warning(text, _shown(best), _shown(probe), hint)


def _shown(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _few(batch: Batch) -> Batch:
    """The first images of a batch: enough to be refused."""
    places = None if batch.places is None else batch.places[:_CHECKED]
    return batch._replace(
        images=batch.images[:_CHECKED], targets=batch.targets[:_CHECKED], places=places
    )


def _train(run: Run) -> list[tuple[str, str]]:
    """All steps that are left; the unreadable evaluation images."""
    settings, state, left_out = run.recipe.train, run.state, dict[str, str]()
    ended = state.stopped
    if ended:
        return []
    with closing(_stream(run)) as stream, ExitStack() as at_end:
        for callback in reversed(run.callbacks):
            at_end.callback(callback.on_end, run)
        for callback in run.callbacks:
            callback.on_begin(run)
        clock = time.perf_counter()
        while state.step < settings.epochs * run.steps_per_epoch and not ended:
            train_step(run, stream)
            for callback in run.callbacks:
                callback.on_step(run)
            epoch, within = divmod(state.step, run.steps_per_epoch)
            if within:
                ended = bool(run.stop_reason) and run.processes.world == 1
                if ended or state.step % (settings.checkpoint_every or math.inf) == 0:
                    _save(run, _finite_state(run))
                continue
            record = _end_epoch(run, epoch, clock, left_out)
            clock = time.perf_counter()
            for callback in run.callbacks:
                callback.on_epoch(run, record)
            run.stop_reason = run.processes.broadcast_json(run.stop_reason)
            ended = state.stopped or bool(run.stop_reason)
            if state.stopped and settings.early_stopping:
                patience = settings.early_stopping.patience
                text = "epoch %d: no better one in %d epochs, so the run ends"
                logger.info(text, epoch, patience)
    return list(left_out.items())


def _stream(run: Run) -> Generator[Batch, None, None]:
    """The batches from the next step on."""
    epoch, within = divmod(run.state.step, run.steps_per_epoch)
    first = epoch * run.batches.per_epoch + within * run.recipe.train.accumulate
    pin = run.processes.device.type == "cuda"
    return batches(run.batches, first, run.recipe.data.workers, pin)


def train_step(run: Run, stream: Iterator[Batch]) -> None:
    """One step, of as many batches as are due, taken from `stream`."""
    state, each = run.state, run.recipe.train.accumulate
    epoch, within = divmod(state.step, run.steps_per_epoch)
    first = epoch * run.batches.per_epoch + within * each
    count = min(each, (epoch + 1) * run.batches.per_epoch - first)
    images = sum(len(run.batches.indices(first + i)) for i in range(count))
    set_lr(run.optimizer, run.schedule(state.step))
    run.objective.epoch = epoch
    if run.loss_schedule:
        set_lr(run.optimizers[1], run.loss_schedule(state.step))
    try:
        changed = run.step(_noted(run, islice(stream, count)), images, first)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        hint = "raise it, or set model.freeze_statistics: true"
        what = "batch normalisation learns nothing from a batch of one image"
        raise ConfigError("data.batch_size", what, hint) from None
    if changed and run.average:
        run.average.update(state.step)
    state.step += 1


def _noted(run: Run, stream: Iterator[Batch]) -> Iterator[Batch]:
    for batch in stream:
        note_unreadable(run, batch.unreadable)
        yield batch


def _end_epoch(run: Run, epoch: int, clock: float, left_out: dict[str, str]) -> dict[str, Any]:
    """Evaluate if it is due, keep the best, write the epoch's line, then its checkpoint."""
    settings, state, now = run.recipe.train, run.state, _finite_state(run)
    seen = max(now.seen, 1)
    record: dict[str, Any] = {"epoch": epoch, "step": state.step, "loss": now.loss_sum / seen}
    if now.terms:
        record["terms"] = {name: value / seen for name, value in now.terms.items()}
    record["lr"] = run.schedule(state.step - 1)
    if is_evaluated(settings, epoch):
        try:
            found, unreadable = evaluate_splits(run) if run.processes.main else ({}, {})
        except DataError as error:
            if "hold NaN" not in str(error):
                raise
            raise _diverged(
                f"the network gives no numbers any more after step {state.step}"
            ) from None
        left_out.update(unreadable)
        metrics = run.processes.broadcast_json(found)
        record |= {"metrics": metrics, "unreadable": len(unreadable)}
        best = update_best(state, settings, epoch, metrics)
        if hasattr(run.schedule, "observe"):
            run.schedule.observe(next(iter(metrics.values())))
        if best:
            record["best"] = True
            if run.processes.main:
                now = replace(now, best=state.best, mark=state.mark, stopped=state.stopped)
                save_checkpoint(run.folder.best, best_checkpoint(run, now))
    record["seconds"] = round(time.perf_counter() - clock, 3)
    record["time"] = round(time.time(), 3)
    if run.processes.main:
        run.folder.append(record)
    run.step.totals.zero_()
    _save(run, _finite_state(run))
    return record


def evaluate_splits(run: Run) -> tuple[dict[str, float], dict[str, str]]:
    """The metrics of all splits, and the reason of each image that could not be read."""
    data, task = run.recipe.data, task_of_recipe(run.recipe)
    metrics, unreadable = dict[str, float](), dict[str, str]()
    for name, samples in run.eval_samples.items():
        found = evaluate(
            predictor(run.eval_model.eval(), task), samples, run.transforms,
            [m.spec for m in run.recipe.metrics], batch_size=data.eval_batch_size,
            labels=label_names(data), task=task,
        )  # fmt: skip
        check_bad_fraction(found.unreadable, samples, data.max_bad_fraction)
        metrics |= {f"{name}/{k}" if name else k: v for k, v in found.metrics.items()}
        unreadable |= dict(found.unreadable)
    return metrics, unreadable


def is_evaluated(settings: Train, epoch: int) -> bool:
    """True every `eval_every` epochs from `eval_from` on, and for the last one in any case."""
    due = epoch >= settings.eval_from and epoch % settings.eval_every == 0
    return due or epoch == settings.epochs


def update_best(
    state: TrainState, settings: Train, epoch: int, metrics: Mapping[str, float]
) -> bool:
    """Take the metrics of `epoch` into `state`, and say whether it is the best so far.

    The first metric counts; larger is better. Early stopping waits for a value more than `min_delta` above the last
    that did so, `patience` epochs long; then it sets `state.stopped`.
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
    return best


def _save(run: Run, state: TrainState) -> None:
    """Write the checkpoint to resume from; all processes together."""
    found = checkpoint(run, state)
    if run.processes.main:
        run.folder.save_last(found)


def _finite_state(run: Run) -> TrainState:
    """The state for a checkpoint; all processes together.

    Raises:
        ConfigError: the mean loss is not a number any more; no checkpoint is written of such weights.
    """
    state = current_state(run)
    mean = state.loss_sum / max(state.seen, 1)
    if not math.isfinite(mean):
        raise _diverged(f"the loss became {mean} before step {state.step}")
    return state


def _diverged(what: str) -> ConfigError:
    return ConfigError("train.lr", what, "lower train.lr or lengthen the warm-up")
