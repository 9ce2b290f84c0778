"""The training run: `fit(recipe, out)`, the one place where the sections of a recipe meet.

The same recipe, data and seed give the same weights. Everything random is a function of the seed
and the step, so a run that was killed goes on from its last checkpoint, also inside an epoch, to
the weights it would have had: byte for byte on a CPU with the same versions and number of threads.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinysight.config import Recipe
from tinysight.data.labels import label_names, resolve_labels
from tinysight.data.lists import SampleList, read_split
from tinysight.data.loader import Batch, TrainingSteps, batches
from tinysight.errors import CheckpointError, ConfigError, DataError
from tinysight.evaluate import Evaluation, compute_metrics, evaluate
from tinysight.registry import losses, optimizers, schedules
from tinysight.train.checkpoint import (
    Checkpoint,
    LoopState,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from tinysight.train.folder import RunFolder
from tinysight.train.optim import param_groups, set_lr
from tinysight.train.predictor import device, initial_model, predictor
from tinysight.train.report import Report
from tinysight.train.schedule import Schedule
from tinysight.transforms import Compose

logger = logging.getLogger(__name__)

_WEIGHTS, _STEP = 3, 4  # streams of randomness; 1 and 2 are the loader's
_NAMED = 10  # unreadable pictures that a message names


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        out: the run folder.
        best: checkpoint of the best epoch, weights alone.
        last: checkpoint of the last epoch.
        epoch: the best one, from 1.
        metrics: of the best epoch.
        unreadable: (path, reason) of each picture that was left out, in training and evaluation.
        seconds: wall-clock time of this call.
    """

    out: Path
    best: Path
    last: Path
    epoch: int
    metrics: dict[str, float]
    unreadable: tuple[tuple[str, str], ...]
    seconds: float


@dataclass
class _Run:
    """What the loop works on."""

    recipe: Recipe
    folder: RunFolder
    steps: TrainingSteps
    held_out: SampleList
    prepare: Compose
    model: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    device: torch.device
    loss_sum: Tensor  # () float64 on the device, so that a step need not wait for it
    state: LoopState
    unreadable: dict[str, str]  # of the evaluation
    clock: float = 0.0  # when the epoch began


def fit(
    recipe: Recipe, out: str | Path, *, resume: bool = False, progress: bool | None = None
) -> FitResult:
    """Train `recipe` into the folder `out`.

    Args:
        recipe: a resolved recipe.
        out: the run folder; made if it does not exist, never overwritten.
        resume: go on with the run in `out`, from its last checkpoint; begin if there is none.
        progress: show a bar. Default: on a terminal. Without one each epoch logs a line.

    Raises:
        ConfigError: a component refuses its values, or the loss is not a number any more.
        DataError: a list is wrong, or too many pictures are unreadable.
        CheckpointError: `out` holds a run (of another recipe, with `resume`), a checkpoint is
            damaged, or the pretrained weights do not fit.
    """
    started = time.perf_counter()
    recipe = resolve_labels(recipe)  # so that run folder and checkpoints hold the names
    place = device()
    with torch.random.fork_rng([place.index or 0] if place.type == "cuda" else []):
        run = _prepare(recipe, RunFolder(out), resume, place)
        epochs, per_epoch = recipe.train.epochs, run.steps.steps_per_epoch
        stream = batches(run.steps, run.state.step, recipe.data.workers, place.type == "cuda")
        run.clock = time.perf_counter()
        with Report(epochs * per_epoch, run.state.step, progress) as report:
            for batch in stream:
                _note_unreadable(run, batch)
                _learn(run, batch)
                run.state.step += 1
                epoch = math.ceil(run.state.step / per_epoch)
                report.step(epoch)
                if run.state.step % per_epoch == 0:
                    report.epoch(_end_epoch(run, epoch), epochs)
                elif run.state.step % (recipe.train.checkpoint_every or math.inf) == 0:
                    _mean_loss(run)
                    run.folder.save_last(_checkpoint(run))
    return _result(run, time.perf_counter() - started)


