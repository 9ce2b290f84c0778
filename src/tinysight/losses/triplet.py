"""Anchor, positive, negative: those of one's own identity should be nearer than all others.

Every sample of a batch is an anchor; its positives are the samples of its identity, itself among
them unless it says otherwise. An anchor without a negative in the batch has no triplet and counts 0.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from tinysight.losses.pairwise import (
    check_batch,
    distances,
    masked_max,
    masked_min,
    prepared,
    same,
    squared_distances,
)
from tinysight.registry import embedding_losses


def hardest_triplets(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each anchor to its farthest positive and to its nearest negative, (N,) each."""
    distance, positive = distances(embeddings, embeddings), same(labels)
    return masked_max(distance, positive), masked_min(distance, ~positive)


def angular_margin(
    ap: Tensor, an: Tensor, margin: float, bounds: tuple[float, float] | None, satisfied: float
) -> tuple[Tensor, Tensor]:
    """Relative term, (N,), and the absolute one, ().

    Args:
        ap: cosine of each anchor to its least similar positive, (N,).
        an: cosine to its most similar negative, (N,).
        margin: that the former should exceed the latter by.
        bounds: for the absolute term, what `ap` should exceed and `an` should not.
        satisfied: what a negative below its bound adds.
    """
    relative = (an - ap + margin).clamp(min=0.0)
    if bounds is None:
        return relative, relative.new_zeros(())
    over = an - bounds[1]
    far = torch.where(over > 0, over, torch.full_like(over, satisfied))
    return relative, (bounds[0] - ap).clamp(min=0.0).mean() + far.mean()


@embedding_losses.register("triplet")
class Triplet(nn.Module):
    """Batch-hard triplet loss, arXiv:1703.07737: relu(farthest positive - nearest negative + margin).

    Args:
        margin: of the Euclidean distances.
        normalize: embeddings of length 1.

    Source: PaddleClas' `TripletLossV2`, and `TripletLoss` (not normalised, margin 1). Deviation:
    identities may have different numbers of samples.
    """

    def __init__(self, margin: Annotated[float, Ge(0)] = 0.5, normalize: bool = True) -> None:
        super().__init__()
        self.margin, self.normalize = margin, normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> ()."""
        check_batch(embeddings, labels)
        ap, an = hardest_triplets(prepared(embeddings, self.normalize), labels)
        return (ap - an + self.margin).clamp(min=0.0).mean()


@embedding_losses.register("triplet_angular_margin")
class TripletAngularMargin(nn.Module):
    """Triplets of cosines with a margin, and bounds that hold by themselves.

    Args:
        margin: by which the least similar positive should exceed the most similar negative.
        normalize: embeddings of length 1; otherwise the cosines are scalar products.
        absolute_weight: of the absolute term; 0 for none.
        positive_bound: what the least similar positive should exceed.
        negative_bound: what the most similar negative should not exceed.
        count_satisfied: a negative within its bound adds 1 to the absolute term, as in the
            reference by mistake; the gradient is the same.

    Source: PaddleClas' `TripletAngularMarginLoss` of PP-ShiTuV2.
    """

    def __init__(
        self,
        margin: Annotated[float, Ge(0)] = 0.5,
        normalize: bool = True,
        absolute_weight: Annotated[float, Ge(0)] = 0.0,
        positive_bound: float = 0.9,
        negative_bound: float = 0.5,
        count_satisfied: bool = False,
    ) -> None:
        super().__init__()
        self.margin, self.normalize = margin, normalize
        self.absolute_weight = absolute_weight
        self.bounds = (positive_bound, negative_bound) if absolute_weight else None
        self.satisfied = float(count_satisfied)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> ()."""
        check_batch(embeddings, labels)
        unit = prepared(embeddings, self.normalize)
        return self.between(unit, labels, unit, labels)

    def between(self, x: Tensor, labels: Tensor, y: Tensor, others: Tensor) -> Tensor:
        """Anchors `x` (N, D) with positives and negatives among `y` (M, D), both prepared.

        An anchor without a positive or without a negative among them counts 0.
        """
        cosine, positive = x @ y.T, same(labels, others)
        both = positive.any(1) & ~positive.all(1)
        if not bool(both.any()):
            return x.sum() * 0.0
        ap, an = masked_min(cosine, positive)[both], masked_max(cosine, ~positive)[both]
        relative, absolute = angular_margin(ap, an, self.margin, self.bounds, self.satisfied)
        return (relative.mean() + self.absolute_weight * absolute) * (len(ap) / len(x))


