"""Necks: from a backbone's vector (N, D) to the embedding (N, E) that recognition compares.

Names follow PaddleClas' state dicts (`BNNeck` and `FC` of its gears), so that
`weights.py` maps them by rule.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from tinysight.models.layers import BatchNorm1d
from tinysight.registry import necks


class Neck(nn.Module):
    """From (N, in_features) to (N, features)."""

    features: int


@necks.register("bn_neck")
class BNNeck(Neck):
    """Batch normalisation of the vector, arXiv:1903.07071: losses on distances before it, on
    classes behind it.

    Args:
        in_features: width of the vector, which it keeps.
        train_bias: whether the bias is learnt. The paper and PaddleClas' recipe, which gives it
            a learning rate of 1e-20, keep it at 0; PaddleClas' class alone would train it.
    """

    def __init__(self, in_features: int, train_bias: bool = False) -> None:
        super().__init__()
        self.features = in_features
        self.feat_bn = BatchNorm1d(in_features)
        self.feat_bn.bias.requires_grad_(train_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        y: Tensor = self.feat_bn(x)
        return y


@necks.register("fc")
class LinearNeck(Neck):
    """Linear layer with bias; Xavier uniform, bias 0.

    Args:
        in_features: width of the vector.
        features: width of the embedding.
    """

    def __init__(self, in_features: int, features: Annotated[int, Ge(1)] = 512) -> None:
        super().__init__()
        self.features = features
        self.fc = nn.Linear(in_features, features)
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, features)."""
        y: Tensor = self.fc(x)
        return y