def _prepare(recipe: Recipe, folder: RunFolder, resume: bool, place: torch.device) -> _Run:
    """Read the lists, build everything, then claim the folder: what is wrong leaves no trace."""
    data, settings = recipe.data, recipe.train
    samples, held_out = read_split(data, data.train), read_split(data, data.eval)
    prepare = Compose.from_specs([t.spec for t in recipe.transforms.eval], "transforms.eval")
    augment = Compose.from_specs([t.spec for t in recipe.transforms.train], "transforms.train")
    prepare.output_shape()  # one that varies could not be exported; better known now
    if not prepare.sets_label:
        _metrics_can_be_computed(recipe, held_out)
    steps = TrainingSteps(samples, augment, data.batch_size, settings.epochs, settings.seed)
    torch.manual_seed(_seed(_WEIGHTS, settings.seed))
    model = initial_model(recipe)
    model.to(place, memory_format=_memory_format(recipe))  # type: ignore[call-overload]
    optimizer_spec = settings.optimizer.spec
    groups = param_groups(model, optimizer_spec.get("weight_decay", 0.0))
    run = _Run(
        recipe, folder, steps, held_out, prepare, model,
        loss=losses.build(recipe.loss.spec, "loss").to(place),
        optimizer=optimizers.build(optimizer_spec, "train.optimizer", params=groups),
        schedule=schedules.build(
            settings.schedule.spec, "train.schedule",
            lr=settings.lr, epochs=settings.epochs, steps_per_epoch=steps.steps_per_epoch,
        ),
        device=place,
        loss_sum=torch.zeros((), dtype=torch.float64, device=place),
        state=LoopState(data=samples.fingerprint()),
        unreadable={},
    )  # fmt: skip
    checkpoint = folder.open(recipe, resume)
    if checkpoint:
        _restore(run, checkpoint)
    return run


def _learn(run: _Run, batch: Batch) -> None:
    """One step; none if unreadable pictures leave a batch that normalisation cannot learn from."""
    count = len(batch.targets)
    if count == 0 or (count == 1 and batch.unreadable):
        return
    step = run.state.step
    torch.manual_seed(_seed(_STEP, run.recipe.train.seed, step))  # dropout
    set_lr(run.optimizer, run.schedule(step))
    images = batch.images.to(run.device, non_blocking=True)
    images = images.contiguous(memory_format=_memory_format(run.recipe))
    targets = batch.targets.to(run.device, non_blocking=True)
    half = run.recipe.train.precision == "bf16"
    run.model.train()
    with torch.autocast(run.device.type, torch.bfloat16, enabled=half):
        logits = run.model(images)
    loss = run.loss(logits.float(), targets)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    run.loss_sum += loss.detach().double() * count
    run.state.seen += count


def _end_epoch(run: _Run, epoch: int) -> dict[str, Any]:
    """Evaluate if it is time, keep the best, write the epoch's line, then its checkpoint."""
    settings, state = run.recipe.train, run.state
    record: dict[str, Any] = {"epoch": epoch, "step": state.step, "loss": _mean_loss(run)}
    record["lr"] = run.schedule(state.step - 1)
    if epoch % settings.eval_every == 0 or epoch == settings.epochs:
        found = _evaluate(run)
        record |= {"metrics": found.metrics, "unreadable": len(found.unreadable)}
        score = next(iter(found.metrics.values()))
        if not state.best or score > next(iter(state.best["metrics"].values())):
            state.best = {"epoch": epoch, "metrics": found.metrics}
            record["best"] = True
            save_checkpoint(run.folder.best, _checkpoint(run, weights_only=True))
    now = time.perf_counter()
    record["seconds"], run.clock = round(now - run.clock, 3), now
    run.folder.append(record)
    run.loss_sum.zero_()
    state.loss_sum, state.seen = 0.0, 0
    run.folder.save_last(_checkpoint(run))
    return record


