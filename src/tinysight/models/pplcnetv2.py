"""PP-LCNetV2: PP-LCNet with re-parameterised depth-wise convolutions, split point-wise ones and a
shortcut; and its embedding variant for recognition (PP-ShiTuV2).

Structure, names and initialisation follow PaddleClas' `PPLCNetV2`.
"""

from __future__ import annotations

import functools
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from tinysight.models.base import LastConvBackbone, register_variant
from tinysight.models.layers import ConvBNAct, SqueezeExcite, fold_batch_norm, make_divisible


class LCNetV2Stage(NamedTuple):
    """One stage; output channels at width 1, and what its blocks have."""

    out: int
    kernel: int = 3
    split_pw: bool = False  # the point-wise convolution goes through half the channels
    branches: bool = False  # depth-wise kernels k, k - 2, ... 1 are summed in training
    se: bool = False
    shortcut: bool = False


class LCNetV2Variant(NamedTuple):
    """Width and blocks per stage."""

    width: float
    depths: tuple[int, int, int, int]


STEM = (32, 64)
STAGES = (
    LCNetV2Stage(128),
    LCNetV2Stage(256),
    LCNetV2Stage(512, kernel=5, split_pw=True, branches=True, se=True),
    LCNetV2Stage(1024, kernel=5, branches=True, shortcut=True),
)
VARIANTS = {
    "pplcnetv2_small": LCNetV2Variant(0.75, (2, 2, 4, 2)),
    "pplcnetv2_base": LCNetV2Variant(1.0, (2, 2, 6, 2)),
    "pplcnetv2_large": LCNetV2Variant(1.25, (2, 2, 8, 2)),
}


def _branches(channels: int, kernel: int, stride: int) -> nn.ModuleList:
    """Depth-wise kernels k, k - 2, ... 1, each with BN; the 1 x 1 one at stride 1 only."""
    return nn.ModuleList(
        ConvBNAct(channels, channels, k, stride, channels, act=None)
        for k in range(kernel, 0, -2)
        if k > 1 or stride == 1
    )


class RepBlock(nn.Module):
    """Depth-wise convolution (plain or branched), gate, one or two point-wise ones, shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, stage: LCNetV2Stage, stride: int
    ) -> None:
        super().__init__()
        self.kernel = stage.kernel
        self.shortcut = stage.shortcut and stride == 1 and in_channels == out_channels
        self.split = stage.split_pw
        self.dw_conv_list: nn.ModuleList | None = None
        if stage.branches:
            self.dw_conv_list = _branches(in_channels, stage.kernel, stride)
            # PaddleClas keeps the folded convolution beside its branches in every state dict.
            sizes = (in_channels, in_channels, stage.kernel, stride, (stage.kernel - 1) // 2)
            self.dw_conv: nn.Module = nn.Conv2d(*sizes, groups=in_channels).requires_grad_(False)
        else:
            self.dw_conv = ConvBNAct(in_channels, in_channels, stage.kernel, stride, in_channels)
        self.se = SqueezeExcite(in_channels, gate=nn.Sigmoid) if stage.se else nn.Identity()
        if self.split:
            self.pw_conv_1 = ConvBNAct(in_channels, out_channels // 2, 1)
            self.pw_conv_2 = ConvBNAct(out_channels // 2, out_channels, 1)
        else:
            self.pw_conv = ConvBNAct(in_channels, out_channels, 1)
        self.branched = stage.branches

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride)."""
        if self.dw_conv_list is not None:
            y: Tensor = F.relu(functools.reduce(torch.add, [b(x) for b in self.dw_conv_list]))
        else:
            y = self.dw_conv(x)
            if self.branched:
                y = F.relu(y)
        y = self.se(y)
        y = self.pw_conv_2(self.pw_conv_1(y)) if self.split else self.pw_conv(y)
        return x + y if self.shortcut else y

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Replace the branches by their sum, one convolution; the output in evaluation stays."""
        if self.dw_conv_list is None:
            return
        assert isinstance(self.dw_conv, nn.Conv2d)
        assert self.dw_conv.bias is not None
        self.dw_conv.weight.zero_()
        self.dw_conv.bias.zero_()
        for branch in self.dw_conv_list:
            assert isinstance(branch, ConvBNAct)
            weight, bias = fold_batch_norm(branch.conv, branch.bn)
            self.dw_conv.weight += F.pad(weight, [(self.kernel - weight.shape[-1]) // 2] * 4)
            self.dw_conv.bias += bias
        self.dw_conv_list = None


class PPLCNetV2(LastConvBackbone):
    """PP-LCNetV2.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        variant: width and depths.
        use_last_conv: the 1 x 1 convolution to `last_channels` with ReLU and dropout behind the
            pooling.
        last_channels: width of that convolution.
        dropout: share of its outputs dropped in training (see `DownscaleDropout`).
        embedding: the recognition variant: the last stage keeps its resolution, the last
            convolution has a bias and no activation.
    """

    trunk = ("stem", "stages.0", "stages.1", "stages.2", "stages.3")
    stage_names = trunk[1:]

    def __init__(
        self,
        num_classes: int = 1000,
        variant: LCNetV2Variant = VARIANTS["pplcnetv2_base"],
        use_last_conv: bool = True,
        last_channels: Annotated[int, Ge(1)] = 1280,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.2,
        embedding: bool = False,
    ) -> None:
        super().__init__()
        stem, channels = (make_divisible(c * variant.width) for c in STEM)
        self.stem = nn.Sequential(
            ConvBNAct(3, stem, 3, 2), RepBlock(stem, channels, LCNetV2Stage(channels), 1)
        )
        self.stages = nn.ModuleList()
        for number, (stage, depth) in enumerate(zip(STAGES, variant.depths, strict=True)):
            out = make_divisible(stage.out * variant.width)
            first = 1 if embedding and number == len(STAGES) - 1 else 2
            blocks = []
            for i in range(depth):
                blocks.append(RepBlock(channels, out, stage, 1 if i else first))
                channels = out
            self.stages.append(nn.Sequential(*blocks))
        last, act = last_channels if use_last_conv else None, nn.Identity if embedding else nn.ReLU
        self.build_head(channels, num_classes, last, dropout, act, bias=embedding)


for _name, _row in VARIANTS.items():
    _summary, _fixed = f"PP-LCNetV2 {_name.split('_')[1]}", {"variant": _row, "embedding": False}
    register_variant(_name, PPLCNetV2, _summary, _fixed)
register_variant(
    "pplcnetv2_base_shitu",
    PPLCNetV2,
    "PP-LCNetV2 base for embeddings (PP-ShiTuV2)",
    {"variant": VARIANTS["pplcnetv2_base"], "embedding": True, "use_last_conv": True},
)
