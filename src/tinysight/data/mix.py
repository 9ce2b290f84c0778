"""Mixing the images of a batch and their labels.

A batch transform is called `(images, targets, rng, num_classes)` and returns new images and soft
targets: (N, K) float32, each row summing to 1 if the rows that went in do. Every image meets one
partner, found by a permutation of the batch, and one share holds for the whole batch. `p` is its
probability in `apply_one`; a call itself always mixes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from tinysight.errors import ConfigError, DataError
from tinysight.registry import batch_transforms

if TYPE_CHECKING:
    from numpy.random import Generator

Mixed = tuple[Tensor, Tensor]


class BatchTransform:
    """Mixes each image with its partner, and their targets by the share of the image that stays.

    Attributes:
        p: probability, per batch.
    """

    p: float

    def __call__(self, images: Tensor, targets: Tensor, rng: Generator, num_classes: int) -> Mixed:
        """Images (N, C, H, W) float and targets (N,) or (N, K) to the same and (N, K) float32."""
        rows = soft(targets, num_classes)
        partners = torch.from_numpy(rng.permutation(len(images))).to(images.device)
        mixed, share = self.mix(images, images[partners], rng)
        return mixed, rows * share + rows[partners] * (1 - share)

    def mix(self, images: Tensor, others: Tensor, rng: Generator) -> tuple[Tensor, float]:
        """Images (N, C, H, W) with something of the `others`, and the share of theirs that stays."""
        raise NotImplementedError


def apply_one(
    mix: Sequence[BatchTransform], images: Tensor, targets: Tensor, rng: Generator, num_classes: int
) -> Mixed:
    """At most one of `mix`, drawn by their `p`; what is left to 1 leaves the batch alone.

    Args:
        mix: may be empty, then nothing changes; otherwise targets come out soft.
        images: (N, C, H, W) float.
        targets: (N,) int64 class ids, or (N, K) float32.
        rng: the batch's own.
        num_classes: K.

    Raises:
        ConfigError: the probabilities add up to more than 1.
        DataError: a class id is not below `num_classes`.
    """
    if not mix:
        return images, targets
    total = math.fsum(t.p for t in mix)
    if total > 1 + 1e-9:
        hint = "at most one is applied to a batch, so they may add up to 1"
        raise ConfigError("transforms.batch", f"the probabilities p add up to {total:g}", hint)
    draw = rng.random()
    for transform in mix:
        if draw < transform.p:
            return transform(images, targets, rng, num_classes)
        draw -= transform.p
    return images, soft(targets, num_classes)


def soft(targets: Tensor, num_classes: int) -> Tensor:
    """Class ids (N,) as rows (N, K) float32 with a single 1; rows stay as they are.

    Raises:
        DataError: a class id is not in 0..K-1, or the rows are not K wide.
    """
    if targets.ndim == 2:
        if targets.shape[1] != num_classes:
            raise DataError("", f"targets of {targets.shape[1]} labels, but {num_classes} classes")
        return targets.float()
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < num_classes:
        wrong = targets[(targets < 0) | (targets >= num_classes)][0]
        known = f"there are {num_classes} classes, 0 to {num_classes - 1}"
        raise DataError("", f"label {int(wrong)}, but {known}")
    rows = torch.zeros(len(targets), num_classes, device=targets.device)
    return rows.scatter_(1, targets.long()[:, None], 1.0)


@batch_transforms.register("mixup")
@dataclass(frozen=True)
class Mixup(BatchTransform):
    """Add each image and its partner, weighted by a share drawn from Beta(alpha, alpha).

    Source: arXiv 1710.09412; as PaddleClas' MixupOperator, with equal results for equal draws
    (permutation, share).

    Args:
        alpha: small values give shares near 0 and 1, 1 gives uniform ones.
        p: probability, per batch.
    """

    alpha: Annotated[float, Gt(0)] = 1.0
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def mix(self, images: Tensor, others: Tensor, rng: Generator) -> tuple[Tensor, float]:
        """Images and the share of them that stays."""
        share = float(rng.beta(self.alpha, self.alpha))
        mixed = images * share
        mixed += others * (1 - share)
        return mixed, share


@batch_transforms.register("cutmix")
@dataclass(frozen=True)
class CutMix(BatchTransform):
    """Replace a rectangle by the partner's; labels mix by the area that was replaced.

    The rectangle has the image's proportions, a middle drawn uniformly, and is cut at the border.
    Source: arXiv 1905.04899; as PaddleClas' CutmixOperator, with equal results for equal draws
    (permutation, share, row and column of the middle).

    Args:
        alpha: the share that stays is drawn from Beta(alpha, alpha).
        p: probability, per batch.
    """

    alpha: Annotated[float, Gt(0)] = 0.2
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def mix(self, images: Tensor, others: Tensor, rng: Generator) -> tuple[Tensor, float]:
        """Images and the share of them that stays."""
        height, width = images.shape[-2:]
        top, left, bottom, right = box(height, width, float(rng.beta(self.alpha, self.alpha)), rng)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def box(height: int, width: int, share: float, rng: Generator) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a rectangle of about 1 - `share` of the area, cut at the border."""
    side = math.sqrt(1.0 - share)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    row, column = int(rng.integers(0, height)), int(rng.integers(0, width))
    top, left = max(row - half_height, 0), max(column - half_width, 0)
    return top, left, min(row + half_height, height), min(column + half_width, width)


