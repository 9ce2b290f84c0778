"""Distillation losses: between the outputs of a student and a teacher.

A gradient reaches both wherever the formula has one for both; a teacher that should not learn is
run without gradients, or its outputs are detached. A loss is called with the outputs (N, K) of student and
teacher, and with the labels (N,) where it takes them; it gives ().
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, TypeAlias

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from tinysight.losses.classification import FunctionLoss, Ratio, presence_weights, ratio_tensor
from tinysight.registry import distillation_losses

Activation: TypeAlias = Literal["softmax", "sigmoid", "none"]
Positive: TypeAlias = Annotated[float, Gt(0)]
Weight: TypeAlias = Annotated[float, Ge(0)]
Side: TypeAlias = Annotated[int, Ge(1)]
Pool: TypeAlias = Side | tuple[Side, Side] | None

_EPS = 1e-12


def activated(x: Tensor, activation: str) -> Tensor:
    """Softmax or sigmoid over the last axis, or `x` as it is ("none")."""
    if activation == "none":
        return x
    return x.softmax(-1) if activation == "softmax" else x.sigmoid()


@distillation_losses.register("dml")
def dml(
    activation: Activation = "softmax",
    sum_classes: bool = False,
    balance: bool = False,
    eps: Positive = _EPS,
    label_ratio: Ratio = None,
) -> FunctionLoss:
    """Deep mutual learning, arXiv:1706.00384: the mean divergence of two outputs in both directions, times K.

    Args:
        activation: of the logits. PaddleClas takes softmax for several labels too.
        sum_classes: the sum over classes, averaged over samples, instead of the mean of all.
        balance: factors by how rare a label is, see `multilabel`; needs labels (N, K).
        eps: added to both probabilities under the logarithm.
        label_ratio: share of training images with each label, (K,); for `balance`.

    Source: PaddleClas' `DMLLoss`, which multiplies by K as well: the mean is K times the usual one
    of all classes, the sum K times that again.
    """

    def measure(
        student: Tensor,
        teacher: Tensor,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        p, q = (activated(x, activation) for x in (student, teacher))
        value = (p - q) * ((p + eps) / (q + eps)).log() * (p.shape[-1] / 2.0)
        if weights is not None:
            if targets is None:
                raise ValueError("balance needs the labels")
            value = value * presence_weights(targets, weights) * (targets > -1)
        return value.sum(1).mean() if sum_classes else value.mean()

    ratio = ratio_tensor(label_ratio, "balance") if balance else None
    return FunctionLoss(measure, ratio, balance)


@distillation_losses.register("distance")
def distance(
    mode: Literal["l1", "l2", "smooth_l1"] = "l1",
    activation: Activation = "none",
    reduction: Literal["mean", "sum", "none"] = "mean",
    delta: Positive = 1.0,
) -> FunctionLoss:
    """Difference of two outputs of one shape: absolute, squared, or squared up to `delta` and absolute beyond.

    Args:
        mode: which.
        activation: of both before they are compared.
        reduction: "mean" or "sum" of all values, or "none": their shape.
        delta: where smooth_l1 turns from d^2 / 2 to delta * (d - delta / 2).

    Source: PaddlePaddle's L1Loss, MSELoss and SmoothL1Loss, to which PaddleClas' `DistanceLoss` hands its options.
    """
    kinds: dict[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss}
    measured = kinds.get(mode, partial(F.huber_loss, delta=delta))

    def measure(student: Tensor, teacher: Tensor) -> Tensor:
        if student.shape != teacher.shape:
            raise ValueError(f"shapes {tuple(student.shape)} and {tuple(teacher.shape)} differ")
        both = activated(student, activation), activated(teacher, activation)
        return measured(*both, reduction=reduction)

    return FunctionLoss(measure)


@distillation_losses.register("kl_div")
def kl_div(temperature: Positive = 4.0) -> FunctionLoss:
    """Divergence of the student's softmax from the teacher's, arXiv:1503.02531, times T^2.

    The gradient to the teacher is not followed.

    Args:
        temperature: T, of both; above 1 it shows what the teacher finds similar.
    """
    return FunctionLoss(lambda student, teacher: divergence(student, teacher.detach(), temperature))


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of softmax(student / T) from softmax(teacher / T), per sample, times T^2."""
    log_p, log_q = ((x / temperature).log_softmax(1) for x in (student, teacher))
    value = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return value * temperature**2


