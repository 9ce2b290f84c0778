"""One network trained on labels, with one loss or a weighted sum of several."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tinysight.config import Recipe
from tinysight.data.labels import label_names
from tinysight.data.loader import Batch
from tinysight.data.samples import SampleList
from tinysight.errors import ConfigError
from tinysight.losses.embedding import PairLoss
from tinysight.models import RecognitionNetwork
from tinysight.models.recognizer import Network
from tinysight.registry import loss_terms
from tinysight.registry import losses as loss_registry
from tinysight.tasks.base import task_of_recipe
from tinysight.training.networks import freeze, initial_model
from tinysight.training.objective.base import Objective, Term, Terms, check_output


class LossTerm(NamedTuple):
    """A loss, the output of the network that it is computed from, and its weight in the sum."""

    loss: nn.Module
    of: str = "logits"
    weight: float = 1.0

    @property
    def needs_logits(self) -> bool:
        """Whether the loss is called with the logits too."""
        return "logits" in _more(self.loss)


class Supervised(Objective):
    """Terms between the outputs of one network and its targets.

    A loss of pairs is computed over the batch of all processes together, so that their number changes nothing.

    Args:
        network: to be trained.
        losses: terms by name. A loss is called with an output and the targets; one whose `forward` also has a
            parameter `logits` gets those too.
        frozen: modules that stay in evaluation mode.
        widths: of the outputs that losses of pairs are computed from, where several processes share a batch.
    """

    def __init__(
        self,
        network: nn.Module,
        losses: Mapping[str, LossTerm],
        frozen: Iterable[nn.Module] = (),
        widths: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__({"model": network}, losses, frozen=frozen)
        self.losses = nn.ModuleDict({name: term.loss for name, term in losses.items()})
        self._terms, self._widths = dict(losses), dict(widths or {})
        self._with_logits = {name for name, term in losses.items() if term.needs_logits}
        logits = ["logits"] if self._with_logits else []
        self._wanted = tuple(sorted({*logits, *(term.of for term in losses.values())}))

    def forward(self, batch: Batch) -> Terms:
        """Each loss of the output that it is of."""
        outputs, terms = self.outputs("model", batch, self._wanted), {}
        for name, (loss, of, weight) in self._terms.items():
            more = (outputs.get("logits"),) if name in self._with_logits else ()
            targets = batch.targets
            if of == "logits" and outputs.classes is not None:
                targets = torch.searchsorted(outputs.classes, targets)
            given = (outputs.get(of), targets, *more)
            if isinstance(loss, PairLoss):
                given = tuple(map(self.gathered, given))
            try:
                value: Tensor = loss(*given)
            except ValueError as error:  # a batch that it cannot be computed of
                raise ConfigError(f"losses ({name})", str(error), "see data.sampler") from error
            if len(given[1]) > (own := len(batch.targets)) > 0:
                # A process weighs its gradient by its own images.
                value = value.detach() + (value - value.detach()) * (len(given[1]) / own)
            terms[name] = Term(weight, value)
        return terms

    def join(self, images: Tensor) -> Tensor | None:
        """Take part in the losses of pairs, too: the memory of one is the same in all processes."""
        zero = super().join(images)
        targets = images.new_zeros(0, dtype=torch.int64)
        for name, (loss, of, _) in self._terms.items():
            if isinstance(loss, PairLoss):
                names = [of, *(["logits"] if name in self._with_logits else [])]
                first, *more = (images.new_zeros((0, self._widths[n])) for n in names)
                with torch.no_grad():
                    loss(*map(self.gathered, (first, targets, *more)))
        return zero


def supervised(recipe: Recipe, samples: SampleList) -> Supervised:
    """The network and the losses of a recipe, fresh or with the pretrained weights that it names.

    Args:
        recipe: resolved, with its label names.
        samples: the training images, whose share of each label some losses need.

    Raises:
        ConfigError: a component refuses its values, or a loss is of an output that the network does not have.
        CheckpointError: the pretrained weights do not fit.
    """
    network = initial_model(recipe)
    frozen = freeze(network, recipe.model.freeze, recipe.model.freeze_statistics)
    classes = len(label_names(recipe.data))
    task = task_of_recipe(recipe)
    if recipe.data.train.unlabelled and not task.known(samples.labels).all():
        what = "there are images without a label, which a loss of labels cannot learn from"
        hint = "add teachers, and a loss between two networks"
        raise ConfigError("data.train.unlabelled", what, hint)
    ratio = task.label_ratio(samples.labels, classes)
    sizes = {"label_ratio": ratio, "num_classes": classes}
    if recipe.loss is not None:
        only = LossTerm(loss_registry.build(recipe.loss.spec, "loss", **sizes))
        return Supervised(network, {"loss": only}, frozen)
    terms: dict[str, LossTerm] = {}
    for i, component in enumerate(recipe.losses):
        spec, where = component.spec, f"losses.{i}"
        if "between" in spec:
            what = "compares the outputs of two networks, and there is one"
            raise ConfigError(f"{where}.between", what, "add teachers")
        for of in [spec["of"]] if isinstance(spec["of"], str) else spec["of"]:
            term = loss_term({**spec, "of": of}, where, network, sizes)
            terms[free_name(component.name, terms)] = term
    return Supervised(network, terms, frozen, _widths(network, classes))


def loss_term(
    spec: Mapping[str, Any], where: str, network: Network, sizes: Mapping[str, Any]
) -> LossTerm:
    """The term of a spec, whose `of` is an output of `network`.

    Args:
        spec: of a loss with labels, checked.
        where: place in the recipe, for messages.
        network: whose output it is.
        sizes: `label_ratio` and `num_classes`.

    Raises:
        ConfigError: the network has no such output, or the loss needs what no list gives.
    """
    of = check_output(network, spec["of"], f"{where}.of")
    weight = float(spec["weight"])
    spec = {k: v for k, v in spec.items() if k not in ("of", "weight", "on")}
    if of == "logits" and isinstance(network, RecognitionNetwork) and network.head is None:
        raise ConfigError(f"{where}.of", "there are no logits without a head", "set model.head")
    widths = _widths(network, sizes["num_classes"])
    more = {"features": widths[of]} if of in widths else {}
    loss = loss_terms.build(spec, where, **sizes, **more)
    if others := set(_more(loss)) - {"logits"}:
        what = f"needs {', '.join(sorted(others))}, which a list does not give"
        raise ConfigError(where, what)
    return LossTerm(loss, of, weight)


def _widths(network: Network, classes: int) -> dict[str, int]:
    backbone = network.backbone if isinstance(network, RecognitionNetwork) else network
    return {"logits": classes, "pooled": backbone.features, "embedding": network.features}


def _more(loss: nn.Module) -> list[str]:
    """Names of what a loss is called with besides an output and the targets."""
    parameters = list(inspect.signature(loss.forward).parameters.values())
    named = [p.name for p in parameters[2:] if p.kind is not p.VAR_POSITIONAL]
    return list(getattr(loss, "extras", named))


def free_name(name: str, taken: Mapping[str, Any]) -> str:
    """`name`, numbered from the second on."""
    free, n = name, 1
    while free in taken:
        n += 1
        free = f"{name}_{n}"
    return free
