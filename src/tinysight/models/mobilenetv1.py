"""MobileNetV1, arXiv:1704.04861: depth-wise separable blocks with ReLU.

Structure and names follow PaddleClas' `MobileNet`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from tinysight.models.base import Backbone
from tinysight.models.layers import ConvBNAct
from tinysight.models.variants import register_variant


class MobileNetV1Row(NamedTuple):
    """Output channels at width 1, stride."""

    out: int
    stride: int = 1


STEM = 32
BLOCKS = (
    MobileNetV1Row(64),
    MobileNetV1Row(128, 2),
    MobileNetV1Row(128),
    MobileNetV1Row(256, 2),
    MobileNetV1Row(256),
    MobileNetV1Row(512, 2),
    *[MobileNetV1Row(512)] * 5,
    MobileNetV1Row(1024, 2),
    MobileNetV1Row(1024),
)
WIDTHS = {
    "mobilenetv1_x0_25": 0.25,
    "mobilenetv1_x0_5": 0.5,
    "mobilenetv1_x0_75": 0.75,
    "mobilenetv1": 1.0,
}


class MobileNetV1Block(nn.Sequential):
    """Depth-wise 3 x 3, point-wise 1 x 1; each convolution with BN and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv = ConvBNAct(in_channels, in_channels, 3, stride, in_channels)
        self.pointwise_conv = ConvBNAct(in_channels, out_channels, 1)


class MobileNetV1(Backbone):
    """MobileNetV1 of one width.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        width: factor on every channel count.
    """

    trunk = ("conv", *(f"blocks.{i}" for i in range(len(BLOCKS))))
    stage_names = ("blocks.0", "blocks.2", "blocks.4", "blocks.10", "blocks.12")
    decays_norm = True

    def __init__(self, num_classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        channels = int(STEM * width)
        self.conv = ConvBNAct(3, channels, 3, 2)
        self.blocks = nn.ModuleList()
        for row in BLOCKS:
            out = int(row.out * width)
            self.blocks.append(MobileNetV1Block(channels, out, row.stride))
            channels = out
        self.build_pooled_classifier(channels, num_classes)


for _name, _width in WIDTHS.items():
    register_variant(_name, MobileNetV1, f"MobileNetV1 of width {_width:g}", {"width": _width})
