"""PP-HGNetV2: blocks that concatenate the outputs of all their layers; the backbone of RT-DETR.

Structure, names and initialisation follow PaddleClas' `PPHGNetV2`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from tinysight.models.base import LastConvBackbone, register_variant
from tinysight.models.layers import ConvBNAct, DownscaleDropout


class HGRow(NamedTuple):
    """Channels inside a block of a stage and out of it, and the number of blocks."""

    inside: int
    out: int
    blocks: int


class HGNetV2Variant(NamedTuple):
    """Stem widths, the four stages, layers per block, learnable affine blocks."""

    stem: tuple[int, int]
    stages: tuple[HGRow, ...]
    layers: int
    affine: bool


# Of each stage: the kernel, and whether its layers are a point-wise and a depth-wise convolution.
KINDS = ((3, False), (3, False), (5, True), (5, True))
_SIZES = (  # stem, layers, affine blocks; of each stage, channels inside and out, and blocks
    ((16, 16), 3, True, (16, 64, 1), (32, 256, 1), (64, 512, 2), (128, 1024, 1)),
    ((24, 32), 3, True, (32, 64, 1), (48, 256, 1), (96, 512, 2), (192, 1024, 1)),
    ((24, 32), 4, True, (32, 96, 1), (64, 384, 1), (128, 768, 3), (256, 1536, 1)),
    ((24, 32), 5, True, (32, 128, 1), (64, 512, 1), (128, 1024, 3), (256, 2048, 1)),
    ((32, 48), 6, False, (48, 128, 1), (96, 512, 1), (192, 1024, 3), (384, 2048, 1)),
    ((32, 64), 6, False, (64, 128, 1), (128, 512, 2), (256, 1024, 5), (512, 2048, 2)),
    ((48, 96), 6, False, (96, 192, 2), (192, 512, 3), (384, 1024, 6), (768, 2048, 3)),
)
VARIANTS = {
    f"pphgnetv2_b{i}": HGNetV2Variant(stem, tuple(HGRow(*row) for row in stages), layers, affine)
    for i, (stem, layers, affine, *stages) in enumerate(_SIZES)
}
AFFINE_LR = 0.01
LrMults: TypeAlias = tuple[float, float, float, float, float]


class LearnableAffine(nn.Module):
    """scale * x + bias, one number each, learnt at `AFFINE_LR` of the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return self.scale * x + self.bias


class ConvUnit(ConvBNAct):
    """Convolution, BN and, with `act`, ReLU and a learnable affine where the variant has them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
        affine: bool = False,
    ) -> None:
        relu = nn.ReLU if act else None
        super().__init__(in_channels, out_channels, kernel, stride, groups, relu)
        self.lab = LearnableAffine() if act and affine else nn.Identity()


class LightConv(nn.Sequential):
    """Point-wise convolution without activation, then a depth-wise one."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, affine: bool) -> None:
        super().__init__()
        self.conv1 = ConvUnit(in_channels, out_channels, 1, act=False)
        self.conv2 = ConvUnit(out_channels, out_channels, kernel, 1, out_channels, affine=affine)


