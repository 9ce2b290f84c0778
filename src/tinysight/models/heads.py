"""Heads: from embeddings (N, E) to one score for each identity (N, K), for the loss in training.

Names and layouts follow PaddleClas' state dicts (`FC` and `ArcMargin` of its
gears).
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from tinysight.registry import heads


class Head(nn.Module):
    """From embeddings (N, in_features) and, in training, labels (N,) to scores (N, K)."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """See the subclasses."""
        raise NotImplementedError


@heads.register("fc")
class LinearHead(Head):
    """Linear classifier.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        bias: whether it has one.
        init_std: standard deviation of fresh weights; None draws Xavier normal ones.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        init_std: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        super().__init__()
        self.fc = nn.Linear(in_features, num_classes, bias=bias)
        if init_std is None:
            nn.init.xavier_normal_(self.fc.weight)
        else:
            nn.init.normal_(self.fc.weight, 0.0, init_std)
        if bias:
            nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, E) -> (N, K); labels change nothing."""
        y: Tensor = self.fc(x)
        return y


@heads.register("arc_margin")
class ArcMargin(Head):
    """ArcFace, arXiv:1801.07698: the angle to an identity's own direction is made harder by
    `margin`.

    With t the angle between embedding and direction, the score is scale * cos(t), and of the label's
    own identity scale * cos(t + margin). Where t + margin passes pi, the latter continues as
    cos(t) - margin * sin(margin), so that it keeps falling with the cosine.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        margin: radians.
        scale: of the cosines in training.
        easy_margin: apply the margin only where cos(t) is positive.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Annotated[float, Ge(0), Le(math.pi)] = 0.5,
        scale: Annotated[float, Gt(0)] = 80.0,
        easy_margin: bool = False,
    ) -> None:
        super().__init__()
        self.margin, self.scale, self.easy_margin = margin, scale, easy_margin
        # (E, K) and no linear layer, as in PaddleClas: its columns are the directions.
        self.weight = nn.Parameter(torch.empty(in_features, num_classes))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, E), labels (N,) int64 -> (N, K).

        In training with labels scaled cosines with the margin; otherwise, as in PaddleClas, plain
        cosines without the scale.
        """
        cosine = F.normalize(x, dim=1) @ F.normalize(self.weight, dim=0)
        if labels is None or not self.training:
            return cosine
        cosine = cosine.float()
        own = cosine.gather(1, labels[:, None])
        # Half precision may leave a cosine beyond 1; 1e-6 keeps the slope of the root finite there.
        sine = ((1.0 - own.square()).clamp(min=0.0) + 1e-6).sqrt()
        harder = own * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            harder = torch.where(own > 0.0, harder, own)
        else:
            beyond = own - self.margin * math.sin(self.margin)
            harder = torch.where(own > -math.cos(self.margin), harder, beyond)
        return cosine.scatter(1, labels[:, None], harder) * self.scale

    def extra_repr(self) -> str:
        """Sizes and margin."""
        features, classes = self.weight.shape
        return f"{features}, {classes}, margin={self.margin:g}, scale={self.scale:g}"
