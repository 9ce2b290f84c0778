"""Feature pyramids of PicoDet, arXiv:2111.00902: three feature maps to four of one width.

Names are those of PaddleDetection's state dicts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.models.layers import BatchNorm2d, ConvBNAct

KERNEL = 5


class DepthPoint(nn.Module):
    """Depth-wise 5 x 5 and point-wise 1 x 1, each with normalisation and hard-swish.

    (N, C, h, w) -> (N, out_channels, h / stride, w / stride), rounded up. Where `out_channels` is not C, the first is
    no depth-wise convolution but one of so many groups, as in PaddleDetection.

    Args:
        channels: C.
        out_channels: of the result.
        stride: of the first convolution.
        act: False: no activation at the end.
    """

    def __init__(
        self, channels: int, out_channels: int, stride: int = 1, *, act: bool = True
    ) -> None:
        super().__init__()
        sizes = (channels, out_channels, KERNEL, stride, KERNEL // 2)
        self.dwconv = nn.Conv2d(*sizes, groups=out_channels, bias=False)
        self.bn1 = BatchNorm2d(out_channels)
        self.pwconv = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.bn2 = BatchNorm2d(out_channels)
        self._act = act

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the result."""
        x = self.bn2(self.pwconv(F.hardswish(self.bn1(self.dwconv(x)))))
        return F.hardswish(x) if self._act else x


class _Point(ConvBNAct):
    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 1, act=nn.Hardswish)


class _CspBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.main_conv, self.short_conv = _Point(channels, half), _Point(channels, half)
        self.final_conv = _Point(out_channels, out_channels)
        block = nn.Module()
        block.conv1, block.conv2 = _Point(half, half), DepthPoint(half, half)
        self.blocks = nn.ModuleList([block])

    def forward(self, x: Tensor) -> Tensor:
        main, short = self.main_conv(x), self.short_conv(x)
        for block in self.blocks:
            main = block.conv2(block.conv1(main))  # type: ignore[operator]
        y: Tensor = self.final_conv(torch.cat([main, short], dim=1))
        return y


class _Separable(nn.Module):
    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        depth = (channels, channels, KERNEL, 1, channels)
        self.dw_conv = ConvBNAct(*depth, nn.Hardswish)
        self.pw_conv = _Point(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pw_conv(self.dw_conv(x))
        return y


class Pyramid(nn.Module):
    """Top-down and bottom-up paths over three maps, and a fourth of half the resolution of the last.

    Args:
        in_channels: of the three maps, the finest first.
        channels: of the four.
        light: two separable convolutions a node (LC-PAN), instead of cross-stage blocks (CSP-PAN).
    """

    def __init__(self, in_channels: Sequence[int], channels: int, light: bool) -> None:
        super().__init__()
        self.channels = channels
        self.conv_t = nn.Module()
        self.conv_t.convs = nn.ModuleList(_Point(c, channels) for c in in_channels)

        def node() -> nn.Module:
            both = 2 * channels
            if light:
                return nn.Sequential(_Separable(both, both), _Separable(both, channels))
            return _CspBlock(both, channels)

        def half() -> DepthPoint:
            return DepthPoint(channels, channels, 2)

        self.first_top_conv, self.second_top_conv = half(), half()
        steps = range(len(in_channels) - 1)
        self.top_down_blocks = nn.ModuleList(node() for _ in steps)
        self.downsamples = nn.ModuleList(half() for _ in steps)
        self.bottom_up_blocks = nn.ModuleList(node() for _ in steps)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, C_i, h / 2^i, w / 2^i) to four (N, channels, ...)."""
        convs = self.conv_t.get_submodule("convs").children()
        maps = [conv(x) for conv, x in zip(convs, maps, strict=True)]
        inner = [maps[-1]]
        for block, x in zip(self.top_down_blocks, maps[-2::-1], strict=True):
            up = F.interpolate(inner[0], scale_factor=2.0, mode="nearest")
            inner.insert(0, block(torch.cat([up, x], dim=1)))
        found = [inner[0]]
        paths = zip(self.downsamples, self.bottom_up_blocks, inner[1:], strict=True)
        for down, block, x in paths:
            found.append(block(torch.cat([down(found[-1]), x], dim=1)))
        return [*found, self.first_top_conv(maps[-1]) + self.second_top_conv(found[-1])]
