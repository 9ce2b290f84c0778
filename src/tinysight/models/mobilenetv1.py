"""MobileNetV1, arXiv:1704.04861: depth-wise separable blocks with ReLU.

Structure and names follow PaddleClas' `MobileNet`.
"""

from __future__ import annotations

from torch import nn

from tinysight.models.base import Backbone, register_variant
from tinysight.models.layers import ConvBNAct

STEM = 32
_DOWN = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))
BLOCKS = (*_DOWN, *[(512, 1)] * 5, (1024, 2), (1024, 1))  # output channels at width 1, stride
WIDTHS = {"_x0_25": 0.25, "_x0_5": 0.5, "_x0_75": 0.75, "": 1.0}


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
        for out, stride in ((int(c * width), s) for c, s in BLOCKS):
            self.blocks.append(MobileNetV1Block(channels, out, stride))
            channels = out
        self.build_pooled_classifier(channels, num_classes)


for _name, _width in WIDTHS.items():
    _summary = f"MobileNetV1 of width {_width:g}"
    register_variant(f"mobilenetv1{_name}", MobileNetV1, _summary, {"width": _width})
