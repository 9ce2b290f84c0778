"""What a student should take over from a teacher: losses of two networks' outputs.

A gradient reaches both wherever the formula has one for both; a teacher that should not learn is
run without gradients, or its outputs are detached.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from tinysight.losses.weights import Ratio, presence_weights, ratio_tensor
from tinysight.registry import distillation_losses

_EPS = 1e-12


def activated(x: Tensor, activation: str) -> Tensor:
    """Softmax or sigmoid over the last axis, or `x` as it is ("none")."""
    if activation == "none":
        return x
    return x.softmax(-1) if activation == "softmax" else x.sigmoid()


@distillation_losses.register("dml")
class MutualLearning(nn.Module):
    """Deep mutual learning, arXiv:1706.00384: the mean divergence of two outputs in both directions, times K.

    Args:
        activation: of the logits. PaddleClas takes softmax for several labels too.
        sum_classes: the sum over classes, averaged over samples, instead of the mean of all.
        balance: factors by how rare a label is, see `multilabel`; needs targets.
        label_ratio: share of training images with each label, (K,); for `balance`.

    Source: PaddleClas' `DMLLoss`, which multiplies by K as well: the mean is K times the usual one
    of all classes, the sum K times that again.
    """

    ratio: Tensor | None

    def __init__(
        self,
        activation: Literal["softmax", "sigmoid", "none"] = "softmax",
        sum_classes: bool = False,
        balance: bool = False,
        label_ratio: Ratio = None,
    ) -> None:
        super().__init__()
        self.activation, self.sum_classes = activation, sum_classes
        ratio = ratio_tensor(label_ratio, "balance") if balance else None
        self.register_buffer("ratio", ratio, persistent=False)

    def forward(self, student: Tensor, teacher: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (N, K), logits (N, K), for `balance` labels (N, K) -> ().

        Raises:
            ValueError: `balance` without labels.
        """
        p, q = (activated(x, self.activation) for x in (student, teacher))
        log = ((p + _EPS) / (q + _EPS)).log()
        value = (p - q) * log * (p.shape[-1] / 2.0)
        if self.ratio is not None:
            if targets is None:
                raise ValueError("balance needs the labels")
            value = value * presence_weights(targets, self.ratio) * (targets > -1)
        return value.sum(1).mean() if self.sum_classes else value.mean()


@distillation_losses.register("distance")
class Distance(nn.Module):
    """Mean difference of two outputs: absolute, squared, or squared up to 1 and absolute beyond.

    Args:
        mode: which.
        activation: of both before they are compared.
    """

    def __init__(
        self,
        mode: Literal["l1", "l2", "smooth_l1"] = "l1",
        activation: Literal["softmax", "sigmoid", "none"] = "none",
    ) -> None:
        super().__init__()
        self.mode, self.activation = mode, activation

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Two tensors of one shape -> ().

        Raises:
            ValueError: of two shapes.
        """
        if student.shape != teacher.shape:
            raise ValueError(f"shapes {tuple(student.shape)} and {tuple(teacher.shape)} differ")
        p, q = (activated(x, self.activation) for x in (student, teacher))
        kinds = {"l1": F.l1_loss, "l2": F.mse_loss, "smooth_l1": F.smooth_l1_loss}
        value: Tensor = kinds[self.mode](p, q)
        return value


@distillation_losses.register("kl_div")
class KLDivergence(nn.Module):
    """Divergence of the student's softmax from the teacher's, arXiv:1503.02531, times T^2.

    Args:
        temperature: T, of both; above 1 it shows what the teacher finds similar.
    """

    def __init__(self, temperature: Annotated[float, Gt(0)] = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (N, K), logits (N, K), whose gradient is not followed -> ()."""
        return softened_divergence(student, teacher.detach(), self.temperature)


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of softmax(student / T) from softmax(teacher / T), per sample, times T^2."""
    log_p, log_q = ((x / temperature).log_softmax(1) for x in (student, teacher))
    value = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return value * temperature**2


@distillation_losses.register("dkd")
class DecoupledKD(nn.Module):
    """Decoupled distillation, arXiv:2203.08679: the target class against the rest, and within the rest.

    Args:
        temperature: of both networks.
        target_weight: of the target class against all others.
        rest_weight: of the divergence among the others.
        teacher_target: the teacher's best class is the target, not the label.
    """

    def __init__(
        self,
        temperature: Annotated[float, Gt(0)] = 1.0,
        target_weight: Annotated[float, Ge(0)] = 1.0,
        rest_weight: Annotated[float, Ge(0)] = 1.0,
        teacher_target: bool = False,
    ) -> None:
        super().__init__()
        self.temperature, self.teacher_target = temperature, teacher_target
        self.target_weight, self.rest_weight = target_weight, rest_weight

    def forward(self, student: Tensor, teacher: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (N, K), logits (N, K), whose gradient is not followed, labels (N,) -> ().

        Raises:
            ValueError: no labels, and no `teacher_target`.
        """
        teacher, t = teacher.detach(), self.temperature
        if self.teacher_target:
            targets = teacher.argmax(1)
        if targets is None:
            raise ValueError("dkd without teacher_target needs the labels")
        own = F.one_hot(targets, student.shape[1]).bool()
        pairs = [torch.stack([x, _rest(x, own)], 1) for x in ((student / t), (teacher / t))]
        two = [torch.cat([p[:, 0][own][:, None], p[:, 1, :1]], 1) for p in pairs]
        target = softened_divergence(two[0] * t, two[1] * t, t)
        others = [x.masked_fill(own, -1000.0 * t) for x in (student, teacher)]
        rest = softened_divergence(others[0], others[1], t)
        return self.target_weight * target + self.rest_weight * rest


