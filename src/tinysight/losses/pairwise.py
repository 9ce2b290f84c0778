"""Between the embeddings of a batch: lengths, distances, similarities, and who belongs together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-12  # below it a squared distance has no root that can be differentiated


def prepared(embeddings: Tensor, normalize: bool) -> Tensor:
    """Embeddings (N, D) in float32, with `normalize` of length 1."""
    embeddings = embeddings.float()
    return F.normalize(embeddings) if normalize else embeddings


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M), at least 0; by differences, so that near neighbours stay exact."""
    return (x[:, None] - y[None]).square().sum(2)


def distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M), at least 1e-6."""
    square = x.square().sum(1)[:, None] + y.square().sum(1) - 2.0 * x @ y.T
    return square.clamp(min=_TINY).sqrt()


def same(labels: Tensor, others: Tensor | None = None) -> Tensor:
    """Whether two labels are equal: (N,), (M,) -> (N, M) bool; `others` is `labels` by default."""
    others = labels if others is None else others
    return labels[:, None] == others[None]


def masked_max(values: Tensor, mask: Tensor) -> Tensor:
    """Largest value of each row where `mask` is true; rows without any give minus infinity."""
    return values.masked_fill(~mask, -torch.inf).amax(1)


def masked_min(values: Tensor, mask: Tensor) -> Tensor:
    """Smallest value of each row where `mask` is true; rows without any give infinity."""
    return values.masked_fill(~mask, torch.inf).amin(1)


def check_batch(embeddings: Tensor, labels: Tensor) -> None:
    """Refuse anything but (N, D) with labels (N,).

    Raises:
        ValueError: another shape.
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"embeddings (N, D) and labels (N,), got {tuple(embeddings.shape)} "
            f"and {tuple(labels.shape)}"
        )