@distillation_losses.register("soft_cross_entropy")
def soft_cross_entropy(label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0) -> FunctionLoss:
    """Cross-entropy of the student's softmax with the teacher's: the loss of SSLD.

    The gradient to the teacher is not followed.

    Args:
        label_smoothing: weight of the uniform distribution that is mixed into the teacher's.

    Source: PaddleClas' `DistillationCELoss`, which mixes it into the teacher's logits without a softmax.
    """
    loss = partial(F.cross_entropy, label_smoothing=label_smoothing)
    return FunctionLoss(lambda student, teacher: loss(student, teacher.softmax(1).detach()))


@distillation_losses.register("dkd")
def dkd(
    temperature: Positive = 1.0,
    target_weight: Weight = 1.0,
    rest_weight: Weight = 1.0,
    teacher_target: bool = False,
) -> FunctionLoss:
    """Decoupled distillation, arXiv:2203.08679: the target class against the rest, and within the rest.

    The gradient to the teacher is not followed. Takes labels unless `teacher_target`.

    Args:
        temperature: of both networks.
        target_weight: of the target class against all others.
        rest_weight: of the divergence among the others.
        teacher_target: the teacher's best class is the target, not the label.
    """

    def measure(student: Tensor, teacher: Tensor, targets: Tensor | None = None) -> Tensor:
        teacher, t = teacher.detach(), temperature
        own = F.one_hot(_targets("dkd", teacher, targets, teacher_target), student.shape[1]).bool()
        both = (student, teacher)
        # Logits of two classes: the own one, and all others together.
        rests = [(x / t).masked_fill(own, -torch.inf).logsumexp(1) * t for x in both]
        two = [torch.stack([x[own], rest], 1) for x, rest in zip(both, rests, strict=True)]
        others = [x.masked_fill(own, -1000.0 * t) for x in both]
        rest = divergence(others[0], others[1], t)
        return target_weight * divergence(two[0], two[1], t) + rest_weight * rest

    return FunctionLoss(measure, with_labels=not teacher_target)


@distillation_losses.register("wsl")
def wsl(temperature: Positive = 2.0, teacher_target: bool = False) -> FunctionLoss:
    """Weighted soft labels, arXiv:2102.00650: softened cross-entropy, less where the student is ahead.

    The weight is 1 - e^-r, r being the student's cross-entropy over the teacher's. Takes labels unless
    `teacher_target`.

    Args:
        temperature: of both networks.
        teacher_target: the teacher's best class stands for the label.
    """

    def measure(student: Tensor, teacher: Tensor, targets: Tensor | None = None) -> Tensor:
        targets = _targets("wsl", teacher, targets, teacher_target)
        with torch.no_grad():
            both = (student, teacher)
            ahead, behind = (F.cross_entropy(x, targets, reduction="none") for x in both)
            weight = 1.0 - (-(ahead / (behind + 1e-7)).clamp(min=0.0)).exp()
        return (weight * _softened(student, teacher, temperature)).mean()

    return FunctionLoss(measure, with_labels=True)