@embedding_losses.register("trihard")
class TriHard(nn.Module):
    """As `triplet`, but of squared distances; an anchor is no positive of its own.

    Args:
        margin: of the squared distances.
        normalize: embeddings of length 1.
    """

    def __init__(self, margin: Annotated[float, Ge(0)] = 0.1, normalize: bool = True) -> None:
        super().__init__()
        self.margin, self.normalize = margin, normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> (); every identity at least twice."""
        distance, positive, negative = _mined(embeddings, labels, self.normalize)
        ap, an = masked_max(distance, positive), masked_min(distance, negative)
        return (ap - an + self.margin).clamp(min=0.0).mean()


@embedding_losses.register("msm")
class MarginSampleMining(nn.Module):
    """The one hardest pair of positives against the one hardest of negatives, arXiv:1710.00478.

    Args:
        margin: of the squared distances.
        normalize: embeddings of length 1.
    """

    def __init__(self, margin: Annotated[float, Ge(0)] = 0.1, normalize: bool = True) -> None:
        super().__init__()
        self.margin, self.normalize = margin, normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> (); every identity at least twice."""
        distance, positive, negative = _mined(embeddings, labels, self.normalize)
        ap, an = masked_max(distance, positive).amax(), masked_min(distance, negative).amin()
        return (ap - an + self.margin).clamp(min=0.0)


@embedding_losses.register("eml")
class EMargin(nn.Module):
    """Means of e^distance over positives times means of e^-distance over negatives, on a log scale.

    With t the product of the two means: log(1 + beta * t) / log(1 + beta), which flattens out for
    triplets that are solved. The distances are squared ones.

    Args:
        beta: of the logarithm.
        threshold: exponent from which on log(1 + beta * t) is taken for log(beta * t).
        normalize: embeddings of length 1.

    Source: PaddleClas' `EmlLoss`.
    """

    def __init__(
        self,
        beta: Annotated[float, Gt(0)] = 100_000.0,
        threshold: Annotated[float, Gt(0)] = 20.0,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.beta, self.threshold, self.normalize = beta, threshold, normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) -> (); every identity at least twice."""
        distance, positive, negative = _mined(embeddings, labels, self.normalize)
        ap, an = masked_max(distance, positive), masked_min(distance, negative)
        # The extremes are taken out of the means, which stay between 1 / count and 1.
        near = ((distance - ap[:, None]).masked_fill(~positive, -torch.inf)).exp().sum(1)
        far = ((an[:, None] - distance).masked_fill(~negative, -torch.inf)).exp().sum(1)
        mean = near / positive.sum(1) * far / negative.sum(1)
        gap, limit = ap - an, torch.as_tensor(self.threshold, dtype=ap.dtype, device=ap.device)
        value = self._exact(mean, gap.minimum(limit)) + self._large(mean, gap.maximum(limit))
        return (value - self._exact(mean, limit)).mean()

    def _exact(self, mean: Tensor, gap: Tensor) -> Tensor:
        return (1.0 + self.beta * mean * gap.exp()).log() / math.log(1.0 + self.beta)

    def _large(self, mean: Tensor, gap: Tensor) -> Tensor:
        return (mean.log() + gap + math.log(self.beta)) / math.log(1.0 + self.beta)


def _mined(embeddings: Tensor, labels: Tensor, normalize: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances, and the masks of positives (without oneself) and of negatives, (N, N)."""
    check_batch(embeddings, labels)
    unit, together = prepared(embeddings, normalize), same(labels)
    positive = together & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    if not bool(positive.any(1).all()) or bool(together.all()):
        raise ValueError("every identity of a batch needs two samples, and there must be two")
    return squared_distances(unit, unit), positive, ~together