class Stem(nn.Module):
    """To a quarter of the resolution; two 2 x 2 convolutions beside a 2 x 2 maximum.

    The 2 x 2 windows pad below and to the right: zeros for the convolutions, nothing that could win
    for the maximum (its input may be negative behind an affine block).
    """

    def __init__(self, middle: int, out: int, affine: bool) -> None:
        super().__init__()
        self.stem1 = ConvUnit(3, middle, 3, 2, affine=affine)
        self.stem2a = ConvUnit(middle, middle // 2, 2, affine=affine)
        self.stem2b = ConvUnit(middle // 2, middle, 2, affine=affine)
        self.stem3 = ConvUnit(2 * middle, middle, 3, 2, affine=affine)
        self.stem4 = ConvUnit(middle, out, 1, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, out, H / 4, W / 4)."""
        x = self.stem1(x)
        corner = (0, 1, 0, 1)
        branch = self.stem2b(F.pad(self.stem2a(F.pad(x, corner)), corner))
        pooled = F.max_pool2d(F.pad(x, corner, value=float("-inf")), 2, 1)
        y: Tensor = self.stem4(self.stem3(torch.cat([pooled, branch], 1)))
        return y


class HGBlock(nn.Module):
    """Layers in a row; input and all outputs are concatenated and squeezed to the width of the stage.

    Args:
        layers: in order; the first takes the input.
        squeeze: 1 x 1 layers by the names that they have in the block.
        residual: True adds the input.
    """

    def __init__(
        self, layers: Iterable[nn.Module], squeeze: Mapping[str, nn.Module], residual: bool
    ) -> None:
        super().__init__()
        self.residual, self.squeeze = residual, tuple(squeeze)
        self.layers = nn.ModuleList(layers)
        for name, module in squeeze.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out, h, w)."""
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y = torch.cat(outputs, 1)
        for name in self.squeeze:
            y = self.get_submodule(name)(y)
        return x + y if self.residual else y


class HGStage(nn.Sequential):
    """Halves the map if asked to, then blocks; all but the first have a shortcut.

    Args:
        in_channels: of the map.
        row: widths and number of blocks.
        block: makes a block of the width of its input and of whether it has a shortcut.
        downsample: True halves the map.
    """

    def __init__(
        self, in_channels: int, row: HGRow, block: Callable[..., HGBlock], downsample: bool
    ) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if downsample:
            self.downsample = ConvBNAct(in_channels, in_channels, 3, 2, in_channels, act=None)
        widths = [in_channels, *[row.out] * (row.blocks - 1)]
        self.blocks = nn.Sequential(*(block(width, i > 0) for i, width in enumerate(widths)))


def _block(
    row: HGRow, kind: tuple[int, bool], layers: int, affine: bool, in_channels: int, residual: bool
) -> HGBlock:
    kernel, light = kind
    widths = [in_channels, *[row.inside] * layers]
    layer, unit = LightConv if light else ConvUnit, partial(ConvUnit, affine=affine)
    chain = [layer(width, row.inside, kernel, affine=affine) for width in widths[:-1]]
    squeeze = {
        "aggregation_squeeze_conv": unit(sum(widths), row.out // 2, 1),
        "aggregation_excitation_conv": unit(row.out // 2, row.out, 1),
    }
    return HGBlock(chain, squeeze, residual)


class PPHGNetV2(LastConvBackbone):
    """PP-HGNetV2 of one size.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        variant: stem, stages, layers and affine blocks.
        use_last_conv: the 1 x 1 convolution to `last_channels` with ReLU behind the pooling.
        last_channels: width of that convolution.
        dropout: share of its outputs dropped in training (see `DownscaleDropout`).
        lr_mults: learning-rate multipliers of the stem and of the four stages; the head has 1.
            Learnable affine blocks have 0.01 of it.
    """

    trunk = ("stem", "stages.0", "stages.1", "stages.2", "stages.3")
    stage_names = trunk[1:]
    stage_prefixes = tuple((f"{name}.",) for name in trunk)

    def __init__(
        self,
        num_classes: int = 1000,
        variant: HGNetV2Variant = VARIANTS["pphgnetv2_b0"],
        use_last_conv: bool = True,
        last_channels: Annotated[int, Ge(1)] = 2048,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        lr_mults: LrMults | None = None,
    ) -> None:
        super().__init__()
        self.set_lr_mults(lr_mults)
        self.stem = Stem(*variant.stem, variant.affine)
        self.stages = nn.ModuleList()
        channels = variant.stem[1]
        for i, (row, kind) in enumerate(zip(variant.stages, KINDS, strict=True)):
            block = partial(_block, row, kind, variant.layers, variant.affine)
            self.stages.append(HGStage(channels, row, block, downsample=i > 0))
            channels = row.out
        affine = use_last_conv and variant.affine
        self.lab = LearnableAffine() if affine else nn.Identity()
        self.build_head(channels, num_classes, last_channels if use_last_conv else None, dropout)
        self.dropout = DownscaleDropout(dropout)  # here also without the convolution

    def lr_multiplier(self, name: str) -> float:
        """The stage's factor; `AFFINE_LR` of it for the affine blocks."""
        own = AFFINE_LR if name.endswith(("lab.scale", "lab.bias")) else 1.0
        return super().lr_multiplier(name) * own

    def pre_logits(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, last_channels)."""
        x = self.lab(self.last_act(self.last_conv(self.avg_pool(features))))
        return self.dropout(x).flatten(1)  # type: ignore[no-any-return]


for _name, _row in VARIANTS.items():
    register_variant(_name, PPHGNetV2, f"PP-HGNetV2 {_name[-2:].upper()}", {"variant": _row})
