"""The order in which an epoch takes the images: pure functions of the labels, the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le, MinLen

from tinysight.data.samples import has_many
from tinysight.errors import ConfigError
from tinysight.registry import samplers

Order = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # labels (N,) or (N, K) -> indices


@samplers.register("shuffle")
@dataclass(frozen=True)
class Shuffle:
    """Each image once, in an order of its own every epoch."""

    def __call__(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Places in the list, (N,)."""
        return rng.permutation(len(labels))


@samplers.register("balanced")
@dataclass(frozen=True)
class Balanced:
    """As many images as the list has, those of rare classes more often.

    A class of n images gets a share in proportion to n ** (1 - power). Within a class every image comes
    equally often, but for a remainder that the epoch draws.

    Args:
        power: 1 gives each class the same share, 0 the share that it has, 0.5 is half way.
    """

    power: Annotated[float, Ge(0), Le(1)] = 1.0

    def __call__(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Places in the list, (N,)."""
        if has_many(labels):
            what = "balanced needs one class for each image"
            raise ConfigError("data.sampler.name", what, "weighted takes a weight for each label")
        _, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
        wanted = _apportion(counts ** (1.0 - self.power), len(labels))
        chosen = [
            _repeated(np.flatnonzero(members == c), n, rng) for c, n in enumerate(wanted.tolist())
        ]
        return rng.permutation(np.concatenate(chosen))


@samplers.register("weighted")
@dataclass(frozen=True)
class Weighted:
    """As many images as the list has, drawn with replacement.

    Args:
        weights: of each class, by id; an image's chance is in proportion to it. An image with several labels
            counts the largest of theirs.
        background: the weight of images without a label.
    """

    weights: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)]
    background: Annotated[float, Ge(0)] = 1.0

    def __call__(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Places in the list, (N,)."""
        chance = _chances(labels, np.array(self.weights, np.float64), self.background)
        if not chance.any():
            raise ConfigError("data.sampler.weights", "every image has a weight of 0")
        return rng.choice(len(labels), len(labels), p=chance / chance.sum())


def _chances(labels: np.ndarray, weights: np.ndarray, background: float) -> np.ndarray:
    """The weight of each image, (N,)."""
    classes = labels.shape[1] if has_many(labels) else int(labels.max(initial=0)) + 1
    if len(weights) < classes:
        what = f"{len(weights)} weights for {classes} classes"
        raise ConfigError("data.sampler.weights", what, "give one for each class, by id")
    if has_many(labels):
        positive = labels > 0
        own = (positive * weights[:classes]).max(axis=1)
        known = positive.any(axis=1)
    else:
        own, known = weights[labels], labels >= 0
    chance: np.ndarray = np.where(known, own, background)
    return chance


def _apportion(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total`, each within 1 of its share; the largest remainders are rounded up."""
    exact = shares / shares.sum() * total
    found: np.ndarray = np.floor(exact).astype(np.int64)
    order = np.argsort(found - exact, kind="stable")
    found[order[: total - int(found.sum())]] += 1
    return found


def _repeated(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of `members`, each `count // len(members)` times and some of them once more."""
    whole, rest = divmod(count, len(members))
    return np.concatenate([np.tile(members, whole), rng.permutation(members)[:rest]])
