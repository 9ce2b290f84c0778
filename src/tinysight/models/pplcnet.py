"""PP-LCNet, arXiv:2109.15099: depth-wise separable blocks with hard-swish, fast on one CPU core.

Structure, names and initialisation follow PaddleClas' `PPLCNet`.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

from annotated_types import Ge, Lt
from torch import nn

from tinysight.models.base import LastConvBackbone, register_variant
from tinysight.models.layers import ConvBNAct, Size, SqueezeExcite, make_divisible


class LCNetRow(NamedTuple):
    """Output channels at width 1, kernel, stride, and whether the block has a channel gate."""

    out: int
    kernel: int = 3
    stride: Size = 1
    se: bool = False


STEM = 16
STAGES: tuple[tuple[str, tuple[LCNetRow, ...]], ...] = (
    ("blocks2", (LCNetRow(32),)),
    ("blocks3", (LCNetRow(64, stride=2), LCNetRow(64))),
    ("blocks4", (LCNetRow(128, stride=2), LCNetRow(128))),
    ("blocks5", (LCNetRow(256, stride=2), *[LCNetRow(256, kernel=5)] * 5)),
    ("blocks6", (LCNetRow(512, kernel=5, stride=2, se=True), LCNetRow(512, kernel=5, se=True))),
)
WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)
Strides: TypeAlias = tuple[Size, Size, Size, Size, Size]
LrMults: TypeAlias = tuple[float, float, float, float, float, float]


class LCNetBlock(nn.Sequential):
    """Depth-wise k x k, optional channel gate, point-wise 1 x 1; each convolution with BN and
    hard-swish.
    """

    def __init__(self, in_channels: int, row: LCNetRow, width: float) -> None:
        super().__init__()
        self.out_channels = make_divisible(row.out * width)
        sizes = (in_channels, in_channels, row.kernel, row.stride, in_channels)
        self.dw_conv = ConvBNAct(*sizes, nn.Hardswish)
        self.se = SqueezeExcite(in_channels) if row.se else nn.Identity()
        self.pw_conv = ConvBNAct(in_channels, self.out_channels, 1, act=nn.Hardswish)


class PPLCNet(LastConvBackbone):
    """PP-LCNet of one width.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        width: factor on every channel count of `STAGES`, rounded to multiples of 8.
        strides: of the stem and of the first block of `blocks3` to `blocks6`; an int or (vertical,
            horizontal).
        use_last_conv: the 1 x 1 convolution to `last_channels` with dropout between pooling and
            classifier; without it the classifier takes the pooled map itself.
        last_channels: width of that convolution.
        dropout: share of its outputs dropped in training (see `DownscaleDropout`).
        lr_mults: learning-rate multipliers of the stem and of `blocks2` to `blocks6`; the head has
            1.
    """

    trunk = ("conv1", *(name for name, _ in STAGES))
    stage_names = ("blocks2", "blocks3", "blocks4", "blocks5", "blocks6")
    stage_prefixes = tuple((f"{name}.",) for name in trunk)

    def __init__(
        self,
        num_classes: int = 1000,
        width: float = 1.0,
        strides: Strides = (2, 2, 2, 2, 2),
        use_last_conv: bool = True,
        last_channels: Annotated[int, Ge(1)] = 1280,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.2,
        lr_mults: LrMults | None = None,
    ) -> None:
        super().__init__()
        self.set_lr_mults(lr_mults)
        channels = make_divisible(STEM * width)
        self.conv1 = ConvBNAct(3, channels, 3, strides[0], act=nn.Hardswish)
        first = dict(zip(("blocks3", "blocks4", "blocks5", "blocks6"), strides[1:], strict=True))
        for name, rows in STAGES:
            blocks = []
            for i, row in enumerate(rows):
                stride = first.get(name, row.stride) if i == 0 else row.stride
                blocks.append(LCNetBlock(channels, row._replace(stride=stride), width))
                channels = blocks[-1].out_channels
            self.add_module(name, nn.Sequential(*blocks))
        last = last_channels if use_last_conv else None
        self.build_head(channels, num_classes, last, dropout, nn.Hardswish)


for _width in WIDTHS:
    _name = f"pplcnet_x{_width}".replace(".", "_")
    register_variant(_name, PPLCNet, f"PP-LCNet of width {_width:g}", {"width": _width})
