"""Losses of single-label classification."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from tinysight.registry import losses


@losses.register("cross_entropy")
class CrossEntropy(nn.Module):
    """Cross-entropy of softmax(logits) with class ids or with target distributions.

    Args:
        label_smoothing: weight of the uniform distribution that is mixed into the target.
        reduction: "mean" over the batch, "sum", or "none" for one value a sample.
        softmax_targets: apply softmax to targets given as distributions. For targets that are
            logits; the reference does it to every wide target unless it smooths, also to mixed
            labels, where it is wrong.

    Source: the reference's `CELoss`, and `SoftTargetCrossEntropy` for distributions.
    """

    def __init__(
        self,
        label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
        reduction: Literal["mean", "sum", "none"] = "mean",
        softmax_targets: bool = False,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.softmax_targets = softmax_targets

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and targets (N,) int64 in [0, K) or (N, K) distributions -> () or (N,).

        Raises:
            ValueError: targets of another shape.
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
        return F.cross_entropy(
            logits, targets, reduction=self.reduction, label_smoothing=self.label_smoothing
        )
