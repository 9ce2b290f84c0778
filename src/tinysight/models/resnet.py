"""ResNet, arXiv:1512.03385, with the stride on the 3 x 3 convolution; and its variant D,
arXiv:1812.01187: a stem of three convolutions, and shortcuts that average before they project.

Structure, names and initialisation follow PaddleClas' `ResNet`: the
first block of the first stage has a projection too.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.models.base import Backbone, register_variant
from tinysight.models.diverse_branch import DiverseBranchBlock
from tinysight.models.layers import BatchNorm2d, ConvBNAct, Size


class ResNetVariant(NamedTuple):
    """Blocks per stage, and whether they are bottlenecks (else two 3 x 3 convolutions)."""

    depths: tuple[int, int, int, int]
    bottleneck: bool


DEPTHS = {
    18: ResNetVariant((2, 2, 2, 2), False),
    34: ResNetVariant((3, 4, 6, 3), False),
    50: ResNetVariant((3, 4, 6, 3), True),
    101: ResNetVariant((3, 4, 23, 3), True),
    152: ResNetVariant((3, 8, 36, 3), True),
    200: ResNetVariant((3, 12, 48, 3), True),
}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
Strides: TypeAlias = tuple[Size, Size, Size, Size, Size]
LrMults: TypeAlias = tuple[float, float, float, float, float]


class Projection(nn.Sequential):
    """Shortcut that changes width or resolution: 1 x 1, strided or behind an average (variant D).

    (N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Size, average: bool) -> None:
        super().__init__()
        if average:
            self.pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, 1 if average else stride, bias=False)
        self.bn = BatchNorm2d(out_channels)


class ResNetBlock(nn.Module):
    """3 x 3, 3 x 3 or 1 x 1, 3 x 3, 1 x 1, around a shortcut."""

    def __init__(
        self,
        channels: int,
        width: int,
        stride: Size,
        bottleneck: bool,
        projected: bool,
        average: bool,
        branches: bool,
    ) -> None:
        super().__init__()
        unit = DiverseBranchBlock if branches else ConvBNAct
        self.out_channels = width * EXPANSION if bottleneck else width
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv0 = unit(channels, width, 1)
            self.conv1 = unit(width, width, 3, stride)
            self.conv2 = unit(width, self.out_channels, 1, act=None)
        else:
            self.conv0 = unit(channels, width, 3, stride)
            self.conv1 = unit(width, width, 3, act=None)
        self.short: nn.Module = nn.Identity()
        if projected:
            self.short = Projection(channels, self.out_channels, stride, average)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride)."""
        y = self.conv1(self.conv0(x))
        if self.bottleneck:
            y = self.conv2(y)
        return F.relu(self.short(x) + y)


class ResNet(Backbone):
    """ResNet of one depth.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        variant: blocks per stage and their kind.
        d: variant D.
        strides: of the stem, of the maximum behind it and of stages 2 to 4.
        lr_mults: learning-rate multipliers of the stem and of the four stages; the classifier has
            1.
        stem_relu: False leaves out the activations of the stem, as networks for re-identification have it.
        diverse_branches: train every convolution of the blocks as four branches, which the export
            folds into one.
    """

    decays_norm = True

    def __init__(
        self,
        num_classes: int = 1000,
        variant: ResNetVariant = DEPTHS[50],
        d: bool = False,
        strides: Strides = (2, 2, 2, 2, 2),
        lr_mults: LrMults | None = None,
        stem_relu: bool = True,
        diverse_branches: bool = False,
    ) -> None:
        super().__init__()
        stem = ((3, 32, 3), (32, 32, 3), (32, 64, 3)) if d else ((3, 64, 7),)
        act = nn.ReLU if stem_relu else None
        units = (ConvBNAct(*sizes, 1 if i else strides[0], act=act) for i, sizes in enumerate(stem))
        self.stem = nn.Sequential(*units)
        self.max_pool = nn.MaxPool2d(3, strides[1], 1)
        self.blocks = nn.ModuleList()
        channels = 64
        ends: list[str] = []
        prefixes: list[tuple[str, ...]] = [("stem.",)]
        stages = zip(WIDTHS, variant.depths, (1, *strides[2:]), strict=True)
        for number, (width, depth, stride) in enumerate(stages):
            prefixes.append(tuple(f"blocks.{len(self.blocks) + i}." for i in range(depth)))
            for i in range(depth):
                first, step = i == 0, 1 if i else stride
                average = d and first and number > 0
                kind = (variant.bottleneck, first, average, diverse_branches)
                block = ResNetBlock(channels, width, step, *kind)
                self.blocks.append(block)
                channels = block.out_channels
            ends.append(f"blocks.{len(self.blocks) - 1}")
        self.trunk = ("stem", "max_pool", *(f"blocks.{i}" for i in range(len(self.blocks))))
        self.stage_names = tuple(ends)
        self.stage_prefixes = tuple(prefixes)
        self.set_lr_mults(lr_mults)
        self.build_pooled_classifier(channels, num_classes, uniform=True)


for _depth, _row in DEPTHS.items():
    for _name, _d in ((f"resnet{_depth}", False), (f"resnet{_depth}_vd", True)):
        if _name != "resnet200":  # PaddleClas has 200 layers in variant D only
            _summary = _name.replace("resnet", "ResNet-")
            register_variant(_name, ResNet, _summary, {"variant": _row, "d": _d})
_summary = "ResNet-50 that keeps more resolution, for recognition"
_fixed = {"variant": DEPTHS[50], "d": False}
_defaults = {"strides": (2, 2, 2, 2, 1)}
register_variant("resnet50_last_stage_stride1", ResNet, _summary, _fixed, _defaults)
