"""PP-HGNet: blocks that concatenate the outputs of all their 3 x 3 layers, for GPU inference.

Structure, names and initialisation follow PaddleClas implementation (PaddleClas, `PPHGNet`).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from tinysight.models.base import LastConvBackbone
from tinysight.models.layers import ConvBNAct
from tinysight.models.variants import register_variant


class Stage(NamedTuple):
    """Channels inside a block and out of it, the number of blocks, and whether it halves the
    map.
    """

    inside: int
    out: int
    blocks: int
    downsample: bool = True


class Variant(NamedTuple):
    """Stem widths, the four stages, layers per block, dropout before the classifier."""

    stem: tuple[int, int, int]
    stages: tuple[Stage, Stage, Stage, Stage]
    layers: int
    dropout: float = 0.0


VARIANTS = {
    "pphgnet_tiny": Variant(
        stem=(48, 48, 96),
        stages=(
            Stage(96, 224, 1, False),
            Stage(128, 448, 1),
            Stage(160, 512, 2),
            Stage(192, 768, 1),
        ),
        layers=5,
    ),
    "pphgnet_small": Variant(
        stem=(64, 64, 128),
        stages=(
            Stage(128, 256, 1, False),
            Stage(160, 512, 1),
            Stage(192, 768, 2),
            Stage(224, 1024, 1),
        ),
        layers=6,
    ),
    "pphgnet_base": Variant(
        stem=(96, 96, 160),
        stages=(
            Stage(192, 320, 1, False),
            Stage(224, 640, 2),
            Stage(256, 960, 3),
            Stage(288, 1280, 2),
        ),
        layers=7,
        dropout=0.2,
    ),
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


class Block(nn.Module):
    """3 x 3 layers in a row; input and all outputs are concatenated, squeezed and gated."""

    def __init__(self, in_channels: int, row: Stage, layers: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.ModuleList(
            ConvBNAct(row.inside if i else in_channels, row.inside, 3) for i in range(layers)
        )
        self.aggregation_conv = ConvBNAct(in_channels + layers * row.inside, row.out, 1)
        self.att = EffectiveSqueeze(row.out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out, h, w)."""
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y: Tensor = self.att(self.aggregation_conv(torch.cat(outputs, 1)))
        return x + y if self.residual else y


class StageModule(nn.Module):
    """Optional down-sampling, then blocks; all but the first have a shortcut."""

    def __init__(self, in_channels: int, row: Stage, layers: int) -> None:
        super().__init__()
        self.downsample = (
            ConvBNAct(in_channels, in_channels, 3, 2, in_channels, act=None)
            if row.downsample
            else nn.Identity()
        )
        self.blocks = nn.Sequential(
            *(Block(row.out if i else in_channels, row, layers, i > 0) for i in range(row.blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out, h / 2, w / 2), the first stage without halving."""
        y: Tensor = self.blocks(self.downsample(x))
        return y


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
        variant: Variant = VARIANTS["pphgnet_small"],
        use_last_conv: bool = True,
        last_channels: Annotated[int, Ge(1)] = 2048,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__()
        widths = (3, *variant.stem)
        self.stem = nn.Sequential(
            *(ConvBNAct(widths[i], widths[i + 1], 3, 1 if i else 2) for i in range(3))
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList()
        channels = widths[-1]
        for row in variant.stages:
            self.stages.append(StageModule(channels, row, variant.layers))
            channels = row.out
        self.build_head(
            channels,
            num_classes,
            last_channels if use_last_conv else None,
            dropout,
        )


for _name, _row in VARIANTS.items():
    _summary, _defaults = f"PP-HGNet {_name.split('_')[1]}", {"dropout": _row.dropout}
    register_variant(_name, PPHGNet, _summary, {"variant": _row}, _defaults)
