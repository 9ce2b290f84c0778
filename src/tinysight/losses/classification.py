"""Losses of classification, with one label or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from tinysight.registry import losses

Ratio: TypeAlias = Sequence[float] | np.ndarray | Tensor | None


@losses.register("cross_entropy")
class CrossEntropy(nn.Module):
    """Cross-entropy of softmax(logits) with class ids or with target distributions.

    Args:
        label_smoothing: weight of the uniform distribution that is mixed into the target.
        reduction: "mean" over the batch, "sum", or "none" for one value a sample.
        softmax_targets: apply softmax to targets given as distributions. For targets that are
            logits; PaddleClas does it to every wide target unless it smooths, also to mixed
            labels, where it is wrong.
        class_weights: factor on the loss of a sample of each class, K of them; "balanced": such
            that all classes weigh the same in training, on average 1. A sample of several classes
            has the mean of theirs. The mean is still over N, so that small batches are not biased.
        label_ratio: share of training images with each class, (K,); for "balanced".

    Raises:
        ValueError: "balanced" without `label_ratio`, or with a class that does not occur.

    Source: PaddleClas' `CELoss`, and `SoftTargetCrossEntropy` for distributions.
    """

    weight: Tensor | None

    def __init__(
        self,
        label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
        reduction: Literal["mean", "sum", "none"] = "mean",
        softmax_targets: bool = False,
        class_weights: Literal["balanced"] | tuple[Annotated[float, Ge(0)], ...] | None = None,
        label_ratio: Ratio = None,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.softmax_targets = softmax_targets
        weight = None
        if class_weights == "balanced":
            weight = balanced_weights(label_ratio)
        elif class_weights is not None:
            weight = torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weight", weight, persistent=False)  # the recipe's, not the run's

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and targets (N,) int64 in [0, K) or (N, K) distributions -> () or (N,).

        Raises:
            ValueError: targets of another shape, or class weights of another number of classes.
        """
        if targets.shape not in (logits.shape, logits.shape[:1]):
            raise ValueError(
                f"targets are (N,) class ids or (N, K) distributions for logits "
                f"{tuple(logits.shape)}, got {tuple(targets.shape)}"
            )
        if targets.ndim == 2:
            targets = targets.to(logits.dtype)
            if self.softmax_targets:
                targets = targets.softmax(1)
        if self.weight is None:
            return F.cross_entropy(
                logits, targets, reduction=self.reduction, label_smoothing=self.label_smoothing
            )
        if len(self.weight) != logits.shape[1]:
            raise ValueError(f"{len(self.weight)} class weights for {logits.shape[1]} classes")
        weights = self.weight[targets] if targets.ndim == 1 else targets @ self.weight
        value = weights * F.cross_entropy(
            logits, targets, reduction="none", label_smoothing=self.label_smoothing
        )
        return reduced(value, self.reduction)


@losses.register("multilabel")
class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of sigmoid(logits) with labels that hold independently of each other.

    A label below 0 is unknown.

    Args:
        label_smoothing: how far the targets are drawn to the middle.
        smooth_towards: "half": to 1/2, so that 0 and 1 are treated alike; "uniform": to 1 / K, as
            PaddleClas does, which hardly lifts the zeros of many labels.
        sum_labels: the sum of a sample's labels, averaged over samples, instead of the mean of all.
        balance: factors e^(1 - ratio) on present labels and e^ratio on absent ones, by the share of
            training images with the label: what is rare weighs more.
        ignore_unknown: unknown labels count nothing. False takes their numbers for targets, as the
            PaddleClas does unless it balances without smoothing.
        label_ratio: those shares, (K,).

    Raises:
        ValueError: `balance` without `label_ratio`.

    Source: PaddleClas' `MultiLabelLoss` (`size_sum`, `weight_ratio`).
    """

    ratio: Tensor | None

    def __init__(
        self,
        label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
        smooth_towards: Literal["half", "uniform"] = "half",
        sum_labels: bool = False,
        balance: bool = False,
        ignore_unknown: bool = True,
        label_ratio: Ratio = None,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.smooth_towards = smooth_towards
        self.sum_labels = sum_labels
        self.ignore_unknown = ignore_unknown
        ratio = ratio_tensor(label_ratio, "balance") if balance else None
        self.register_buffer("ratio", ratio, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and targets (N, K) of 0, 1, anything between, or below 0 -> ().

        Raises:
            ValueError: targets of another shape, or ratios of another number of labels.
        """
        targets = _same_shape(logits, targets)
        known = (targets >= 0) if self.ignore_unknown else torch.ones_like(targets)
        known = known.to(logits.dtype)
        presence = 1.0 if self.ratio is None else presence_weights(targets, self.ratio)
        if self.label_smoothing:
            middle = 0.5 if self.smooth_towards == "half" else 1.0 / logits.shape[1]
            targets = torch.lerp(targets, torch.full_like(targets, middle), self.label_smoothing)
        # A known place for the unknown keeps their gradient finite, and 0.
        value = F.binary_cross_entropy_with_logits(logits, targets * known, reduction="none")
        value = value * known * presence
        return value.sum(1).mean() if self.sum_labels else value.mean()