@distillation_losses.register("skd")
def skd(
    temperature: Positive = 1.0,
    multiplier: Positive = 2.0,
    alpha: Annotated[float, Ge(0), Le(1)] = 0.9,
    teacher_target: bool = False,
) -> FunctionLoss:
    """Spherical distillation, arXiv:2010.07485: both logits standardised, so that only directions count.

    Takes labels unless `teacher_target`.

    Args:
        temperature: of both networks.
        multiplier: standard deviation that the logits are given.
        alpha: weight of the softened cross-entropy with the teacher; the rest is with the label.
        teacher_target: the teacher's best class stands for the label.
    """

    def measure(student: Tensor, teacher: Tensor, targets: Tensor | None = None) -> Tensor:
        targets = _targets("skd", teacher, targets, teacher_target)
        p, q = (F.layer_norm(x, x.shape[1:], eps=1e-7) * multiplier for x in (student, teacher))
        taught = _softened(p, q, temperature).mean()
        return alpha * taught + (1.0 - alpha) * F.cross_entropy(p, targets)

    return FunctionLoss(measure, with_labels=not teacher_target)


def _softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softmax(student / T) with softmax(teacher / T), times T^2, (N,)."""
    p, q = (teacher / temperature).softmax(1), (student / temperature).log_softmax(1)
    return temperature**2 * -(p * q).sum(1)


def _targets(name: str, teacher: Tensor, targets: Tensor | None, by_teacher: bool) -> Tensor:
    """The labels, or the teacher's best classes, (N,)."""
    if by_teacher:
        return teacher.argmax(1)
    if targets is None:
        raise ValueError(f"{name} without teacher_target needs the labels")
    return targets


@distillation_losses.register("dist")
def dist(inter_weight: Weight = 1.0, intra_weight: Weight = 1.0) -> FunctionLoss:
    """DIST, arXiv:2205.10536: the student's probabilities should correlate with the teacher's.

    Args:
        inter_weight: of the correlation over the classes of a sample.
        intra_weight: of the correlation over the samples of a class.
    """

    def measure(student: Tensor, teacher: Tensor) -> Tensor:
        p, q = student.softmax(1), teacher.softmax(1)
        return inter_weight * _uncorrelated(p, q) + intra_weight * _uncorrelated(p.T, q.T)

    return FunctionLoss(measure)


def _uncorrelated(x: Tensor, y: Tensor) -> Tensor:
    """1 - mean correlation of the rows."""
    x, y = (z - z.mean(1, keepdim=True) for z in (x, y))
    return 1.0 - F.cosine_similarity(x, y, dim=1, eps=1e-8).mean()


# Relational distillation, arXiv:1904.05068: distances and angles among the samples of a batch. The
# widths of the two networks' embeddings may differ, and with `pool` the sides of their feature maps.


def pooled(x: Tensor, pool: Pool) -> Tensor:
    """(N, C, h, w), averaged to a side or (height, width) if one is given, or (N, D) -> (N, D)."""
    return (x if pool is None or x.ndim < 4 else F.adaptive_avg_pool2d(x, pool)).flatten(1)


@distillation_losses.register("rkd_distance")
def rkd_distance(mean_of_all: bool = False, pool: Pool = None) -> FunctionLoss:
    """Distances between samples, in units of their mean, as the teacher has them.

    Args:
        mean_of_all: the unit is the mean with each sample's distance to itself in it, as in
            PaddleClas, where it depends on the batch size.
        pool: side or (height, width) that feature maps (N, C, H, W) are averaged to first; None takes them whole.
    """

    def relative(x: Tensor) -> Tensor:
        x, count = pooled(x, pool).float(), len(x)
        distances = (x[:, None] - x).square().sum(2).clamp(min=_EPS).sqrt()
        pairs = count * (count if mean_of_all else max(count - 1, 1))
        return distances / (distances.sum() / pairs)

    return FunctionLoss(lambda own, other: F.smooth_l1_loss(relative(own), relative(other)))


@distillation_losses.register("rkd_angle")
def rkd_angle(pool: Pool = None) -> FunctionLoss:
    """Cosines of the angles that any two samples make as seen from a third, as the teacher has them.

    Args:
        pool: see `rkd_distance`.
    """

    def angles(x: Tensor) -> Tensor:
        x = pooled(x, pool)
        difference = F.normalize(x[None] - x[:, None], dim=2)
        return difference @ difference.transpose(1, 2)

    return FunctionLoss(lambda student, teacher: F.smooth_l1_loss(angles(student), angles(teacher)))
