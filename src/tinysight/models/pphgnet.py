"""PP-HGNet: blocks that concatenate the outputs of all their 3 x 3 layers, for GPU inference.

Structure, names and initialisation follow PaddleClas' `PPHGNet`.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, NamedTuple

import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from tinysight.models.base import LastConvBackbone, register_variant
from tinysight.models.layers import ConvBNAct
from tinysight.models.pphgnetv2 import HGBlock, HGRow, HGStage


class HGNetVariant(NamedTuple):
    """Stem widths, the four stages, layers per block, dropout before the classifier."""

    stem: tuple[int, int, int]
    stages: tuple[HGRow, ...]
    layers: int
    dropout: float = 0.0


_ROWS = {
    "tiny": (HGRow(96, 224, 1), HGRow(128, 448, 1), HGRow(160, 512, 2), HGRow(192, 768, 1)),
    "small": (HGRow(128, 256, 1), HGRow(160, 512, 1), HGRow(192, 768, 2), HGRow(224, 1024, 1)),
    "base": (HGRow(192, 320, 1), HGRow(224, 640, 2), HGRow(256, 960, 3), HGRow(288, 1280, 2)),
}
VARIANTS = {
    "pphgnet_tiny": HGNetVariant((48, 48, 96), _ROWS["tiny"], 5),
    "pphgnet_small": HGNetVariant((64, 64, 128), _ROWS["small"], 6),
    "pphgnet_base": HGNetVariant((96, 96, 160), _ROWS["base"], 7, 0.2),
}


class EffectiveSqueeze(nn.Module):
    """Channel gate of one 1 x 1 convolution (ESE), arXiv:1911.06667."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        gate: Tensor = self.conv(F.adaptive_avg_pool2d(x, 1)).sigmoid()
        return x * gate


def _block(row: HGRow, layers: int, in_channels: int, residual: bool) -> HGBlock:
    widths = [in_channels, *[row.inside] * layers]
    chain = [ConvBNAct(width, row.inside, 3) for width in widths[:-1]]
    squeeze = ConvBNAct(sum(widths), row.out, 1)
    gate = EffectiveSqueeze(row.out)
    return HGBlock(chain, {"aggregation_conv": squeeze, "att": gate}, residual)


class PPHGNet(LastConvBackbone):
    """PP-HGNet of one size.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        variant: stem, stages and layers.
        use_last_conv: the 1 x 1 convolution to `last_channels` with ReLU and dropout behind the
            pooling.
        last_channels: width of that convolution.
        dropout: share of its outputs dropped in training (see `DownscaleDropout`); default: the
            variant's.
    """

    trunk = ("stem", "pool", "stages.0", "stages.1", "stages.2", "stages.3")
    stage_names = trunk[2:]

    def __init__(
        self,
        num_classes: int = 1000,
        variant: HGNetVariant = VARIANTS["pphgnet_small"],
        use_last_conv: bool = True,
        last_channels: Annotated[int, Ge(1)] = 2048,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__()
        widths = (3, *variant.stem)
        units = (ConvBNAct(widths[i], widths[i + 1], 3, 1 if i else 2) for i in range(3))
        self.stem = nn.Sequential(*units)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList()
        channels = widths[-1]
        for i, row in enumerate(variant.stages):
            block = partial(_block, row, variant.layers)
            self.stages.append(HGStage(channels, row, block, downsample=i > 0))
            channels = row.out
        last = last_channels if use_last_conv else None
        self.build_head(channels, num_classes, last, dropout)


for _name, _row in VARIANTS.items():
    _summary, _defaults = f"PP-HGNet {_name.split('_')[1]}", {"dropout": _row.dropout}
    register_variant(_name, PPHGNet, _summary, {"variant": _row}, _defaults)