def _evaluate(run: _Run) -> Evaluation:
    run.model.eval()
    data = run.recipe.data
    found = evaluate(
        predictor(run.model, run.recipe.data.target),
        run.held_out,
        run.prepare,
        [m.spec for m in run.recipe.metrics],
        batch_size=data.eval_batch_size,
        labels=label_names(data),
    )
    run.unreadable.update(found.unreadable)
    _cap(found.unreadable, run.held_out, data.max_bad_fraction)
    return found


def _mean_loss(run: _Run) -> float:
    """Mean loss of this epoch's pictures so far.

    Raises:
        ConfigError: it is not a number any more; no checkpoint is written of such weights.
    """
    run.state.loss_sum = run.loss_sum.item()
    mean = run.state.loss_sum / max(run.state.seen, 1)
    if not math.isfinite(mean):
        what = f"the loss became {mean} before step {run.state.step}"
        raise ConfigError("train.lr", what, "lower it, or warm up longer")
    return mean


def _note_unreadable(run: _Run, batch: Batch) -> None:
    """Count and name each unreadable picture once; too many stop the run."""
    known, samples = run.state.unreadable, run.steps.samples
    new = {index: reason for index, reason in batch.unreadable if index not in known}
    if not new:
        return
    known.update(new)
    _cap(_named(run), samples, run.recipe.data.max_bad_fraction)
    if len(known) <= _NAMED:
        for index, reason in new.items():
            logger.warning("%s: %s; left out of the training", samples[index].path, reason)


def _named(run: _Run) -> list[tuple[str, str]]:
    samples = run.steps.samples
    return [(str(samples[i].path), reason) for i, reason in sorted(run.state.unreadable.items())]


def _cap(unreadable: Sequence[tuple[str, str]], samples: SampleList, limit: float) -> None:
    if len(unreadable) <= limit * len(samples):
        return
    lines = [f"\n  {path}: {reason}" for path, reason in unreadable[:_NAMED]]
    if len(unreadable) > _NAMED:
        lines.append(f"\n  and {len(unreadable) - _NAMED} more")
    raise DataError(
        str(samples.source),
        f"{len(unreadable)} of {len(samples)} pictures are unreadable",
        f"repair or remove them, or raise data.max_bad_fraction ({limit:g}):" + "".join(lines),
    )


def _metrics_can_be_computed(recipe: Recipe, held_out: SampleList) -> None:
    """Fail now, not after the first epoch, if the list lacks what a metric needs."""
    scores = np.eye(len(label_names(recipe.data)), dtype=np.float32)[held_out.labels]
    specs = [m.spec for m in recipe.metrics]
    try:
        perfect = compute_metrics(specs, scores, held_out.labels.astype(np.int64))
    except (ConfigError, DataError) as error:
        raise DataError(str(held_out.source), str(error)) from error
    name, value = next(iter(perfect.items()))
    if not value > 0:
        what = f"{name} of perfect answers is {value:g} on these labels, so no epoch can be best"
        raise DataError(str(held_out.source), what, "a class is missing in the list")


def _checkpoint(run: _Run, weights_only: bool = False) -> Checkpoint:
    memory = {} if weights_only else optimizer_tensors(run.optimizer)
    tree = run.recipe.model_dump(mode="json")
    return Checkpoint(tree, run.state, run.model.state_dict(), memory)


def _restore(run: _Run, checkpoint: Checkpoint) -> None:
    if checkpoint.state.data != run.state.data:
        what = f"{run.steps.samples.source} has changed since this run began"
        hint = "restore the list, or choose another folder with --out"
        raise CheckpointError(str(run.folder.path), what, hint)
    run.model.load_state_dict(checkpoint.model)
    restore_optimizer(run.optimizer, checkpoint.optimizer)
    run.state = checkpoint.state
    run.loss_sum.fill_(checkpoint.state.loss_sum)


def _result(run: _Run, seconds: float) -> FitResult:
    folder, best = run.folder, run.state.best
    unreadable = (*_named(run), *run.unreadable.items())
    return FitResult(
        folder.path, folder.best, folder.last, best["epoch"], best["metrics"], unreadable, seconds
    )


def _memory_format(recipe: Recipe) -> torch.memory_format:
    return torch.channels_last if recipe.train.channels_last else torch.contiguous_format


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
