"""The networks of a run: built from the recipe, their initial weights, frozen parts and average."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tinysight.config import Recipe
from tinysight.config.schema import Ema
from tinysight.data.labels import label_names
from tinysight.errors import ConfigError
from tinysight.models import RecognitionNetwork, set_batch_norm_variance
from tinysight.models.detector import PicoDet, build_detector
from tinysight.models.recognizer import Network, build_recognizer
from tinysight.registry import backbones


def build_model(recipe: Recipe) -> Network:
    """The network of a recipe with fresh weights from PyTorch's generator, in training mode."""
    section, classes = recipe.model, len(label_names(recipe.data))
    model: Network
    if section.detector:
        specs = section.backbone.spec, section.detector.spec
        model = build_detector(*specs, classes, "model")
    elif section.recognises:
        neck, head = (p.spec if p else None for p in (section.neck, section.head))
        model = build_recognizer(section.backbone.spec, neck, head, classes, "model")
    else:
        model = backbones.build(section.backbone.spec, "model.backbone", num_classes=classes)
    try:
        set_batch_norm_variance(model, section.batch_norm_variance)
    except ValueError as error:  # a layer of somebody else's network
        raise ConfigError("model.batch_norm_variance", str(error), "unbiased") from None
    return model


def initial_model(recipe: Recipe) -> Network:
    """The network as the first step finds it: fresh weights, and over them the pretrained ones.

    Those of a recogniser are its backbone's, whose classifier is left out; those of a detector its backbone's or all.

    Raises:
        CheckpointError: they do not fit, and the recipe does not say that a part may differ.
        FetchError: they are to be fetched and cannot be.
    """
    model, section = build_model(recipe), recipe.model
    if section.pretrained:
        from tinysight.training.pretrained import find_pretrained, load_pretrained

        path = find_pretrained(section.pretrained, section.backbone.name)
        load_pretrained(_begins(model, path), path, skip=section.skip)
    elif section.skip:
        raise ConfigError("model.skip", "nothing to skip", "model.pretrained names no weights")
    return model


def begin_with(recipe: Recipe, weights: str | Path) -> Recipe:
    """`recipe` that begins with `weights`, but for the classifier if theirs has other classes.

    Args:
        recipe: a resolved recipe.
        weights: as `find_pretrained` takes them.

    Raises:
        CheckpointError: there is no such file, or it is damaged.
    """
    from tinysight.training.pretrained import CLASSIFIER, find_pretrained
    from tinysight.training.weights import classes_of

    path = find_pretrained(str(weights), recipe.model.backbone.name)
    model = build_model(recipe)
    trunk = _begins(model, path)
    fits = trunk is not model or classes_of(path, trunk) == len(label_names(recipe.data))
    changes = {"pretrained": str(path), "skip": () if fits else (CLASSIFIER,)}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})


def _begins(model: Network, path: Path) -> Network:
    """The part of a network that pretrained weights are for: all, or the backbone of a recogniser or detector."""
    if isinstance(model, PicoDet):
        from tinysight.training.weights import read_weights

        whole = any(name.startswith("neck.") for name in read_weights(path, model))
        return model if whole else model.backbone
    return model.backbone if isinstance(model, RecognitionNetwork) else model


def freeze(
    network: Network, parts: Sequence[str], statistics: bool = False
) -> tuple[nn.Module, ...]:
    """Take the gradient from parts of a network, and return what has to stay in evaluation mode.

    Batch normalisation in them uses its running statistics and leaves them as they are; dropout in them is off.

    Args:
        network: changed: its frozen parameters require no gradient.
        parts: of `model.freeze`: `classifier`, or the beginning of an entry's name up to a dot.
        statistics: also hold every batch normalisation in evaluation mode; its weight and bias learn where their part
            does.

    Raises:
        ConfigError: a part that the network does not have, or nothing is left to learn.
    """
    stems: tuple[str, ...] = ()
    if parts:
        from tinysight.training.pretrained import part_names

        stems = part_names(network, parts, "model.freeze")
    for name, parameter in network.named_parameters():
        if f"{name}.".startswith(stems):
            parameter.requires_grad_(False)
    if parts and not any(p.requires_grad for p in network.parameters()):
        raise ConfigError("model.freeze", "every parameter is frozen, so nothing can learn")
    held = _BatchNorm if statistics else ()
    found = network.named_modules()
    return tuple(m for n, m in found if f"{n}.".startswith(stems) or isinstance(m, held))


def freeze_all(network: nn.Module) -> tuple[nn.Module, ...]:
    """As `freeze`, of a whole network: a teacher that does not learn."""
    network.requires_grad_(False)
    return tuple(network.modules())


class Average:
    """The mean of the weights, weighted towards the last ones; a network of its own.

    It often generalises better than the weights themselves. After each step: mean = decay * mean + (1 - decay) *
    weights. The running statistics of batch normalisation are averaged in the same way, so that they lag behind as the
    weights do; whole numbers (counters) are copied.

    Args:
        model: the network in training; the mean begins as it is now.
        settings: `decay`; with `warmup` it is min(decay, (1 + step) / (10 + step)), since the first weights
            are far from the last. `from_zero` begins at 0 and divides by 1 - decay ** steps with the decay of the
            last step, as PaddleDetection does; with a decay that changes, the weights' shares do not sum to 1 then.
            `cycle_epochs` begins anew.
        steps_per_epoch: for `cycle_epochs`.
    """

    def __init__(self, model: nn.Module, settings: Ema, steps_per_epoch: int = 1) -> None:
        self._from_zero, cycle = settings.from_zero, settings.cycle_epochs
        self._cycle = cycle * steps_per_epoch if cycle else None
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = settings.decay
        self._warmup = settings.warmup
        pairs = list(zip(_state(self.model), _state(model), strict=True))
        self._means = [mean for mean, _ in pairs if mean.is_floating_point()]
        self._weights = [weight for _, weight in pairs if weight.is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 0."""
        count = step % self._cycle if self._cycle else step
        decay = self._of(count)
        if self._from_zero:
            # The mean that is kept is the divided one: (1 - last ** count) * mean is the sum before it.
            whole = 1.0 - decay ** (count + 1)
            before = 1.0 - self._of(count - 1) ** count if count else 0.0
            torch._foreach_mul_(self._means, decay * before / whole)
            torch._foreach_add_(self._means, self._weights, alpha=(1.0 - decay) / whole)
        elif self._cycle and not count:
            torch._foreach_copy_(self._means, self._weights)
        else:
            torch._foreach_lerp_(self._means, self._weights, 1.0 - decay)
        for mean, weight in self._counts:
            mean.copy_(weight)

    def _of(self, count: int) -> float:
        return min(self._decay, (1 + count) / (10 + count)) if self._warmup else self._decay


def _state(model: nn.Module) -> list[Tensor]:
    """The tensors themselves, in the order of the names."""
    return [value.detach() for value in model.state_dict(keep_vars=True).values()]
