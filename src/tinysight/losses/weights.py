"""How much classes count, from how often they occur."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Ratio: TypeAlias = Sequence[float] | np.ndarray | Tensor | None


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
