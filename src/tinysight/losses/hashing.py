"""Deep hashing: embeddings whose signs are codes, near for one label and far for two."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from tinysight.losses.pairwise import check_batch, same, squared_distances
from tinysight.registry import embedding_losses


@embedding_losses.register("dshsd")
class DSHSD(nn.Module):
    """Deep saliency hashing: squared distances, up to a margin of twice the width.

    Takes logits beside the embeddings: their cross-entropy is the other part.

    Args:
        weight: of the distances.

    Source: PaddleClas' `DSHSDLoss`, for single labels.
    """

    def __init__(self, weight: Annotated[float, Ge(0)] = 0.05) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, embeddings: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) int64, logits (N, K) -> ()."""
        check_batch(embeddings, labels)
        x, together = embeddings.float(), same(labels)
        distance = squared_distances(x, x)
        apart = (2.0 * x.shape[1] - distance).clamp(min=0.0)
        pairs = torch.where(together, distance, apart).mean() / 2.0
        return F.cross_entropy(logits, labels) + self.weight * pairs


@embedding_losses.register("lcdsh")
class LCDSH(nn.Module):
    """Locality-constrained deep supervised hashing: likelihood of pairs, and of those of the signs.

    Args:
        weight: of the difference between embeddings and their signs.

    Source: PaddleClas' `LCDSHLoss`.
    """

    def __init__(self, weight: Annotated[float, Ge(0)] = 3.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> ()."""
        check_batch(embeddings, labels)
        x = embeddings.float()
        sign = torch.where(same(labels), 1.0, -1.0)
        product = (x @ x.T * 0.5).clamp(-50.0, 50.0)
        codes = x.detach().sign()
        difference = product.sigmoid() - (codes @ codes.T * 0.5).sigmoid()
        return F.softplus(-sign * product).mean() + self.weight * difference.square().mean()


@embedding_losses.register("dch")
class DCH(nn.Module):
    """Deep Cauchy hashing, CVPR 2018: distances of codes on a Cauchy scale, both kinds of pairs equal.

    Args:
        gamma: scale of the distance, in bits.
        weight: of how far the embeddings are from codes.

    Source: PaddleClas' `DCHLoss`.
    """

    def __init__(
        self, gamma: Annotated[float, Gt(0)] = 20.0, weight: Annotated[float, Ge(0)] = 0.1
    ) -> None:
        super().__init__()
        self.gamma, self.weight = gamma, weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> ()."""
        check_batch(embeddings, labels)
        x, together = embeddings.float(), same(labels).float()
        apart = 1.0 - together
        weight = torch.ones_like(together)
        if bool(apart.any()):  # a sample is together with itself, so those pairs are there
            weight = together.numel() * (together / together.sum() + apart / apart.sum())
        distance = _bits(x, x)
        # log(1 + gamma / d), and for pairs that belong together log(d / gamma) more
        cauchy = together * (distance / self.gamma).log() + (1.0 + self.gamma / distance).log()
        codes = (1.0 + _bits(x.abs(), torch.ones_like(x)) / self.gamma).log()
        return (weight * cauchy).mean() + self.weight * codes.mean()


def _bits(x: Tensor, y: Tensor) -> Tensor:
    """Hamming distance that a cosine stands for, (N, M); never quite 0, so that it has a logarithm."""
    lengths = x.norm(dim=1)[:, None] * y.norm(dim=1)
    cosine = x @ y.T / lengths.clamp(min=1e-4)
    distance: Tensor = (1.0 - cosine.clamp(max=0.99)) * (x.shape[1] / 2.0)
    return distance
