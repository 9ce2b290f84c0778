"""Losses of classification, with one label or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from tinysight.registry import losses

Ratio: TypeAlias = Sequence[float] | np.ndarray | Tensor | None


class FunctionLoss(nn.Module):
    """A function of tensors as a module.

    Args:
        measure: from the tensors that the module is called with to () or (N,).
        weights: numbers of each class, (K,), which move with the module and are passed to `measure` by this name; None
            without.
        with_labels: a distillation loss is called with the labels too.
    """

    weights: Tensor | None

    def __init__(
        self,
        measure: Callable[..., Tensor],
        weights: Tensor | None = None,
        with_labels: bool = False,
    ) -> None:
        super().__init__()
        self.measure, self.with_labels = measure, with_labels
        self.register_buffer("weights", weights, persistent=False)  # the recipe's, not the run's

    def forward(self, *tensors: Tensor) -> Tensor:
        """What the loss is of -> () or (N,).

        Raises:
            ValueError: shapes that do not fit, or a tensor is missing that the loss needs.
        """
        if self.weights is None:
            return self.measure(*tensors)
        return self.measure(*tensors, weights=self.weights)


@losses.register("cross_entropy")
def cross_entropy(
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
    softmax_targets: bool = False,
    class_weights: Literal["balanced"] | tuple[Annotated[float, Ge(0)], ...] | None = None,
    label_ratio: Ratio = None,
) -> FunctionLoss:
    """Cross-entropy of softmax(logits) with class ids or with target distributions.

    Logits (N, K) and targets (N,) int64 in [0, K) or (N, K) distributions -> () or (N,).

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
    loss = partial(F.cross_entropy, label_smoothing=label_smoothing)

    def measure(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        if targets.shape not in (logits.shape, logits.shape[:1]):
            shapes = f"{tuple(logits.shape)}, got {tuple(targets.shape)}"
            what = "targets are (N,) class ids or (N, K) distributions for logits"
            raise ValueError(f"{what} {shapes}")
        if targets.ndim == 2:
            targets = targets.to(logits.dtype)
            if softmax_targets:
                targets = targets.softmax(1)
        if weights is None:
            return loss(logits, targets, reduction=reduction)
        if len(weights) != logits.shape[1]:
            raise ValueError(f"{len(weights)} class weights for {logits.shape[1]} classes")
        factors = weights[targets] if targets.ndim == 1 else targets @ weights
        return reduced(factors * loss(logits, targets, reduction="none"), reduction)

    if class_weights == "balanced":
        return FunctionLoss(measure, balanced_weights(label_ratio))
    given = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
    return FunctionLoss(measure, given)


@losses.register("multilabel")
def multilabel(
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
    smooth_towards: Literal["half", "uniform"] = "half",
    sum_labels: bool = False,
    balance: bool = False,
    ignore_unknown: bool = True,
    label_ratio: Ratio = None,
) -> FunctionLoss:
    """Binary cross-entropy of sigmoid(logits) with labels that hold independently of each other.

    Logits (N, K) and targets (N, K) of 0, 1 or anything between -> (). A label below 0 is unknown.

    Args:
        label_smoothing: how far the targets are drawn to the middle.
        smooth_towards: "half": to 1/2, so that 0 and 1 are treated alike; "uniform": to 1 / K, as
            PaddleClas does, which hardly lifts the zeros of many labels.
        sum_labels: the sum of a sample's labels, averaged over samples, instead of the mean of all.
        balance: factors e^(1 - ratio) on present labels and e^ratio on absent ones, by the share of
            training images with the label: what is rare weighs more.
        ignore_unknown: unknown labels count nothing. False takes their numbers for targets, as
            PaddleClas does unless it balances without smoothing.
        label_ratio: those shares, (K,).

    Raises:
        ValueError: `balance` without `label_ratio`.

    Source: PaddleClas' `MultiLabelLoss` (`size_sum`, `weight_ratio`).
    """

    def measure(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        targets = _same_shape(logits, targets)
        known = (targets >= 0) if ignore_unknown else torch.ones_like(targets)
        known = known.to(logits.dtype)
        presence = 1.0 if weights is None else presence_weights(targets, weights)
        if label_smoothing:
            middle = 0.5 if smooth_towards == "half" else 1.0 / logits.shape[1]
            targets = torch.lerp(targets, torch.full_like(targets, middle), label_smoothing)
        # A known place for the unknown keeps their gradient finite, and 0.
        value = F.binary_cross_entropy_with_logits(logits, targets * known, reduction="none")
        value = value * known * presence
        return value.sum(1).mean() if sum_labels else value.mean()

    return FunctionLoss(measure, ratio_tensor(label_ratio, "balance") if balance else None)


@losses.register("multilabel_asymmetric")
def multilabel_asymmetric(
    gamma_present: Annotated[float, Ge(0)] = 1.0,
    gamma_absent: Annotated[float, Ge(0)] = 4.0,
    clip: Annotated[float, Ge(0), Lt(1)] = 0.05,
    eps: Annotated[float, Gt(0)] = 1e-8,
    focal_gradient: bool = False,
    reduction: Literal["sum", "mean", "none"] = "sum",
) -> FunctionLoss:
    """Asymmetric loss, arXiv:2009.14119: absent labels that are easy hardly count.

    With p = sigmoid(logits): -(1 - p)^gamma_present log p for a present label; for an absent one
    -q^gamma_absent log(1 - q), with q = max(p - clip, 0). Logits (N, K) and targets (N, K) of 0, 1 or
    anything between -> (). A label below 0 is unknown and counts nowhere.

    Args:
        gamma_present: focusing of present labels.
        gamma_absent: focusing of absent labels.
        clip: probability below which an absent label counts nothing; 0 for none.
        eps: lower limit of what the logarithm is taken of.
        focal_gradient: let the gradient through the focusing factors too.
        reduction: "sum" of all labels and samples, their "mean", or "none": (N, K).
    """

    def measure(logits: Tensor, targets: Tensor) -> Tensor:
        targets = _same_shape(logits, targets)
        known = targets >= 0
        targets = targets.clamp(min=0.0)
        present = logits.sigmoid()
        absent = (1.0 - present + clip).clamp(max=1.0)
        value = targets * present.clamp(min=eps).log()
        value = value + (1.0 - targets) * absent.clamp(min=eps).log()
        with torch.set_grad_enabled(focal_gradient and torch.is_grad_enabled()):
            wrong = 1.0 - present * targets - absent * (1.0 - targets)
            gamma = gamma_present * targets + gamma_absent * (1.0 - targets)
            factor = wrong.pow(gamma)
        return reduced(-factor * value * known, reduction)

    return FunctionLoss(measure)


def reduced(value: Tensor, reduction: str) -> Tensor:
    """`value` as it is ("none"), or its "sum" or "mean"."""
    if reduction == "none":
        return value
    return value.sum() if reduction == "sum" else value.mean()


def _same_shape(logits: Tensor, targets: Tensor) -> Tensor:
    if targets.shape != logits.shape:
        shapes = f"{tuple(logits.shape)}, got {tuple(targets.shape)}"
        raise ValueError(f"targets are (N, K) as the logits {shapes}")
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