def _rest(x: Tensor, own: Tensor) -> Tensor:
    """Logit of all classes but the own one together, in every column."""
    return x.masked_fill(own, -torch.inf).logsumexp(1, keepdim=True).expand_as(x)


@distillation_losses.register("wsl")
class WeightedSoftLabels(nn.Module):
    """Weighted soft labels, arXiv:2102.00650: softened cross-entropy, less where the student is ahead.

    The weight is 1 - e^-r, r being the student's cross-entropy over the teacher's.

    Args:
        temperature: of both networks.
    """

    def __init__(self, temperature: Annotated[float, Gt(0)] = 2.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K), logits (N, K), labels (N,) -> ()."""
        t = self.temperature
        value = -((teacher / t).softmax(1) * (student / t).log_softmax(1)).sum(1)
        with torch.no_grad():
            ahead, behind = (
                F.cross_entropy(x, targets, reduction="none") for x in (student, teacher)
            )
            weight = 1.0 - (-(ahead / (behind + 1e-7)).clamp(min=0.0)).exp()
        return t**2 * (weight * value).mean()


@distillation_losses.register("skd")
class SphericalKD(nn.Module):
    """Spherical distillation, arXiv:2010.07485: both logits standardised, so that only directions count.

    Args:
        temperature: of both networks.
        multiplier: standard deviation that the logits are given.
        alpha: weight of the softened cross-entropy with the teacher; the rest is with the label.
        teacher_target: the teacher's best class stands for the label.
    """

    def __init__(
        self,
        temperature: Annotated[float, Gt(0)] = 1.0,
        multiplier: Annotated[float, Gt(0)] = 2.0,
        alpha: Annotated[float, Ge(0), Le(1)] = 0.9,
        teacher_target: bool = False,
    ) -> None:
        super().__init__()
        self.temperature, self.multiplier = temperature, multiplier
        self.alpha, self.teacher_target = alpha, teacher_target

    def forward(self, student: Tensor, teacher: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (N, K), logits (N, K), labels (N,) -> ().

        Raises:
            ValueError: no labels, and no `teacher_target`.
        """
        if self.teacher_target:
            targets = teacher.argmax(1)
        if targets is None:
            raise ValueError("skd without teacher_target needs the labels")
        p, q = (
            F.layer_norm(x, x.shape[1:], eps=1e-7) * self.multiplier for x in (student, teacher)
        )
        t = self.temperature
        taught = -((q / t).softmax(1) * (p / t).log_softmax(1)).sum(1).mean() * t**2
        return self.alpha * taught + (1.0 - self.alpha) * F.cross_entropy(p, targets)


@distillation_losses.register("dist")
class RelationalMatch(nn.Module):
    """DIST, arXiv:2205.10536: the student's probabilities should correlate with the teacher's.

    Args:
        inter_weight: of the correlation over the classes of a sample.
        intra_weight: of the correlation over the samples of a class.
    """

    def __init__(
        self,
        inter_weight: Annotated[float, Ge(0)] = 1.0,
        intra_weight: Annotated[float, Ge(0)] = 1.0,
    ) -> None:
        super().__init__()
        self.inter_weight, self.intra_weight = inter_weight, intra_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (N, K), logits (N, K) -> ()."""
        p, q = student.softmax(1), teacher.softmax(1)
        inter, intra = _uncorrelated(p, q), _uncorrelated(p.T, q.T)
        return self.inter_weight * inter + self.intra_weight * intra


def _uncorrelated(x: Tensor, y: Tensor) -> Tensor:
    """1 - mean correlation of the rows."""
    x, y = (z - z.mean(1, keepdim=True) for z in (x, y))
    return 1.0 - F.cosine_similarity(x, y, dim=1, eps=1e-8).mean()
