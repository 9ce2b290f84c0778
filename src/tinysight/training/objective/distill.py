"""A student that learns from teachers: terms between the outputs of several networks, and from labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tinysight.config import Recipe
from tinysight.config.schema import STUDENT, Train
from tinysight.data.labels import label_names
from tinysight.data.loader import Batch
from tinysight.data.samples import SampleList
from tinysight.errors import ConfigError, nearest
from tinysight.losses.embedding import PairLoss
from tinysight.models import set_batch_norm_variance
from tinysight.models.outputs import FIELDS, Outputs, output_names, run_network
from tinysight.registry import distillation_losses
from tinysight.tasks.base import task_of_recipe
from tinysight.training.distributed import Processes
from tinysight.training.networks import freeze, initial_model
from tinysight.training.objective.base import Objective, Term, Terms, check_output
from tinysight.training.objective.supervised import free_name, loss_term
from tinysight.training.teachers import Taught, load_teacher

_ANY_WIDTH = ("rkd_angle", "rkd_distance")  # compare samples with each other


class Tap(NamedTuple):
    """An output of a network."""

    network: str
    output: str = "logits"


class DistillTerm(NamedTuple):
    """A loss of the outputs of one network and labels, or of two networks.

    Attributes:
        loss: called with a tensor for each side, or with the list of those of a side that is a list.
        sides: one or two; each an output, or several.
        weight: in the sum.
        with_labels: the targets are its last argument.
        labelled: only images with a label count.
    """

    loss: nn.Module
    sides: tuple[Tap | tuple[Tap, ...], ...]
    weight: float = 1.0
    with_labels: bool = False
    labelled: bool = False

    @property
    def taps(self) -> list[Tap]:
        """All outputs that it is computed from."""
        return [t for side in self.sides for t in ([side] if isinstance(side, Tap) else side)]


class LossModules(nn.ModuleDict):
    """Losses by name. Weight decay reaches all of what they learn."""

    decays_norm = True


class Distillation(Objective):
    """Terms between the outputs of a student and of its teachers, and of either with the labels.

    A teacher that does not learn is run without gradients; in evaluation mode, unless it is not among `frozen`.

    Args:
        student: the network that is evaluated and exported.
        teachers: by name, which contains no dot.
        terms: by name.
        some_unlabelled: whether images may come without a label, a target below 0.
        views: images and views of the run: what a frozen teacher says of a view is computed once. (0, 0): every time.
    """

    def __init__(
        self, student: nn.Module, teachers: Mapping[str, Taught], terms: Mapping[str, DistillTerm],
        some_unlabelled: bool = False, frozen: Sequence[nn.Module] = (),
        views: tuple[int, int] = (0, 0),
    ) -> None:  # fmt: skip
        held = [m for teacher in teachers.values() for m in teacher.frozen]
        networks = {STUDENT: student, **{name: t.network for name, t in teachers.items()}}
        super().__init__(networks, terms, frozen=(*frozen, *held))
        self.losses = LossModules({name: term.loss for name, term in terms.items()})
        self._terms, self._some_unlabelled = dict(terms), some_unlabelled
        self._taught = set(self.learning)
        wanted: dict[str, set[str]] = {}
        for tap in (tap for term in terms.values() for tap in term.taps):
            wanted.setdefault(tap.network, set()).add(tap.output)
        self._wanted = {name: tuple(sorted(outputs)) for name, outputs in wanted.items()}
        self._seen = {
            name: Seen(*views)
            for name, teacher in teachers.items()
            if views[1] and teacher.frozen and set(self._wanted.get(name, ())) <= set(FIELDS)
        }
        for name, teacher in teachers.items():
            if teacher.pixels is not None:
                self.register_buffer(f"pixels_{name}", teacher.pixels, persistent=False)

    def forward(self, batch: Batch) -> Terms:
        """Each term of the images that it is of; one of labels is missing if no image has one."""
        known = _known(batch.targets) if self._some_unlabelled else None
        if known is not None and bool(known.all()):
            known = None
        found = {n: self.outputs(n, batch, wanted) for n, wanted in self._wanted.items()}
        terms = {}
        for name, term in self._terms.items():
            keep = known if term.labelled else None
            if keep is not None and not bool(keep.any()):
                continue

            def of(tap: Tap, keep: Tensor | None = keep) -> Tensor:
                value = found[tap.network].get(tap.output)
                return value if keep is None else value[keep]

            given: list[Any] = [
                of(side) if isinstance(side, Tap) else [of(tap) for tap in side]
                for side in term.sides
            ]
            if term.with_labels:
                targets, classes = batch.targets, found[term.taps[0].network].classes
                if classes is not None and term.taps[0].output == "logits":
                    targets = torch.searchsorted(classes, targets)
                given.append(targets if keep is None else targets[keep])
            terms[name] = Term(term.weight, term.loss(*given))
        return terms

    def set_up(self, settings: Train, processes: Processes) -> None:
        """As `Objective.set_up`; losses of the pairs of a batch are for one process."""
        if processes.world > 1 and any(isinstance(loss, PairLoss) for loss in self.losses.values()):
            what = "losses of pairs beside teachers see the images of one process alone"
            raise ConfigError("losses", what, "train in one process, or without them")
        super().set_up(settings, processes)

    def outputs(self, name: str, batch: Batch, wanted: Sequence[str] = ("logits",)) -> Outputs:  # type: ignore[override]
        """As `Objective.outputs`; a teacher has its own normalisation, and no gradient unless it learns."""
        seen = self._seen.get(name)
        if seen is not None and batch.places is not None:
            return seen.outputs(batch.places, lambda: self._computed(name, batch, wanted))
        return self._computed(name, batch, wanted)

    def _computed(self, name: str, batch: Batch, wanted: Sequence[str]) -> Outputs:
        pixels = getattr(self, f"pixels_{name}", None)
        if pixels is not None:
            batch = batch._replace(images=batch.images * pixels[0] + pixels[1])
        if self._some_unlabelled and batch.targets.ndim == 1:  # for heads with a margin
            batch = batch._replace(targets=batch.targets.clamp(min=0))
        with torch.set_grad_enabled(torch.is_grad_enabled() and name in self._taught):
            return super().outputs(name, batch, wanted)


class Seen:
    """What a teacher has said of the views of the training images, in memory.

    Args:
        images: of the training list.
        views: of each.
    """

    def __init__(self, images: int, views: int) -> None:
        self._images = images
        self._known = torch.zeros(images * views, dtype=torch.bool)
        self._kept: dict[str, Tensor] = {}

    def outputs(self, places: Tensor, compute: Callable[[], Outputs]) -> Outputs:
        """The outputs at `places`, (N, 2) as in `Batch`: remembered if all of them are, else computed."""
        rows = (places[:, 1] * self._images + places[:, 0]).cpu()
        once = (places[:, 0] >= 0).cpu()
        if bool((self._known[rows.clamp(min=0)] & once).all()):
            given = [self._kept.get(name) for name in FIELDS]
            logits, embedding, pooled = (v if v is None else v[rows.to(v.device)] for v in given)
            return Outputs(logits, embedding, pooled)
        found, rows = compute(), rows[once]
        for name in FIELDS:
            value = getattr(found, name)
            if value is not None:
                sizes = (len(self._known), *value.shape[1:])
                kept = self._kept.setdefault(name, value.new_zeros(sizes))
                kept[rows.to(kept.device)] = value.detach()[once.to(kept.device)]
        self._known[rows] = True
        return found


def distillation(recipe: Recipe, samples: SampleList) -> Distillation:
    """The student, the teachers and the terms of a recipe.

    Args:
        recipe: resolved, with its label names and at least one teacher.
        samples: the training images.

    Raises:
        ConfigError: a term names an output that there is not, or a label loss is to learn from images without one.
        CheckpointError: weights do not fit, or are missing.
    """
    student = initial_model(recipe)
    frozen = freeze(student, recipe.model.freeze, recipe.model.freeze_statistics)
    teachers = {name: load_teacher(name, recipe) for name in recipe.teachers}
    task = task_of_recipe(recipe)
    unlabelled = not bool(task.known(samples.labels).all())
    terms = _Terms(recipe, {STUDENT: student, **{n: t.network for n, t in teachers.items()}})
    ratio = task.label_ratio(samples.labels, terms.classes)
    for i in range(len(recipe.losses)):
        terms.add(i, unlabelled, {"label_ratio": ratio, "num_classes": terms.classes})
    _check(recipe, terms, unlabelled)
    views = (len(samples), recipe.train.views or 0)
    made = Distillation(student, teachers, terms.found, unlabelled, frozen, views)
    set_batch_norm_variance(made.losses, recipe.model.batch_norm_variance)
    return made


def _check(recipe: Recipe, terms: _Terms, unlabelled: bool) -> None:
    """Refuse terms that do not go together with the networks and the images."""
    used = {tap.network for term in terms.found.values() for tap in term.taps}
    for name in terms.networks.keys() - used - {STUDENT}:
        raise ConfigError(f"teachers.{name}", "no term of `losses` uses it")
    for name, term in terms.found.items():
        taps = [t for t in term.taps if t.output == "logits"]
        heads = [h for t in taps if (h := getattr(terms.networks[t.network], "head", None))]
        if len(term.sides) > 1 and any(head.sampled is not None for head in heads):
            what = f"{name}: model.head.sampled draws other logits in each network"
            raise ConfigError("losses", what, "compare embeddings")
        if unlabelled and not term.labelled and any(hasattr(head, "margin") for head in heads):
            what = f"{name}: a head with a margin has no logits of images without a label"
            raise ConfigError("losses", what, "compare embeddings, or on: labelled")
    if unlabelled and all(term.labelled for term in terms.found.values()):
        what = "no term is on images without a label, so they would teach nothing"
        raise ConfigError("data.train.unlabelled", what, "add one `between` two networks")
    if unlabelled and recipe.transforms.batch:
        what = "labels cannot be mixed where images have none"
        raise ConfigError("transforms.batch", what, "leave it out")


class _Terms:
    """The terms of a recipe, made one after the other."""

    def __init__(self, recipe: Recipe, networks: Mapping[str, Any]) -> None:
        self._recipe, self.networks = recipe, networks
        self._shapes: dict[Tap, tuple[int, ...]] = {}
        self.classes = len(label_names(recipe.data))
        self.found: dict[str, DistillTerm] = {}

    def add(self, index: int, unlabelled: bool, sizes: Mapping[str, Any]) -> None:
        """The term or terms of entry `index`."""
        spec, where = dict(self._recipe.losses[index].spec), f"losses.{index}"
        if "of" in spec:
            self._of(spec, where, unlabelled, sizes)
            return
        name, on = spec["name"], spec.pop("on")
        both, weight = spec.pop("between"), float(spec.pop("weight"))
        sides = tuple(
            self._tap(side, f"{where}.between.{i}") if isinstance(side, str)
            else tuple(self._tap(one, f"{where}.between.{i}") for one in side)
            for i, side in enumerate(both)
        )  # fmt: skip
        if [isinstance(side, Tap) for side in sides] != [name != "afd"] * 2:
            what = "compares lists of feature maps" if name == "afd" else "compares two outputs"
            raise ConfigError(f"{where}.between", f"{name} {what}")
        place = f"{where}.between"
        shapes = [
            [self._shape(t, place) for t in ([side] if isinstance(side, Tap) else side)]
            for side in sides
        ]
        made = {"student_shapes": shapes[0], "teacher_shapes": shapes[1]}
        loss: nn.Module = distillation_losses.build(spec, where, **sizes, **made)
        alike = name not in _ANY_WIDTH and not list(loss.parameters())
        if alike and shapes[0] != shapes[1]:
            what = f"outputs of shapes {shapes[0][0]} and {shapes[1][0]} cannot be compared"
            raise ConfigError(f"{where}.between", what)
        labels = bool(getattr(loss, "with_labels", False))
        labelled = self._labelled(on, labels, unlabelled, where)
        self.found[free_name(name, self.found)] = DistillTerm(loss, sides, weight, labels, labelled)

    def _of(
        self, spec: dict[str, Any], where: str, unlabelled: bool, sizes: Mapping[str, Any]
    ) -> None:
        given = [spec["of"]] if isinstance(spec["of"], str) else list(spec["of"])
        labelled = self._labelled(spec["on"], True, unlabelled, where)
        for of in given:
            tap = self._tap(of, f"{where}.of")
            own = {**spec, "of": tap.output}
            term = loss_term(own, where, self.networks[tap.network], sizes)
            if term.needs_logits:
                raise ConfigError(where, "needs the logits too, which no list of networks gives")
            name = spec["name"] if len(given) == 1 else f"{spec['name']}_{tap.network}"
            made = DistillTerm(term.loss, (tap,), term.weight, True, labelled)
            self.found[free_name(name, self.found)] = made

    def _labelled(self, on: str | None, labels: bool, unlabelled: bool, where: str) -> bool:
        if on == "all" and labels and unlabelled:
            what = "needs labels, which some of the images do not have"
            raise ConfigError(f"{where}.on", what, "on: labelled")
        return labels if on is None else on == "labelled"

    def _tap(self, text: str, where: str) -> Tap:
        """`student`, `student.blocks4`, or an output of the student."""
        first, dot, rest = text.partition(".")
        if first in self.networks:
            tap = Tap(first, rest) if dot else Tap(first)
        else:
            tap = Tap(STUDENT, text)
            known = [*self.networks, *output_names(self.networks[STUDENT])]
            if first not in known and not dot:
                what = f"no network, and no output of the student, is called {text!r}"
                raise ConfigError(where, what, nearest(text, known))
        check_output(self.networks[tap.network], tap.output, where)
        return tap

    def _shape(self, tap: Tap, where: str) -> tuple[int, ...]:
        """The shape of an output for one training image, without the batch."""
        if tap not in self._shapes:
            network = self.networks[tap.network]
            height, width, channels = self._recipe.train_transforms().output_shape()
            mode = network.training
            with torch.no_grad():
                images = torch.zeros(1, channels, height, width)
                found = run_network(network.eval(), images, None, (tap.output,))
            network.train(mode)
            try:
                self._shapes[tap] = tuple(found.get(tap.output).shape[1:])
            except (KeyError, AttributeError):  # no head; a module that returns something else
                what = f"{tap.network} gives no tensor {tap.output}"
                raise ConfigError(where, what) from None
        return self._shapes[tap]


def _known(targets: Tensor) -> Tensor:
    """True for each image that has a label, (N,) bool."""
    known = (targets >= 0) if targets.ndim == 1 else (targets >= 0).any(1)
    return known | targets.is_floating_point() if targets.ndim == 1 else known
