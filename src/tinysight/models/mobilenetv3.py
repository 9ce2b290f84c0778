"""MobileNetV3, arXiv:1905.02244: inverted residuals with channel gates and hard-swish.

Structure and names follow PaddleClas' `MobileNetV3`, whose gates are
clip(0.2 x + 0.5, 0, 1).
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, NamedTuple

from annotated_types import Ge, Lt
from torch import Tensor, nn

from tinysight.models.base import LastConvBackbone, register_variant
from tinysight.models.layers import ConvBNAct, HardSigmoid, SqueezeExcite, make_divisible


class MobileNetV3Row(NamedTuple):
    """Kernel, channels inside and out at width 1, stride, channel gate, hard-swish (else ReLU)."""

    kernel: int
    inside: int
    out: int
    stride: int = 1
    se: bool = False
    swish: bool = True


STEM = 16
SMALL = (
    MobileNetV3Row(3, 16, 16, 2, se=True, swish=False),
    MobileNetV3Row(3, 72, 24, 2, swish=False),
    MobileNetV3Row(3, 88, 24, swish=False),
    MobileNetV3Row(5, 96, 40, 2, se=True),
    *[MobileNetV3Row(5, 240, 40, se=True)] * 2,
    MobileNetV3Row(5, 120, 48, se=True),
    MobileNetV3Row(5, 144, 48, se=True),
    MobileNetV3Row(5, 288, 96, 2, se=True),
    *[MobileNetV3Row(5, 576, 96, se=True)] * 2,
)
LARGE = (
    MobileNetV3Row(3, 16, 16, swish=False),
    MobileNetV3Row(3, 64, 24, 2, swish=False),
    MobileNetV3Row(3, 72, 24, swish=False),
    MobileNetV3Row(5, 72, 40, 2, se=True, swish=False),
    *[MobileNetV3Row(5, 120, 40, se=True, swish=False)] * 2,
    MobileNetV3Row(3, 240, 80, 2),
    MobileNetV3Row(3, 200, 80),
    *[MobileNetV3Row(3, 184, 80)] * 2,
    MobileNetV3Row(3, 480, 112, se=True),
    MobileNetV3Row(3, 672, 112, se=True),
    MobileNetV3Row(5, 672, 160, 2, se=True),
    *[MobileNetV3Row(5, 960, 160, se=True)] * 2,
)
WIDTHS = {"x0_35": 0.35, "x0_5": 0.5, "x0_75": 0.75, "x1_0": 1.0, "x1_25": 1.25}
GATE = partial(HardSigmoid, 0.2)


class MobileNetV3Block(nn.Module):
    """1 x 1 expansion, depth-wise convolution, optional gate, linear 1 x 1, shortcut."""

    def __init__(self, in_channels: int, row: MobileNetV3Row, width: float) -> None:
        super().__init__()
        inside, self.out_channels = (make_divisible(c * width) for c in (row.inside, row.out))
        act = nn.Hardswish if row.swish else nn.ReLU
        self.shortcut = row.stride == 1 and in_channels == self.out_channels
        self.expand_conv = ConvBNAct(in_channels, inside, 1, act=act)
        self.bottleneck_conv = ConvBNAct(inside, inside, row.kernel, row.stride, inside, act)
        self.mid_se = SqueezeExcite(inside, gate=GATE) if row.se else nn.Identity()
        self.linear_conv = ConvBNAct(inside, self.out_channels, 1, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride)."""
        y: Tensor = self.linear_conv(self.mid_se(self.bottleneck_conv(self.expand_conv(x))))
        return x + y if self.shortcut else y


class MobileNetV3(LastConvBackbone):
    """MobileNetV3 of one table and width.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        rows: `SMALL` or `LARGE`.
        width: factor on every channel count but `last_channels`, rounded to multiples of 8.
        last_channels: width of the 1 x 1 convolution with hard-swish behind the pooling.
        dropout: share of its outputs dropped in training (see `DownscaleDropout`).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        rows: tuple[MobileNetV3Row, ...] = SMALL,
        width: float = 1.0,
        last_channels: Annotated[int, Ge(1)] = 1280,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.2,
    ) -> None:
        super().__init__()
        channels = make_divisible(STEM * width)
        self.conv = ConvBNAct(3, channels, 3, 2, act=nn.Hardswish)
        self.blocks = nn.ModuleList()
        for row in rows:
            block = MobileNetV3Block(channels, row, width)
            self.blocks.append(block)
            channels = block.out_channels
        wide = make_divisible(rows[-1].inside * width)
        self.last_second_conv = ConvBNAct(channels, wide, 1, act=nn.Hardswish)
        self.trunk = ("conv", *(f"blocks.{i}" for i in range(len(rows))), "last_second_conv")
        ends = [i for i in range(len(rows)) if i + 1 == len(rows) or rows[i + 1].stride == 2]
        self.stage_names = tuple(f"blocks.{i}" for i in ends)
        self.build_head(wide, num_classes, last_channels, dropout, nn.Hardswish)


for _size, _rows in (("small", SMALL), ("large", LARGE)):
    for _label, _width in WIDTHS.items():
        _summary, _fixed = f"MobileNetV3 of width {_width:g}", {"rows": _rows, "width": _width}
        register_variant(f"mobilenetv3_{_size}_{_label}", MobileNetV3, _summary, _fixed)
