"""MobileNetV1, arXiv:1704.04861: depth-wise separable blocks with ReLU.

Structure and names follow PaddleClas implementation (PaddleClas, `MobileNet`).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from tinysight.models.base import Backbone
from tinysight.models.layers import ConvBNAct, init_weights
from tinysight.models.variants import register_variant


class Block(NamedTuple):
    """Output channels at width 1, stride."""

    out: int
    stride: int = 1


STEM = 32
BLOCKS = (
    Block(64),
    Block(128, 2),
    Block(128),
    Block(256, 2),
    Block(256),
    Block(512, 2),
    *[Block(512)] * 5,
    Block(1024, 2),
    Block(1024),
)
WIDTHS = {
    "mobilenetv1_x0_25": 0.25,
    "mobilenetv1_x0_5": 0.5,
    "mobilenetv1_x0_75": 0.75,
    "mobilenetv1": 1.0,
}


class DepthwiseSeparable(nn.Module):
    """Depth-wise 3 x 3, point-wise 1 x 1; each convolution with BN and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv = ConvBNAct(in_channels, in_channels, 3, stride, in_channels)
        self.pointwise_conv = ConvBNAct(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride)."""
        y: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return y


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
            self.blocks.append(DepthwiseSeparable(channels, out, row.stride))
            channels = out
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.features = channels
        self.fc = self.build_classifier(num_classes)
        init_weights(self)

    def pre_logits(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C)."""
        x: Tensor = self.avg_pool(features)
        return x.flatten(1)


for _name, _width in WIDTHS.items():
    register_variant(_name, MobileNetV1, f"MobileNetV1 of width {_width:g}", {"width": _width})
