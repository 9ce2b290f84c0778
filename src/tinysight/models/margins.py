"""Margin heads: cosines between embeddings and identities, with a margin on the own identity in training.

Scores are cosines between an embedding and the direction of each identity. In training with labels
the own one is lowered by a margin and all are scaled; otherwise, as in PaddleClas, they are plain.
`ArcMargin` is in `heads`. Names and layouts follow PaddleClas' state dicts.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from tinysight.models.heads import Head
from tinysight.registry import heads

_EPS = 1e-3


class _Directions(Head):
    """One direction an identity, the columns of `weight` (E, K), and what a subclass does in training."""

    def __init__(self, in_features: int, num_classes: int, margin: float, scale: float) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(torch.empty(in_features, num_classes))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, E), labels (N,) int64 -> (N, K): scaled and with the margin in training with labels."""
        cosine = F.normalize(x, dim=1) @ F.normalize(self.weight, dim=0)
        if labels is None or not self.training:
            return cosine
        return self.harder(cosine.float(), labels) * self.scale

    def harder(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """Cosines (N, K) with the margin applied."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Sizes and margin."""
        features, classes = self.weight.shape
        return f"{features}, {classes}, margin={self.margin:g}, scale={self.scale:g}"


@heads.register("cos_margin")
class CosMargin(_Directions):
    """CosFace, arXiv:1801.09414: the cosine to one's own identity is lowered by `margin`.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        margin: of the cosine.
        scale: of the cosines in training.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Annotated[float, Ge(0), Le(2)] = 0.35,
        scale: Annotated[float, Gt(0)] = 64.0,
    ) -> None:
        super().__init__(in_features, num_classes, margin, scale)

    def harder(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """The margin off the own cosine."""
        own = cosine.gather(1, labels[:, None])
        return cosine.scatter(1, labels[:, None], own - self.margin)


@heads.register("circle_margin")
class CircleMargin(_Directions):
    """Circle loss, arXiv:2002.10857: a cosine counts the more the farther it is from its best.

    With m the margin, the own cosine s becomes max(0, 1 + m - s) * (s - (1 - m)), any other
    max(0, s + m) * (s - m); the first factors carry no gradient.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        margin: of the cosine.
        scale: of the result in training.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Annotated[float, Ge(0), Le(1)] = 0.35,
        scale: Annotated[float, Gt(0)] = 64.0,
    ) -> None:
        super().__init__(in_features, num_classes, margin, scale)

    def harder(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """Every cosine with its own weight."""
        fixed, m = cosine.detach(), self.margin
        other = (fixed + m).clamp(min=0.0) * (cosine - m)
        own = (1.0 + m - fixed).clamp(min=0.0) * (cosine - (1.0 - m))
        return other.scatter(1, labels[:, None], own.gather(1, labels[:, None]))


@heads.register("ada_margin")
class AdaMargin(Head):
    """AdaFace, arXiv:2204.00964: the margin depends on the length of the embedding.

    A long embedding, of a good image, has its margin in the cosine, a short one in the angle.
    Lengths are compared with the running mean and deviation of those seen.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        margin: m. With q between -1 and 1 for the length, the angle grows by -m * q and the cosine
            falls by m + m * q.
        concentration: q of a length one deviation above the mean.
        scale: of the cosines in training.
        memory: weight of the newest batch in the running mean and deviation.

    Attributes:
        batch_mean: running mean of the lengths, (1,).
        batch_std: running deviation of the lengths, (1,).
    """

    batch_mean: Tensor
    batch_std: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Annotated[float, Ge(0), Le(1)] = 0.4,
        concentration: Annotated[float, Gt(0)] = 0.333,
        scale: Annotated[float, Gt(0)] = 64.0,
        memory: Annotated[float, Gt(0), Le(1)] = 1.0,
    ) -> None:
        super().__init__()
        self.margin, self.concentration = margin, concentration
        self.scale, self.memory = scale, memory
        self.kernel = nn.Parameter(torch.empty(in_features, num_classes))
        nn.init.xavier_normal_(self.kernel)
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, E), labels (N,) int64 -> (N, K): scaled and with the margin in training with labels."""
        cosine = F.normalize(x, dim=1) @ F.normalize(self.kernel, dim=0)
        if labels is None or not self.training:
            return cosine
        cosine = cosine.float().clamp(-1.0 + _EPS, 1.0 - _EPS)  # keeps the slope of acos finite
        quality = self._quality(x.detach().float().norm(dim=1, keepdim=True))
        own = cosine.gather(1, labels[:, None])
        angle = (own.acos() - self.margin * quality).clamp(_EPS, math.pi - _EPS)
        # PaddleClas takes every cosine through its angle; the clamp bites there too.
        others = cosine.acos().clamp(_EPS, math.pi - _EPS).cos()
        harder = angle.cos() - (self.margin + self.margin * quality)
        return others.scatter(1, labels[:, None], harder) * self.scale

    @torch.no_grad()
    def _quality(self, lengths: Tensor) -> Tensor:
        """The q of each embedding, (N, 1), after the running statistics took in this batch."""
        lengths = lengths.clamp(1e-3, 100.0)
        if len(lengths) > 1:  # one length has no deviation
            self.batch_mean.lerp_(lengths.mean()[None], self.memory)
            self.batch_std.lerp_(lengths.std()[None], self.memory)
        quality = (lengths - self.batch_mean) / (self.batch_std + _EPS) * self.concentration
        return quality.clamp(-1.0, 1.0)

    def extra_repr(self) -> str:
        """Sizes and margin."""
        features, classes = self.kernel.shape
        return f"{features}, {classes}, margin={self.margin:g}, scale={self.scale:g}"
