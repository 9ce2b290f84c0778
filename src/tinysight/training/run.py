"""A run, built from the sections of its recipe, and what a checkpoint keeps of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from tinysight.config import Recipe
from tinysight.config.schema import Train
from tinysight.data.boxes import BoxList
from tinysight.data.labels import label_names
from tinysight.data.lists import SampleList
from tinysight.data.loader import Share, TrainingBatches
from tinysight.data.samplers import Sampler, WithUnlabelled
from tinysight.errors import CheckpointError, ConfigError, DataError
from tinysight.evaluation.preflight import look, read_splits
from tinysight.registry import batch_transforms, optimizers, samplers, schedules
from tinysight.tasks.base import task_of_recipe
from tinysight.training.callbacks import Callback
from tinysight.training.checkpoint import (
    Checkpoint,
    TrainState,
    optimizer_tensors,
    restore_optimizer,
    train_state,
)
from tinysight.training.distributed import Processes
from tinysight.training.folder import RunFolder
from tinysight.training.networks import Average, build_model
from tinysight.training.objective import Objective, usual_objective
from tinysight.training.optim import param_groups
from tinysight.training.schedule import Schedule
from tinysight.training.step import Stepper, seed
from tinysight.transforms import Compose

logger = logging.getLogger(__name__)

ObjectiveFactory: TypeAlias = Callable[[Recipe, SampleList], Objective]

_WEIGHTS = 3  # stream of randomness; the loader has 1, 2 and 5, a step has 4
_NAMED = 10  # unreadable images that a message names


@dataclass
class Run:
    """What the loop works on.

    Attributes:
        recipe: resolved, with the label names.
        folder: where it writes.
        processes: the processes that share it.
        batches: the training images.
        eval_samples: the images of each evaluation split, by name.
        transforms: from an evaluation image to an input of the network.
        objective: the networks and what they are trained for.
        average: the running mean of the evaluated network, which is kept in its place, if the recipe asks for one.
        optimizers: change the parameters of the objective: all of them, or the second those of losses.
        steps_per_epoch: changes of the weights in an epoch; the last one may have fewer batches than `accumulate`.
        schedule: learning rate by step.
        loss_schedule: that of the second optimiser; None without one.
        step: makes a training step.
        state: where the run stands.
        callbacks: called after every step and epoch.
        stop_reason: why it was asked to stop; empty while it goes on.
    """

    recipe: Recipe
    folder: RunFolder
    processes: Processes
    batches: TrainingBatches
    eval_samples: dict[str, SampleList]
    transforms: Compose
    objective: Objective
    average: Average | None
    optimizers: tuple[torch.optim.Optimizer, ...]
    steps_per_epoch: int
    schedule: Schedule
    loss_schedule: Schedule | None
    step: Stepper
    state: TrainState
    callbacks: Sequence[Callback] = field(default=())
    stop_reason: str = ""

    def stop(self, reason: str) -> None:
        """End the run soon, with a checkpoint to resume it from; see `Callback`."""
        self.stop_reason = reason or "stopped by a callback"

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of the networks."""
        return self.optimizers[0]

    @property
    def eval_model(self) -> nn.Module:
        """The network that is evaluated, checkpointed and exported."""
        return self.average.model if self.average else self.objective.network


