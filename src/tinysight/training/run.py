"""A run, built from the sections of its recipe, and what a checkpoint keeps of it."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

import torch
from torch import nn

from tinysight.config import Recipe
from tinysight.config.schema import Train
from tinysight.data.lists import SampleList, read_split
from tinysight.data.loader import Share, TrainingBatches
from tinysight.errors import CheckpointError, ConfigError, DataError
from tinysight.evaluation.predictor import compute_metrics
from tinysight.models import Backbone
from tinysight.registry import batch_transforms, losses, optimizers, samplers, schedules
from tinysight.tasks.base import task_of_recipe
from tinysight.training.checkpoint import (
    Checkpoint,
    TrainState,
    loop_state,
    optimizer_tensors,
    restore_optimizer,
)
from tinysight.training.distributed import Processes
from tinysight.training.ema import Average
from tinysight.training.folder import RunFolder
from tinysight.training.freeze import Frozen
from tinysight.training.optim import param_groups
from tinysight.training.predictor import initial_model
from tinysight.training.probe import begin_with_probe
from tinysight.training.schedule import Schedule
from tinysight.training.step import Stepper, memory_format, seed
from tinysight.training.unreadable import Unreadable
from tinysight.transforms import Compose

logger = logging.getLogger(__name__)

_WEIGHTS = 3  # stream of randomness; the loader has 1, 2 and 5, a step has 4


@dataclass
class Run:
    """What the loop works on.

    Attributes:
        recipe: resolved, with the label names.
        folder: where it writes.
        processes: that share it.
        batches: of training images.
        held_out: the evaluation images.
        prepare: their transforms.
        model: the network in training.
        average: the running mean of it that is evaluated and kept in its place, if the recipe asks for one.
        optimizer: of its parameters.
        schedule: the learning rate by step.
        step: makes a training step.
        unreadable: training images.
        state: where it stands.
    """

    recipe: Recipe
    folder: RunFolder
    processes: Processes
    batches: TrainingBatches
    eval_samples: SampleList
    prepare: Compose
    model: Backbone
    average: Average | None
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    step: Stepper
    unreadable: Unreadable
    state: TrainState

    @property
    def shown(self) -> nn.Module:
        """The network that is evaluated, checkpointed and exported."""
        return self.average.model if self.average else self.model


def prepare(recipe: Recipe, folder: RunFolder, resume: bool, processes: Processes) -> Run:
    """Read the lists, build everything, then claim the folder: what is wrong leaves no trace."""
    data, settings = recipe.data, recipe.train
    samples, eval_samples = read_split(data, data.train), read_split(data, data.eval)
    shipped, task = recipe.eval_transforms(), task_of_recipe(recipe)
    shipped.output_shape()  # one that varies could not be exported; better known now
    if not shipped.sets_label:
        _metrics_can_be_computed(recipe, eval_samples)
    batches = _batches(recipe, samples, processes)
    torch.manual_seed(seed(_WEIGHTS, settings.seed))
    model, frozen = _network(recipe, processes)
    label_ratio = task.label_ratio(samples.labels, len(recipe.data.labels or ()))
    loss = losses.build(recipe.loss.spec, "loss", label_ratio=label_ratio)
    spec = settings.optimizer.spec
    groups = param_groups(model, spec.get("weight_decay", 0.0))
    optimizer = optimizers.build(spec, "train.optimizer", params=groups)
    forward = torch.compile(model) if settings.compile else model
    state = TrainState(data=samples.fingerprint(), processes=processes.world)
    run = Run(
        recipe, folder, processes, batches, eval_samples, shipped, model,
        average=Average(model, settings.ema) if settings.ema else None,
        optimizer=optimizer,
        schedule=schedules.build(
            settings.schedule.spec, "train.schedule", lr=_rate(recipe, processes),
            epochs=settings.epochs, steps_per_epoch=steps_per_epoch(batches, settings),
        ),
        step=Stepper(
            model, forward, loss.to(processes.device), optimizer, settings, frozen, processes
        ),
        unreadable=Unreadable(samples, data.max_bad_fraction, state.unreadable, processes.main),
        state=state,
    )  # fmt: skip
    _same_everywhere(processes, samples)
    _begin(run, resume)
    return run


def steps_per_epoch(batches: TrainingBatches, settings: Train) -> int:
    """Changes of the weights in an epoch; the last one may have fewer batches than `accumulate`."""
    return -(-batches.per_epoch // settings.accumulate)


def checkpoint(run: Run, weights_only: bool = False) -> Checkpoint:
    """The run as it stands, or with `weights_only` the network that is used."""
    tree, shown = run.recipe.model_dump(mode="json"), run.shown.state_dict()
    if weights_only:
        return Checkpoint(tree, run.state, shown, {})
    training = run.model.state_dict() if run.average else {}
    return Checkpoint(tree, run.state, shown, optimizer_tensors(run.optimizer), training)


def note_state(run: Run) -> None:
    """Bring `run.state` up to date with what the parts of the run remember; all processes together."""
    state, scaler = run.state, run.step.scaler
    state.loss_sum, seen = run.step.totals.tolist()
    state.seen = int(seen)
    if scaler.is_enabled():
        found = scaler.state_dict()
        state.scaler = {key: found[key] for key in ("scale", "_growth_tracker")}
    state.schedule = getattr(run.schedule, "state", {})
    if run.processes.world > 1:
        for known in run.processes.gather(list(run.unreadable.known.items())):
            run.unreadable.note((int(index), reason) for index, reason in known)


def _batches(recipe: Recipe, samples: SampleList, processes: Processes) -> TrainingBatches:
    data, pixels = recipe.data, recipe.transforms
    return TrainingBatches(
        samples,
        recipe.train_transforms(),
        data.batch_size * processes.world,
        recipe.train.epochs,
        recipe.train.seed,
        order=samplers.build(data.sampler.spec, "data.sampler"),
        mix=[
            batch_transforms.build(t.spec, f"transforms.batch.{i}")
            for i, t in enumerate(pixels.batch)
        ],
        num_classes=len(recipe.data.labels or ()),
        share=Share(processes.rank, processes.world),
        channels_last=recipe.train.channels_last,
    )


def _network(recipe: Recipe, processes: Processes) -> tuple[Backbone, Frozen]:
    """The network on its device, as the first step finds it, and the parts of it that stay so."""
    model = initial_model(recipe)
    if recipe.train.sync_bn:
        model = _synchronised(recipe, model, processes)
    frozen = Frozen(model, recipe.model.freeze, recipe.model.freeze_statistics)
    model.to(processes.device)
    # The overload with a memory format is missing from the annotations of `to`.
    model.to(memory_format=memory_format(recipe.train))  # type: ignore[call-overload]
    return model, frozen


def _synchronised(recipe: Recipe, model: Backbone, processes: Processes) -> Backbone:
    if processes.world == 1:
        logger.info("train.sync_bn: one process normalises over its own batch, as without it")
        return model
    if processes.device.type != "cuda":
        what = "normalising over the batches of all processes needs a GPU for each"
        raise ConfigError("train.sync_bn", what, "set it to false to train on CPUs")
    if recipe.model.batch_norm_variance == "biased":
        what = "synchronised normalisation keeps the unbiased variance"
        raise ConfigError("train.sync_bn", what, "set model.batch_norm_variance: unbiased")
    found: Backbone = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return found


def _rate(recipe: Recipe, processes: Processes) -> float:
    """The peak learning rate; with `lr_batch_size` it grows with the batch, which is told."""
    settings, size, world = recipe.train, recipe.data.batch_size, processes.world
    if settings.lr_batch_size is None:
        return settings.lr
    batch = size * world * settings.accumulate
    rate = settings.lr * batch / settings.lr_batch_size
    logger.log(
        logging.INFO if processes.main else logging.DEBUG,
        "train.lr %g is for batches of %d; %d x %d (processes) x %d (accumulate) = %d, so the rate is %g",
        settings.lr, settings.lr_batch_size, size, world, settings.accumulate, batch, rate,
    )  # fmt: skip
    return rate


def _metrics_can_be_computed(recipe: Recipe, eval_samples: SampleList) -> None:
    """Fail now, not after the first epoch, if the list lacks what a metric needs."""
    labels = eval_samples.labels
    scores = task_of_recipe(recipe).perfect_scores(labels, len(recipe.data.labels or ()))
    specs = [m.spec for m in recipe.metrics]
    try:
        perfect = compute_metrics(specs, scores, labels)
    except (ConfigError, DataError) as error:
        raise DataError(str(eval_samples.source), str(error)) from error
    name, value = next(iter(perfect.items()))
    if not value > 0:
        what = f"{name} of perfect answers is {value:g} on these labels, so no epoch can be best"
        raise DataError(str(eval_samples.source), what, "a class is missing in the list")


def _same_everywhere(processes: Processes, samples: SampleList) -> None:
    """All processes begin with the same images."""
    found = samples.fingerprint()
    if processes.broadcast_json(found) != found:
        what = f"not the list that process 0 reads, seen from process {processes.rank}"
        raise DataError(str(samples.source), what, "copy the same data to every machine")


def _begin(run: Run, resume: bool) -> None:
    """Claim the folder, and go on from its checkpoint if there is one; the first process tells the others."""
    recipe, processes, found = run.recipe, run.processes, None
    if processes.main:
        lists = {"train": run.state.data, "eval": run.eval_samples.fingerprint()}
        notes = {"processes": processes.world, "data": lists}
        found = run.folder.open(recipe, resume, notes)
        if found:
            _same_run(run, found)
    if processes.broadcast_json(found is not None):
        _restore(run, _told(found, processes))
    else:
        if recipe.model.linear_probe and processes.main:
            _probe(run)
        # Pretrained weights may differ from machine to machine, too.
        processes.broadcast_([*run.model.state_dict().values(), *run.shown.state_dict().values()])


def _probe(run: Run) -> None:
    """Give the new classifier the weights of a linear probe."""
    samples, size = run.batches.samples, run.recipe.data.eval_batch_size
    task = task_of_recipe(run.recipe)
    run.unreadable.note(begin_with_probe(run.model, samples, run.prepare, size, task))
    if run.average:
        run.average.model.load_state_dict(run.model.state_dict())


def _same_run(run: Run, found: Checkpoint) -> None:
    where, here, there = str(run.folder.path), run.state, found.state
    if there.data != here.data:
        what = f"{run.batches.samples.source} has changed since this run began"
        hint = "restore the list, or choose another folder with --out"
        raise CheckpointError(where, what, hint)
    if there.processes != here.processes:
        what = f"this run is of {there.processes} processes, now there are {here.processes}"
        raise CheckpointError(where, what, "resume with as many: torchrun --nproc-per-node")


def _told(found: Checkpoint | None, processes: Processes) -> Checkpoint:
    """The checkpoint that the first process has read."""
    state = processes.broadcast_json(asdict(found.state) if found else None)
    parts = ("model", "optimizer", "training")
    tensors = {
        part: processes.broadcast_tensors(getattr(found, part) if found else {}) for part in parts
    }
    return Checkpoint(found.recipe if found else {}, loop_state(state), **tensors)


def _restore(run: Run, found: Checkpoint) -> None:
    run.model.load_state_dict(found.training or found.model)
    if run.average:
        run.average.model.load_state_dict(found.model)
    restore_optimizer(run.optimizer, found.optimizer)
    state = run.state = found.state
    run.unreadable.known = state.unreadable
    run.step.totals.copy_(torch.tensor([state.loss_sum, state.seen], dtype=torch.float64))
    if state.scaler:
        scaler = run.step.scaler
        scaler.load_state_dict({**scaler.state_dict(), **state.scaler})
    if state.schedule:
        run.schedule.restore(state.schedule)  # type: ignore[attr-defined]  # such a one has it