@losses.register("multilabel_asymmetric")
class MultiLabelAsymmetric(nn.Module):
    """Asymmetric loss, arXiv:2009.14119: absent labels that are easy hardly count.

    With p = sigmoid(logits): -(1 - p)^gamma_present log p for a present label; for an absent one
    -q^gamma_absent log(1 - q), with q = max(p - clip, 0). A label below 0 is unknown and counts
    nowhere.

    Args:
        gamma_present: focusing of present labels.
        gamma_absent: focusing of absent labels.
        clip: probability below which an absent label counts nothing; 0 for none.
        eps: lower limit of what the logarithm is taken of.
        focal_gradient: let the gradient through the focusing factors too.
        reduction: "sum" of all labels and samples, their "mean", or "none": (N, K).
    """

    def __init__(
        self,
        gamma_present: Annotated[float, Ge(0)] = 1.0,
        gamma_absent: Annotated[float, Ge(0)] = 4.0,
        clip: Annotated[float, Ge(0), Lt(1)] = 0.05,
        eps: Annotated[float, Gt(0)] = 1e-8,
        focal_gradient: bool = False,
        reduction: Literal["sum", "mean", "none"] = "sum",
    ) -> None:
        super().__init__()
        self.gamma_present, self.gamma_absent = gamma_present, gamma_absent
        self.clip, self.eps = clip, eps
        self.focal_gradient = focal_gradient
        self.reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and targets (N, K) of 0 and 1, anything between, or below 0 -> ().

        Raises:
            ValueError: targets of another shape.
        """
        targets = _same_shape(logits, targets)
        known = targets >= 0
        targets = targets.clamp(min=0.0)
        present = logits.sigmoid()
        absent = (1.0 - present + self.clip).clamp(max=1.0)
        value = targets * present.clamp(min=self.eps).log()
        value = value + (1.0 - targets) * absent.clamp(min=self.eps).log()
        with torch.set_grad_enabled(self.focal_gradient and torch.is_grad_enabled()):
            wrong = 1.0 - present * targets - absent * (1.0 - targets)
            gamma = self.gamma_present * targets + self.gamma_absent * (1.0 - targets)
            factor = wrong.pow(gamma)
        return reduced(-factor * value * known, self.reduction)


def reduced(value: Tensor, reduction: str) -> Tensor:
    """`value` as it is ("none"), or its "sum" or "mean"."""
    if reduction == "none":
        return value
    return value.sum() if reduction == "sum" else value.mean()


def _same_shape(logits: Tensor, targets: Tensor) -> Tensor:
    if targets.shape != logits.shape:
        raise ValueError(
            f"targets are (N, K) as the logits {tuple(logits.shape)}, got {tuple(targets.shape)}"
        )
    return targets.to(logits.dtype)


def ratio_tensor(label_ratio: Ratio, asked_by: str) -> Tensor:
    """Share of training images with each label, (K,) float32.

    Raises:
        ValueError: it is not known.
    """
    if label_ratio is None:
        raise ValueError(f"{asked_by} needs to know how often each label occurs in training")
    return torch.as_tensor(label_ratio, dtype=torch.float32).flatten()


def balanced_weights(label_ratio: Ratio) -> Tensor:
    """1 / (K * ratio), (K,) float32: every class weighs the same, a training image 1 on average.

    Raises:
        ValueError: it is not known, or a class does not occur.
    """
    ratio = ratio_tensor(label_ratio, "class_weights: balanced")
    absent = (ratio <= 0).nonzero().flatten().tolist()
    if absent:
        raise ValueError(f"class_weights: balanced, but no training image has class {absent[0]}")
    return 1.0 / (len(ratio) * ratio)


def presence_weights(targets: Tensor, ratio: Tensor) -> Tensor:
    """e^(1 - ratio) where a label is present, e^ratio where it is not; (N, K), (K,) -> (N, K).

    Raises:
        ValueError: ratios of another number of labels.
    """
    if len(ratio) != targets.shape[1]:
        raise ValueError(f"ratios of {len(ratio)} labels, not {targets.shape[1]}")
    return torch.where(targets > 0.5, 1.0 - ratio, ratio).exp()