def build_run(
    recipe: Recipe,
    folder: RunFolder | None,
    resume: bool,
    processes: Processes,
    objective: ObjectiveFactory = usual_objective,
    force: bool = False,
) -> Run:
    """Read the lists, build everything, then claim the folder: what is wrong leaves no trace.

    Without a folder nothing is claimed, and the first weights are those of the network, without a probe.
    """
    settings, splits = recipe.train, read_splits(recipe)
    samples, eval_samples = splits
    unreadable = look(recipe, splits) if processes.main else []
    batches = _batches(recipe, samples, processes)
    torch.manual_seed(seed(_WEIGHTS, settings.seed))
    goal = objective(recipe, samples)
    if objective is not usual_objective:
        _check_network(goal, recipe)
    goal.set_up(settings, processes)
    per_epoch = -(-batches.per_epoch // settings.accumulate)
    run = Run(
        recipe, folder or RunFolder(""), processes, batches, eval_samples, recipe.eval_transforms(), goal,
        average=Average(goal.network, settings.ema, per_epoch) if settings.ema else None,
        optimizers=(changers := _optimizers(goal, settings)),
        steps_per_epoch=per_epoch,
        schedule=schedules.build(
            settings.schedule.spec, "train.schedule", lr=_peak_lr(recipe, processes),
            epochs=settings.epochs, steps_per_epoch=per_epoch,
        ),
        loss_schedule=_loss_schedule(settings, per_epoch),
        step=Stepper(goal, changers, settings, processes),
        state=TrainState(data=samples.fingerprint(), processes=processes.world),
    )  # fmt: skip
    _check_same_images(processes, samples)
    if folder:
        _begin(run, resume, force)
    note_unreadable(run, unreadable)
    return run


def current_state(run: Run) -> TrainState:
    """The state for a checkpoint, with what other parts of the run count; all processes together."""
    loss_sum, seen, *terms = run.step.totals.tolist()
    scaler, state = run.step.scaler, {}
    if scaler.is_enabled():
        state = {key: scaler.state_dict()[key] for key in ("scale", "_growth_tracker")}
    if run.processes.world > 1:
        for known in run.processes.gather(list(run.state.unreadable.items())):
            note_unreadable(run, ((int(index), reason) for index, reason in known))
    return replace(
        run.state,
        loss_sum=loss_sum,
        seen=int(seen),
        terms=dict(zip(run.objective.terms, terms, strict=False)),
        scaler=state,
        schedule=getattr(run.schedule, "state", {}),
    )


def checkpoint(run: Run, state: TrainState) -> Checkpoint:
    """The whole run as it stands; all processes together."""
    return Checkpoint(
        run.recipe.model_dump(mode="json"),
        state,
        run.eval_model.state_dict(),
        optimizer_tensors(run.optimizers),
        run.objective.network.state_dict() if run.average else {},
        _objective_tensors(run),
    )


def best_checkpoint(run: Run, state: TrainState) -> Checkpoint:
    """The network that is used, and nothing to go on from."""
    return Checkpoint(run.recipe.model_dump(mode="json"), state, run.eval_model.state_dict(), {})


def note_unreadable(run: Run, found: Iterable[tuple[int, str]]) -> None:
    """Take in unreadable training images, as (place in the list, reason); each is named once.

    Raises:
        DataError: there are too many by now.
    """
    known, samples = run.state.unreadable, run.batches.samples
    new = {index: reason for index, reason in found if index not in known}
    if not new:
        return
    known.update(new)
    check_bad_fraction(unreadable_images(run), samples, run.recipe.data.max_bad_fraction)
    if run.processes.main and len(known) <= _NAMED:
        for index, reason in new.items():
            logger.warning("%s: %s; left out of the training", samples[index].path, reason)


def unreadable_images(run: Run) -> list[tuple[str, str]]:
    """Path and reason of each unreadable training image, in the order of the list."""
    samples = run.batches.samples
    return [(str(samples[i].path), reason) for i, reason in sorted(run.state.unreadable.items())]


def check_bad_fraction(
    unreadable: Sequence[tuple[str, str]], samples: SampleList, limit: float
) -> None:
    """Raise a `DataError` if more than `limit` of the images are unreadable."""
    if len(unreadable) <= limit * len(samples):
        return
    lines = [f"\n  {path}: {reason}" for path, reason in unreadable[:_NAMED]]
    if len(unreadable) > _NAMED:
        lines.append(f"\n  and {len(unreadable) - _NAMED} more")
    what = f"{len(unreadable)} of {len(samples)} images are unreadable"
    hint = f"repair or remove them, or raise data.max_bad_fraction ({limit:g}):" + "".join(lines)
    raise DataError(str(samples.source), what, hint)


def _optimizers(objective: Objective, settings: Train) -> tuple[torch.optim.Optimizer, ...]:
    """One optimiser of everything, or one of the networks and one of the losses' parameters."""
    own = [(f"{n}.", m) for n, m in objective.named_children() if n != "networks"]
    own.append(("", nn.ParameterDict(dict(objective.named_parameters(recurse=False)))))
    parts: list[tuple[str, nn.Module]] = [("", objective.network)]
    parts += [(f"{n}.", m) for n, m in objective.networks.items() if m is not objective.network]
    apart, found, taken = settings.loss_optimizer, [], set[int]()
    for where, component, modules in (
        ("train", settings.optimizer, parts if apart else parts + own),
        *([("train.loss_optimizer", apart.optimizer, own)] if apart else ()),
    ):
        spec = component.spec
        groups = _param_groups(modules, spec.get("weight_decay", 0.0), taken)
        if not groups:
            raise ConfigError(where, "there is no loss with parameters", "leave it out")
        found.append(optimizers.build(spec, f"{where}.optimizer", params=groups))
    return tuple(found)


def _loss_schedule(settings: Train, steps_per_epoch: int) -> Schedule | None:
    if (apart := settings.loss_optimizer) is None:
        return None
    sizes = {"epochs": settings.epochs, "steps_per_epoch": steps_per_epoch}
    where = "train.loss_optimizer.schedule"
    found: Schedule = schedules.build(apart.schedule.spec, where, lr=apart.lr, **sizes)
    if hasattr(found, "observe"):
        raise ConfigError(where, "a schedule that follows the metric is for the networks alone")
    return found


def _param_groups(
    parts: Sequence[tuple[str, nn.Module]], weight_decay: float, taken: set[int]
) -> list[dict[str, Any]]:
    """The learning parameters of modules, under longer names by what is before each; each parameter once."""
    groups = []
    for prefix, module in parts:
        for group in param_groups(module, weight_decay, taken):
            groups.append({**group, "names": [prefix + name for name in group["names"]]})
        taken |= {id(p) for p in module.parameters()}
    return groups


def _objective_tensors(run: Run) -> dict[str, Tensor]:
    """What a checkpoint keeps of the objective besides the evaluated network.

    The processes of a run have the same of everything but of the buffers that losses and heads fill from their share
    of the batches: of these there is one for each process, `name@rank`.
    """
    objective, processes = run.objective, run.processes
    kept = objective.own_state()
    if processes.world > 1:
        for name, value in objective.unshared_buffers().items():
            rows = value.new_zeros((processes.world, *value.shape))
            rows[processes.rank] = value
            processes.sum(rows)
            kept |= {f"{name}@{rank}": row for rank, row in enumerate(rows) if rank}
    return kept


def _check_network(objective: Objective, recipe: Recipe) -> None:
    """Refuse an objective whose evaluated network would not be found again by the recipe."""
    if not isinstance(objective, Objective):
        raise ConfigError("objective", f"expected an Objective, got {type(objective).__name__}")
    with torch.random.fork_rng():
        networks = objective.network, build_model(recipe)
    given, own = ({k: v.shape for k, v in n.state_dict().items()} for n in networks)
    if given != own:
        hint = "training.networks.initial_model makes it"
        raise ConfigError("objective", f"{objective.evaluated!r} is not the recipe's model", hint)


def _batches(recipe: Recipe, samples: SampleList, processes: Processes) -> TrainingBatches:
    data, mixers = recipe.data, enumerate(recipe.transforms.batch)
    sampler: Sampler = samplers.build(data.sampler.spec, "data.sampler")
    if sampler.by_label and isinstance(samples, BoxList):
        what = f"{data.sampler.name} goes by labels, and an image with boxes has none of its own"
        raise ConfigError("data.sampler.name", what, "shuffle, or multi_scale")
    if sampler.whole_identities and data.train.unlabelled:
        what = "unlabelled images are of no identity"
        raise ConfigError("data.train.unlabelled", what, "take another sampler")
    if data.train.ratio is not None:
        if task_of_recipe(recipe).known(samples.labels).all():
            what = "there are no unlabelled images"
            raise ConfigError("data.train.ratio", what, "name them in data.train.unlabelled")
        if sampler.image_sizes(len(samples), data.batch_size):
            what = f"{data.sampler.name} sizes whole batches, whatever is labelled in them"
            raise ConfigError("data.train.ratio", what, "leave it out, or take another sampler")
        sampler = WithUnlabelled(sampler, data.train.ratio)
    transforms = recipe.train_transforms()
    sizes = sampler.image_sizes(len(samples), data.batch_size)
    if recipe.train.views and (recipe.transforms.batch or transforms.per_batch or sizes):
        what = "images that depend on the others of their batch never come again"
        raise ConfigError("train.views", what, "leave out what mixes or sizes whole batches")
    if sampler.whole_identities and processes.main:
        _, first, counts = np.unique(samples.labels, return_index=True, return_counts=True)
        if len(lone := first[counts == 1]):
            where = ", ".join(str(samples[i].path) for i in lone[:3].tolist())
            text = "%s: %d of %d identities have one image, which is never paired with another: %s"
            logger.warning(text, samples.source, len(lone), len(counts), where)
    mix = [batch_transforms.build(t.spec, f"transforms.batch.{i}") for i, t in mixers]
    return TrainingBatches(
        samples,
        transforms,
        data.batch_size * processes.world,
        recipe.train.epochs,
        recipe.train.seed,
        sampler=sampler,
        mix=mix,
        num_classes=len(label_names(recipe.data)),
        share=Share(processes.rank, processes.world),
        channels_last=recipe.train.channels_last,
        views=recipe.train.views,
        drop_last=data.drop_last,
    )


def _peak_lr(recipe: Recipe, processes: Processes) -> float:
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


def _check_same_images(processes: Processes, samples: SampleList) -> None:
    """All processes begin with the same images."""
    found = samples.fingerprint()
    if processes.broadcast_json(found) != found:
        what = f"not the list that process 0 reads, seen from process {processes.rank}"
        raise DataError(str(samples.source), what, "copy the same data to every machine")


def _begin(run: Run, resume: bool, force: bool) -> None:
    """Claim the folder, and resume from its checkpoint if there is one; the first process tells the others."""
    recipe, processes, found = run.recipe, run.processes, None
    if processes.main:
        prints = {name: split.fingerprint() for name, split in run.eval_samples.items()}
        lists = {"train": run.state.data, "eval": prints.get("", prints)}
        notes = {"processes": processes.world, "data": lists}

        def check(found: Checkpoint) -> None:
            _check_same_run(run, found)
            _restore(run, found)

        found = run.folder.open(recipe, resume, notes, check, force)
    if processes.broadcast_json(found is not None):
        _restore(run, _broadcast(found, processes))
    else:
        if recipe.model.linear_probe and processes.main:
            _probe(run)
        # Pretrained weights may differ from machine to machine, too.
        tensors = [*run.objective.state_dict().values(), *run.eval_model.state_dict().values()]
        processes.broadcast_(tensors)


def _probe(run: Run) -> None:
    """Give the new classifier the weights of a linear probe."""
    from tinysight.training.probe import begin_with_probe

    samples, size = run.batches.samples, run.recipe.data.eval_batch_size
    network: Any = run.objective.network
    task = task_of_recipe(run.recipe)
    note_unreadable(run, begin_with_probe(network, samples, run.transforms, size, task))
    if run.average:
        run.average.model.load_state_dict(network.state_dict())


def _check_same_run(run: Run, found: Checkpoint) -> None:
    where, here, there = str(run.folder.path), run.state, found.state
    if there.data != here.data:
        what = f"{run.batches.samples.source} has changed since this run began"
        hint = "restore the list, or choose another folder with --out"
        raise CheckpointError(where, what, hint)
    if there.processes != here.processes:
        what = f"this run is of {there.processes} processes, now there are {here.processes}"
        raise CheckpointError(where, what, "resume with as many: torchrun --nproc-per-node")
    if (epochs := run.recipe.train.epochs) > (planned := found.recipe["train"]["epochs"]):
        if there.stopped:
            what = "early stopping has ended this run, so more epochs change nothing"
            raise CheckpointError(where, what, "choose another folder with --out")
        text = "%d epochs in place of %d: the schedule is that of the longer run, with a rate of %.3g at this step"
        logger.info(text, epochs, planned, run.schedule(there.step))
    differ = run.objective.own_state().keys() ^ {k for k in found.objective if "@" not in k}
    if list(run.step.logged) != list(there.terms):
        differ |= {*run.step.logged, *there.terms}
    if differ:
        names = ", ".join(sorted(differ)[:3])
        raise CheckpointError(where, f"this run is of another objective ({names})")


def _broadcast(found: Checkpoint | None, processes: Processes) -> Checkpoint:
    """The checkpoint that the first process has read."""
    state = processes.broadcast_json(asdict(found.state) if found else None)
    parts = ("model", "optimizer", "training", "objective")
    own = {part: getattr(found, part, {}) for part in parts}
    tensors = {part: processes.broadcast_tensors(own[part]) for part in parts}
    return Checkpoint(found.recipe if found else {}, train_state(state), **tensors)


def _restore(run: Run, found: Checkpoint) -> None:
    """Take up what a checkpoint holds; raises `CheckpointError` if it is of anything else than this run."""
    try:
        _take_up(run, found)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        hint = "delete it, and --resume continues from the one before"
        what = f"its checkpoint is not of this run: {' '.join(str(error).split())[:200]}"
        raise CheckpointError(str(run.folder.path), what, hint) from None


def _take_up(run: Run, found: Checkpoint) -> None:
    run.objective.network.load_state_dict(found.training or found.model)
    if run.average:
        run.average.model.load_state_dict(found.model)
    own = {name: value for name, value in found.objective.items() if "@" not in name}
    if run.processes.rank:
        end = f"@{run.processes.rank}"
        more = {k: v for k, v in found.objective.items() if k.endswith(end)}
        own |= {name.removesuffix(end): value for name, value in more.items()}
    run.objective.load_state_dict(own, strict=False)  # its names have been checked
    restore_optimizer(run.optimizers, found.optimizer)
    state = run.state = found.state
    sums = [state.loss_sum, state.seen, *state.terms.values()]
    run.step.totals.copy_(torch.tensor(sums, dtype=torch.float64))
    if state.scaler:
        scaler = run.step.scaler
        scaler.load_state_dict({**scaler.state_dict(), **state.scaler})
    if state.schedule:
        run.schedule.restore(state.schedule)  # type: ignore[attr-defined]  # such a one has it
