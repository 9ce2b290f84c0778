"""Samplers: the images of an epoch and their order, as pure functions of the labels, the seed and the epoch."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from annotated_types import Ge, Gt, Le, MinLen
from numpy.random import Generator

from tinysight.data.samples import has_many
from tinysight.errors import ConfigError
from tinysight.registry import samplers


class Sampler:
    """Divides the images of an epoch into batches: a pure function of the labels, the batch size and the generator.

    An epoch has the same number of batches whatever the generator. A subclass gives the order of the images, or the
    batches themselves.
    """

    whole_identities: ClassVar[bool] = False
    """Whether processes that share a batch may not divide the images of one label, which are neighbours in it."""

    by_label: ClassVar[bool] = False
    """Whether labels decide which images it takes."""

    def full(self, batch_size: int) -> int:
        """Images of a full batch; 0 where no batch is what is left of an epoch."""
        return 0 if self.whole_identities or self.image_sizes(2, 1) else batch_size

    def __call__(self, labels: np.ndarray, rng: Generator) -> np.ndarray:
        """Places in the list in the order of the epoch; labels are (N,) or (N, K)."""
        raise NotImplementedError

    def image_sizes(self, count: int, batch_size: int) -> list[tuple[int, int]] | None:
        """(width, height) of the images of each batch of an epoch of `count` images; None: as the transforms say."""
        return None

    def batches(self, labels: np.ndarray, batch_size: int, rng: Generator) -> list[np.ndarray]:
        """Places in the list of the images of each batch.

        The last batch may be smaller than the others; if it would hold a single image, which batch normalisation
        cannot learn from, that image joins the batch before.
        """
        order = self(labels, rng)
        ends = np.arange(batch_size, len(order), batch_size)
        if len(ends) and len(order) - ends[-1] == 1:
            ends = ends[:-1]
        return np.split(order, ends)


@dataclass(frozen=True)
class WithUnlabelled(Sampler):
    """The batches that a sampler makes of the labelled images, and unlabelled ones in each.

    Which of them an epoch has is drawn anew every epoch: each once before any comes twice.

    Args:
        sampler: of the labelled images.
        ratio: unlabelled images for each labelled one.
    """

    sampler: Sampler
    ratio: Annotated[float, Gt(0)]

    def full(self, batch_size: int) -> int:
        """Images that every batch has but the last; some have one more."""
        own = self._labelled(batch_size)
        return own + int(own * self.ratio)

    def _labelled(self, batch_size: int) -> int:
        return min(max(1, round(batch_size / (1.0 + self.ratio))), batch_size)

    def batches(self, labels: np.ndarray, batch_size: int, rng: Generator) -> list[np.ndarray]:
        """Places in the list of the images of each batch, about as many as `batch_size` says.

        Labelled and unlabelled ones take turns, so that processes that share a batch have both.
        """
        known = (labels >= 0) if labels.ndim == 1 else (labels >= 0).any(axis=1)
        own, others = np.flatnonzero(known), np.flatnonzero(~known)
        parts = self.sampler.batches(labels[own], self._labelled(batch_size), rng)
        ends = np.round(np.cumsum([0, *map(len, parts)]) * self.ratio).astype(np.int64)
        rounds = -(-int(ends[-1]) // max(len(others), 1))
        drawn = np.concatenate([rng.permutation(others) for _ in range(max(rounds, 1))])
        pairs = zip(parts, ends[:-1], ends[1:], strict=True)
        return [_in_turns(own[part], drawn[a:b]) for part, a, b in pairs]


@samplers.register("shuffle")
@dataclass(frozen=True)
class Shuffle(Sampler):
    """Each image once, in an order of its own every epoch."""

    def __call__(self, labels: np.ndarray, rng: Generator) -> np.ndarray:
        """Places in the list, (N,)."""
        return rng.permutation(len(labels))


@samplers.register("repeated")
@dataclass(frozen=True)
class Repeated(Sampler):
    """Repeated augmentation: each image several times in a row, so in one batch, changed otherwise each time.

    An epoch has as many images as the list, down to whole multiples of 256 where there are as many; so it sees
    `1 / times` of the list, another part each time (Hoffer et al., 2020; DeiT's and PaddleClas' rule).

    Args:
        times: how often an image comes in an epoch that it is drawn for.
    """

    times: Annotated[int, Ge(2)] = 3

    def __call__(self, labels: np.ndarray, rng: Generator) -> np.ndarray:
        """Places in the list, (N,)."""
        count = len(labels)
        return np.repeat(rng.permutation(count), self.times)[
            : count - count % 256 if count >= 256 else count
        ]


@samplers.register("balanced")
@dataclass(frozen=True)
class Balanced(Sampler):
    """As many images as the list has, those of rare classes more often.

    A class of n images gets a share in proportion to n ** (1 - power). Within a class every image comes
    equally often, but for a remainder that the epoch draws.

    Args:
        power: 1 gives each class the same share, 0 the share that it has, 0.5 is half way.
    """

    by_label = True

    power: Annotated[float, Ge(0), Le(1)] = 1.0

    def __call__(self, labels: np.ndarray, rng: Generator) -> np.ndarray:
        """Places in the list, (N,)."""
        if has_many(labels):
            what = "balanced needs one class for each image"
            raise ConfigError("data.sampler.name", what, "weighted takes a weight for each label")
        _, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
        wanted = _apportion(counts ** (1.0 - self.power), len(labels))
        places = [np.flatnonzero(members == c) for c in range(len(counts))]
        chosen = [_repeated(of, n, rng) for of, n in zip(places, wanted.tolist(), strict=True)]
        return rng.permutation(np.concatenate(chosen))


@samplers.register("weighted")
@dataclass(frozen=True)
class Weighted(Sampler):
    """As many images as the list has, drawn with replacement.

    Args:
        weights: of each class, by id; an image's chance is in proportion to it. An image with several labels
            counts the largest of theirs.
        background: the weight of images without a label.
    """

    by_label = True

    weights: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)]
    background: Annotated[float, Ge(0)] = 1.0

    def __call__(self, labels: np.ndarray, rng: Generator) -> np.ndarray:
        """Places in the list, (N,)."""
        weights = np.array(self.weights, np.float64)
        classes = labels.shape[1] if has_many(labels) else int(labels.max(initial=0)) + 1
        if len(weights) < classes:
            what = f"{len(weights)} weights for {classes} classes"
            raise ConfigError("data.sampler.weights", what, "give one for each class, by id")
        if has_many(labels):
            own, known = ((labels > 0) * weights[:classes]).max(axis=1), (labels > 0).any(axis=1)
        else:
            own, known = weights[labels], labels >= 0
        chance = np.where(known, own, self.background)
        if not chance.any():
            raise ConfigError("data.sampler.weights", "every image has a weight of 0")
        return rng.choice(len(labels), len(labels), p=chance / chance.sum())


@samplers.register("pk")
@dataclass(frozen=True)
class PerIdentity(Sampler):
    """Batches of P identities with K images each, for losses that compare the images of a batch.

    P is `data.batch_size` / K, times the number of processes. A batch never has two groups of one identity.

    `cover`: no image comes twice in an epoch. The images of an identity are divided into groups of K anew every epoch;
    those that are left over wait for another epoch. An identity with fewer than K images has one group of all of them.
    A batch takes one group from each of the P identities with the most groups left (at random among equals), and an
    epoch ends when fewer than P identities have any left. The batches come in a random order.

    `uniform` and `frequency`: P identities are drawn for every batch, each with the same chance or in proportion to its
    images, and K images of each, of which only those with fewer repeat some: PaddleClas' PKSampler. An epoch has as
    many whole batches as the list has images for.

    Args:
        per_identity: K, images of an identity in a batch.
        choose: how a batch gets its identities.
        boost: (first, last, factor): the chance of identities from place `first` to `last` in the order in which the
            list names them, from 0, is multiplied by the factor; not for `cover`.
        fill: an identity with fewer than K images repeats some, so that every batch is whole; always where drawn.
        keep_last: one more batch of an epoch for the images of a part of one; not for `cover`.
        epoch_batches: number of batches of an epoch. Default: as said above.
    """

    whole_identities = by_label = True

    per_identity: Annotated[int, Ge(2)] = 4
    choose: Literal["cover", "uniform", "frequency"] = "cover"
    boost: tuple[tuple[int, int, float], ...] = ()
    fill: bool = False
    keep_last: bool = False
    epoch_batches: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        if self.choose == "cover" and (self.boost or self.keep_last):
            name = "boost" if self.boost else "keep_last"
            what = f"{name} is for identities that are drawn: choose: uniform or frequency"
            raise ConfigError(f"data.sampler.{name}", what)
        if any(factor < 0 for *_, factor in self.boost):
            raise ConfigError("data.sampler.boost", "a factor is below 0")

    def batches(self, labels: np.ndarray, batch_size: int, rng: Generator) -> list[np.ndarray]:
        """Places in the list of the images of each batch, identity by identity; images without a label are left out.

        Raises:
            ConfigError: several labels an image, a batch size that is no multiple of K, or fewer than P identities.
        """
        if labels.ndim != 1:
            raise ConfigError("data.sampler.name", "pk needs one identity for each image")
        each = self.per_identity
        width, rest = divmod(batch_size, each)
        if rest or width < 2:
            what = f"batches of {batch_size} images cannot hold two or more identities of {each}"
            raise ConfigError("data.batch_size", what, f"set it to a multiple of {each}")
        shuffled = rng.permutation(np.flatnonzero(labels >= 0))
        by_identity = shuffled[np.argsort(labels[shuffled], kind="stable")]
        _, starts = np.unique(labels[by_identity], return_index=True)
        members = np.split(by_identity, starts[1:])
        if len(members) < width:
            what = f"batches of {width} identities, but the list has {len(members)}"
            raise ConfigError("data.batch_size", what, f"set it to at most {len(members) * each}")
        if self.choose != "cover":
            return self._drawn(members, width, rng)
        if self.fill:
            members = [m if len(m) >= each else _repeated(m, each, rng) for m in members]
        found = self._covering(members, width, rng)
        while self.epoch_batches and len(found) < self.epoch_batches:
            found += self._covering([rng.permutation(m) for m in members], width, rng)
        return found[: self.epoch_batches]

    def _covering(self, members: list[np.ndarray], width: int, rng: Generator) -> list[np.ndarray]:
        each = self.per_identity
        # Most groups first, then at random: the number of batches depends on the numbers of images alone.
        ranks = rng.random(len(members))
        heap = [(-max(len(m) // each, 1), ranks[i], i) for i, m in enumerate(members)]
        heapq.heapify(heap)
        found = []
        while len(heap) >= width:
            chosen = [heapq.heappop(heap) for _ in range(width)]
            groups = [members[i][(-left - 1) * each : -left * each] for left, _, i in chosen]
            found.append(np.concatenate(groups))
            for left, _, i in chosen:
                if left + 1:
                    heapq.heappush(heap, (left + 1, rng.random(), i))
        return [found[i] for i in rng.permutation(len(found))]

    def _drawn(self, members: list[np.ndarray], width: int, rng: Generator) -> list[np.ndarray]:
        each, sizes = self.per_identity, np.array([len(m) for m in members])
        chance = sizes / sizes.sum() if self.choose == "frequency" else np.ones(len(members))
        order = np.argsort([m.min() for m in members])  # by where the list names an identity first
        for first, last, factor in self.boost:
            chance[order[first : last + 1]] *= factor
        if (chance > 0).sum() < width:
            what = f"fewer than the {width} identities of a batch have a chance"
            raise ConfigError("data.sampler.boost", what)
        whole, rest = divmod(int(sizes.sum()), width * each)
        count = self.epoch_batches or max(whole + (self.keep_last and rest > 0), 1)
        found = []
        for _ in range(count):
            chosen = rng.choice(len(members), width, replace=False, p=chance / chance.sum())
            groups = [rng.choice(members[i], each, replace=sizes[i] < each) for i in chosen]
            found.append(np.concatenate(groups))
        return found


Side: TypeAlias = Annotated[int, Ge(1)]


@samplers.register("multi_scale")
@dataclass(frozen=True)
class MultiScale(Sampler):
    """Each image once; a batch has images of one of several sizes, and as many as have about the same number of pixels.

    `data.batch_size` is for the first size. The sizes come in an order that is drawn once: every epoch repeats it. The
    random crop of the transforms takes the batch's size in place of its own.

    Source: arXiv 2110.02178; PaddleClas' MultiScaleSampler. Deviation: the last batch has the images that are left.

    Args:
        sizes: sides of squares, or [width, height], pixels.
        divisor: sizes are cut down to multiples of this.
    """

    sizes: Annotated[tuple[Side | tuple[Side, Side], ...], MinLen(1)]
    divisor: Side = 32

    def __post_init__(self) -> None:
        if min(min(pair) for pair, _ in self.scales(1)) < 1:
            raise ValueError(f"sizes should be at least the divisor, {self.divisor}")

    def scales(self, batch_size: int) -> list[tuple[tuple[int, int], int]]:
        """(width, height) of each size, and how many images a batch of it has."""
        given = [(side, side) if isinstance(side, int) else tuple(side) for side in self.sizes]
        pairs = [(w - w % self.divisor, h - h % self.divisor) for w, h in given]
        pixels = pairs[0][0] * pairs[0][1] * batch_size
        return [(pair, max(pixels // max(pair[0] * pair[1], 1), 1)) for pair in pairs]

    def _plan(self, count: int, batch_size: int) -> list[tuple[tuple[int, int], int]]:
        """Size and end of each batch of an epoch; a single image that is left joins the batch before."""
        rng, scales, end = np.random.default_rng(count), self.scales(batch_size), 0
        plan: list[tuple[tuple[int, int], int]] = []
        while end < count - bool(plan):
            size, images = scales[int(rng.integers(0, len(scales)))]
            end = min(end + images, count)
            plan.append((size, end))
        return [*plan[:-1], (plan[-1][0], count)] if plan else []

    def image_sizes(self, count: int, batch_size: int) -> list[tuple[int, int]]:
        """(width, height) of the images of each batch."""
        return [size for size, _ in self._plan(count, batch_size)]

    def batches(self, labels: np.ndarray, batch_size: int, rng: Generator) -> list[np.ndarray]:
        """Places in the list of the images of each batch."""
        ends = [end for _, end in self._plan(len(labels), batch_size)]
        return np.split(rng.permutation(len(labels)), ends[:-1])


def _in_turns(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both, each evenly spread over the whole."""
    where = [(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in (first, second)]
    order = np.argsort(np.concatenate(where), kind="stable")
    return np.asarray(np.concatenate([first, second])[order])


def _apportion(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total`, each within 1 of its share; the largest remainders are rounded up."""
    exact = shares / shares.sum() * total
    found: np.ndarray = np.floor(exact).astype(np.int64)
    found[np.argsort(found - exact, kind="stable")[: total - int(found.sum())]] += 1
    return found


def _repeated(members: np.ndarray, count: int, rng: Generator) -> np.ndarray:
    """`count` of `members`, each `count // len(members)` times and some of them once more."""
    whole, rest = divmod(count, len(members))
    return np.concatenate([np.tile(members, whole), rng.permutation(members)[:rest]])
