"""Res2Net, arXiv:1904.01169: bottlenecks whose 3 x 3 convolution works on channel groups in turn;
plain and in variant D (stem of three convolutions, shortcuts that average before they project).

Structure and names follow PaddleClas' `Res2Net` and `Res2Net_vd`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.models.base import Backbone, register_variant
from tinysight.models.layers import BatchNorm2d


class Res2NetVariant(NamedTuple):
    """Blocks per stage, channels per group in the first stage, groups, variant D."""

    depths: tuple[int, int, int, int]
    width: int
    scales: int
    d: bool


VARIANTS = {
    "res2net50_14w_8s": Res2NetVariant((3, 4, 6, 3), 14, 8, False),
    "res2net50_26w_4s": Res2NetVariant((3, 4, 6, 3), 26, 4, False),
    "res2net50_vd_26w_4s": Res2NetVariant((3, 4, 6, 3), 26, 4, True),
    "res2net101_vd_26w_4s": Res2NetVariant((3, 4, 23, 3), 26, 4, True),
    "res2net200_vd_26w_4s": Res2NetVariant((3, 12, 48, 3), 26, 4, True),
}
LONG = 20  # from this many blocks on, PaddleClas numbers those of the third stage


class Res2NetConv(nn.Sequential):
    """Convolution and BN under the names that this family has in PaddleClas; optional ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        self._conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self._batch_norm = BatchNorm2d(out_channels)
        self.act = nn.ReLU() if act else nn.Identity()


class Res2NetBlock(nn.Module):
    """1 x 1; 3 x 3 group by group, each also fed with the result of the last; 1 x 1; shortcut.

    A strided block does not feed results on, and averages the last group instead of passing it.
    """

    def __init__(
        self, channels: int, out: int, variant: Res2NetVariant, stage: int, label: str, first: bool
    ) -> None:
        super().__init__()
        self.stride, self.scales = 2 if first and stage else 1, variant.scales
        stride, scales, group = self.stride, self.scales, variant.width * 2**stage
        self.average = variant.d and stride == 2
        self.conv0 = Res2NetConv(channels, group * scales, 1)
        self.names = [f"{label}_branch2b_{i + 1}" for i in range(scales - 1)]
        for name in self.names:
            self.add_module(name, Res2NetConv(group, group, 3, stride))
        self.conv2 = Res2NetConv(group * scales, out, 1, act=False)
        self.short: nn.Module = nn.Identity()
        if first:
            self.short = Res2NetConv(channels, out, 1, 1 if self.average else stride, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride)."""
        groups = self.conv0(x).chunk(self.scales, 1)
        results: list[Tensor] = []
        for name, part in zip(self.names, groups, strict=False):
            fed = part + results[-1] if results and self.stride == 1 else part
            results.append(self.get_submodule(name)(fed))
        last = groups[-1]
        if self.stride != 1:
            last = F.avg_pool2d(last, 3, self.stride, 1, count_include_pad=False)
        y = self.conv2(torch.cat([*results, last], 1))
        if self.average:
            x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True, count_include_pad=False)
        return F.relu(self.short(x) + y)


class Res2Net(Backbone):
    """Res2Net of one depth and grouping.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        variant: depths, groups, variant D.
    """

    classifier_name = "out"
    decays_norm = True

    def __init__(
        self, num_classes: int = 1000, variant: Res2NetVariant = VARIANTS["res2net50_vd_26w_4s"]
    ) -> None:
        super().__init__()
        stem = {"conv1": (3, 64, 7, 2)}
        if variant.d:
            stem = {"conv1_1": (3, 32, 3, 2), "conv1_2": (32, 32, 3, 1), "conv1_3": (32, 64, 3, 1)}
        for name, arguments in stem.items():
            self.add_module(name, Res2NetConv(*arguments))
        self.pool2d_max = nn.MaxPool2d(3, 2, 1)
        trunk, ends, channels = [*stem, "pool2d_max"], [], 64
        for stage, depth in enumerate(variant.depths):
            out = 256 * 2**stage
            for i in range(depth):
                numbered = stage == 2 and depth >= LONG and i > 0
                letter = f"b{i}" if numbered else chr(ord("a") + i)
                label = f"res{stage + 2}{letter}"
                block = Res2NetBlock(channels, out, variant, stage, label, i == 0)
                trunk.append(f"bb_{stage}_{i}")
                self.add_module(trunk[-1], block)
                channels = out
            ends.append(trunk[-1])
        self.trunk, self.stage_names = tuple(trunk), tuple(ends)
        self.build_pooled_classifier(channels, num_classes, uniform=True)


for _name, _row in VARIANTS.items():
    register_variant(_name, Res2Net, _name.capitalize(), {"variant": _row})
