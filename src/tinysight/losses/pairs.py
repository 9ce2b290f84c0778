"""Pairs of a batch: attract those of one identity, repel the others."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from tinysight.losses.pairwise import check_batch, prepared, same
from tinysight.registry import embedding_losses


def contrastive(
    x: Tensor, labels: Tensor, y: Tensor, others: Tensor, margin: float, identical: float
) -> Tensor:
    """Sums over pairs of (1 - cosine) for positives and cosine for negatives above `margin`, / N.

    A positive pair more similar than 1 - `identical` is one sample with itself and left out.
    """
    cosine, positive = x @ y.T, same(labels, others)
    attracted = positive & (cosine < 1.0 - identical)
    repelled = ~positive & (cosine > margin)
    return ((1.0 - cosine) * attracted + cosine * repelled).sum() / len(x)


@embedding_losses.register("contrastive")
class Contrastive(nn.Module):
    """All pairs: 1 - cosine for positives, the cosine for negatives above a margin.

    Args:
        margin: cosine up to which a negative counts nothing.
        normalize: embeddings of length 1.
        identical: positives nearer to 1 than this are taken for the same sample.
    """

    def __init__(
        self,
        margin: float = 0.5,
        normalize: bool = True,
        identical: Annotated[float, Ge(0)] = 1e-5,
    ) -> None:
        super().__init__()
        self.margin, self.normalize, self.identical = margin, normalize, identical

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> ()."""
        check_batch(embeddings, labels)
        unit = prepared(embeddings, self.normalize)
        return contrastive(unit, labels, unit, labels, self.margin, self.identical)


@embedding_losses.register("npairs")
class NPairs(nn.Module):
    """N-pair loss, NIPS 2016: of all second samples, each first one's own should be most similar.

    A batch is pairs: samples 0 and 1 have one label, 2 and 3, and so on.

    Args:
        l2_weight: of the mean squared lengths of first and second samples, divided by four.
    """

    def __init__(self, l2_weight: Annotated[float, Ge(0)] = 0.01) -> None:
        super().__init__()
        self.l2_weight = l2_weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> ().

        Raises:
            ValueError: the batch is not made of pairs.
        """
        check_batch(embeddings, labels)
        if len(labels) % 2 or not torch.equal(labels[::2], labels[1::2]):
            raise ValueError(
                "npairs takes batches of pairs: two samples of one label, two of the next"
            )
        first, second = prepared(embeddings[::2], False), prepared(embeddings[1::2], False)
        together = same(labels[::2]).float()
        targets = together / together.sum(1, keepdim=True)
        lengths = first.square().sum(1).mean() + second.square().sum(1).mean()
        return F.cross_entropy(first @ second.T, targets) + 0.25 * self.l2_weight * lengths


@embedding_losses.register("supcon")
class SupCon(nn.Module):
    """Supervised contrastive loss, arXiv:2004.11362: log-softmax over all others, mean of positives.

    Args:
        temperature: of the cosines.
        base_temperature: the result is multiplied by temperature / base_temperature.
        normalize: embeddings of length 1.
    """

    def __init__(
        self,
        temperature: Annotated[float, Gt(0)] = 0.07,
        base_temperature: Annotated[float, Gt(0)] = 0.07,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.temperature, self.normalize = temperature, normalize
        self.scale = temperature / base_temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> (); a sample that is alone with its label counts 0."""
        check_batch(embeddings, labels)
        unit = prepared(embeddings, self.normalize)
        oneself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        logits = (unit @ unit.T / self.temperature).masked_fill(oneself, -torch.inf)
        positive = same(labels) & ~oneself
        logs = logits.log_softmax(1).masked_fill(~positive, 0.0)
        return -(self.scale * logs.sum(1) / positive.sum(1).clamp(min=1)).mean()


@embedding_losses.register("pairwise_cosface")
class PairwiseCosFace(nn.Module):
    """Softplus of the hardest positive and the hardest negative cosine, both softened.

    softplus(logsumexp(-gamma * positives) + logsumexp(gamma * (negatives + margin))).

    Args:
        margin: added to the cosines of negatives.
        gamma: sharpness.
    """

    def __init__(self, margin: float = 0.35, gamma: Annotated[float, Gt(0)] = 64.0) -> None:
        super().__init__()
        self.margin, self.gamma = margin, gamma

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> ()."""
        check_batch(embeddings, labels)
        unit, together = prepared(embeddings, True), same(labels)
        positive = together & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        cosine = unit @ unit.T
        # A large number instead of infinity: a row without any pair then has a gradient of 0.
        near = (-self.gamma * cosine).masked_fill(~positive, -1e8)
        far = (self.gamma * (cosine + self.margin)).masked_fill(together, -1e8)
        return F.softplus(near.logsumexp(1) + far.logsumexp(1)).mean()


@embedding_losses.register("center")
class Center(nn.Module):
    """Squared distance to the centre of one's identity, which is learnt; ECCV 2016.

    Its parameters belong to the optimiser, and its weight beside other losses is small (5e-4).

    Args:
        num_classes: identities, K.
        features: width of the embedding, D.
    """

    def __init__(self, num_classes: Annotated[int, Ge(1)], features: Annotated[int, Ge(1)]) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, features))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) int64 -> ()."""
        check_batch(embeddings, labels)
        return (embeddings.float() - self.centers[labels]).square().sum(1).mean()