@batch_transforms.register("fmix")
@dataclass(frozen=True)
class FMix(BatchTransform):
    """Replace irregular patches by the partner's; labels mix by the area that was replaced.

    The patches are where random noise, with its high frequencies damped, is low. Source: arXiv
    2002.12047. Deviations from its code and PaddleClas' FmixOperator: the noise has the whole
    spectrum (there, two rows of it by mistake), and labels mix by the mask's true mean.

    Args:
        alpha: the share that stays is drawn from Beta(alpha, alpha).
        decay: amplitudes fall as 1 / frequency to this power; larger gives larger patches.
        p: probability, per batch.
    """

    alpha: Annotated[float, Gt(0)] = 1.0
    decay: Annotated[float, Ge(0)] = 3.0
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def mix(self, images: Tensor, others: Tensor, rng: Generator) -> tuple[Tensor, float]:
        """Images and the share of them that stays."""
        height, width = images.shape[-2:]
        mask = patches(height, width, float(rng.beta(self.alpha, self.alpha)), self.decay, rng)
        stays = torch.from_numpy(mask).to(images.device)
        return torch.where(stays, images, others), float(mask.mean())


@batch_transforms.register("mixup_cutmix")
@dataclass(frozen=True)
class MixupCutMix(BatchTransform):
    """Mixup or CutMix, drawn for the batch, each pair or each image.

    The partner of an image is the one as far from the other end of the batch. Source: PaddleClas' MixupCutmixHybrid,
    which is timm's. Its smoothing of labels is the loss's here.

    Args:
        mixup_alpha: shares of mixup are drawn from Beta(alpha, alpha); 0 for CutMix alone.
        cutmix_alpha: the same of CutMix; 0 for mixup alone.
        switch: probability of CutMix where there are both.
        per: what a draw is for: the "batch", each "pair" of partners, or each "image".
        each: probability for a pair or an image; of a batch it is `p`.
        bounds: smallest and largest share of the sides of a CutMix rectangle, which then lies inside of the image.
        p: probability, per batch.
    """

    mixup_alpha: Annotated[float, Ge(0)] = 0.8
    cutmix_alpha: Annotated[float, Ge(0)] = 1.0
    switch: Annotated[float, Ge(0), Le(1)] = 0.5
    per: Literal["batch", "pair", "image"] = "batch"
    each: Annotated[float, Ge(0), Le(1)] = 1.0
    bounds: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] | None = None
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def __post_init__(self) -> None:
        if not (self.mixup_alpha or self.cutmix_alpha):
            raise ValueError("give mixup_alpha or cutmix_alpha")

    def __call__(self, images: Tensor, targets: Tensor, rng: Generator, num_classes: int) -> Mixed:
        """Images (N, C, H, W) float and targets (N,) or (N, K) to the same and (N, K) float32."""
        rows, count = soft(targets, num_classes), len(images)
        groups = {
            "batch": [[*range(count)]],
            "pair": [[i, count - 1 - i] for i in range(count // 2)],
            "image": [[i] for i in range(count)],
        }[self.per]
        mixed, others, shares = images.clone(), images.flip(0), torch.ones(count, 1)
        for members in groups:
            if self.per == "batch" or rng.random() < self.each:
                mixed[members], shares[members] = self.mix(images[members], others[members], rng)
        shares = shares.to(rows.device)
        return mixed, rows * shares + rows.flip(0) * (1 - shares)

    def mix(self, images: Tensor, others: Tensor, rng: Generator) -> tuple[Tensor, float]:
        """Images and the share of them that stays."""
        cut = rng.random() < self.switch if self.mixup_alpha else True
        if not (cut and self.cutmix_alpha):
            return Mixup(self.mixup_alpha).mix(images, others, rng)
        if self.bounds is None:
            return CutMix(self.cutmix_alpha).mix(images, others, rng)
        sides = images.shape[-2:]
        low, high = ([max(int(side * b), 1) for side in sides] for b in self.bounds)
        tall, wide = (int(rng.integers(a, max(b, a + 1))) for a, b in zip(low, high, strict=True))
        top, left = (
            int(rng.integers(0, side - cut + 1))
            for side, cut in zip(sides, (tall, wide), strict=True)
        )
        mixed = images.clone()
        window = np.s_[:, :, top : top + tall, left : left + wide]
        mixed[window] = others[window]
        return mixed, 1 - tall * wide / (sides[0] * sides[1])


def patches(height: int, width: int, share: float, decay: float, rng: Generator) -> np.ndarray:
    """Mask (H, W) bool, true on round(`share` * H * W) places in irregular patches."""
    down = np.fft.fftfreq(height)[:, None]
    frequency = np.maximum(np.hypot(down, np.fft.rfftfreq(width)[None, :]), 1 / max(height, width))
    noise = rng.standard_normal((2, *frequency.shape))
    wave = np.fft.irfft2((noise[0] + 1j * noise[1]) / frequency**decay, s=(height, width))
    order = np.argsort(-wave, axis=None, kind="stable")
    mask = np.zeros(height * width, bool)
    mask[order[: round(share * height * width)]] = True
    return mask.reshape(height, width)
