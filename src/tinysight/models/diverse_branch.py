"""Diverse branch block, arXiv:2103.13425: a convolution that trains as four branches with batch
normalisation each, and folds into one convolution afterwards.

Structure and names follow PaddleClas' `DiverseBranchBlock`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.models import layers
from tinysight.models.layers import Activation, BatchNorm2d, ConvBNAct, Size, fold_batch_norm


class _IdentityConv(nn.Module):
    """1 x 1 convolution that starts as the identity: what it learns is the difference."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels, 1, 1))

    def kernel(self) -> Tensor:
        """(C, C, 1, 1)."""
        ones = torch.eye(len(self.weight), dtype=self.weight.dtype, device=self.weight.device)
        return self.weight + ones[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        return F.conv2d(x, self.kernel())


class _PaddedNorm(nn.Module):
    """Batch normalisation, then a border of what it makes of zeros with its running statistics.

    A padded convolution in front of the normalisation would see just that, so the branch folds.
    """

    def __init__(self, channels: int, border: int) -> None:
        super().__init__()
        self.border = [border] * 4
        self.bn = BatchNorm2d(channels, momentum=0.9)  # PaddleClas keeps a tenth of the old mean

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h + 2 border, w + 2 border)."""
        y: Tensor = self.bn(x)
        _, bias = layers.batch_norm_affine(self.bn, self.bn.weight.dtype)
        outside = F.pad(torch.zeros_like(y[:1, :1]), self.border, value=1.0)
        return F.pad(y, self.border) + outside * bias.to(y.dtype)[:, None, None]


class _Averaging(nn.Sequential):
    """1 x 1 convolution, then an average of k x k."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: Size) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = _PaddedNorm(out_channels, kernel // 2)
        self.avg = nn.AvgPool2d(kernel, stride)
        self.avgbn = BatchNorm2d(out_channels)


class _Chain(nn.Sequential):
    """1 x 1 convolution, then one of k x k."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: Size) -> None:
        super().__init__()
        self.idconv1 = _IdentityConv(in_channels)
        self.bn1 = _PaddedNorm(in_channels, kernel // 2)
        self.conv2 = nn.Conv2d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn2 = BatchNorm2d(out_channels)


class DiverseBranchBlock(nn.Module):
    """k x k; 1 x 1; 1 x 1 and average; 1 x 1 and k x k: their sum, activated.

    (N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride), rounded up.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: Size = 1,
        act: Activation | None = nn.ReLU,
    ) -> None:
        super().__init__()
        sizes = (in_channels, out_channels, kernel, stride)
        self.sizes = (*sizes, kernel // 2)
        self.dbb_origin = ConvBNAct(*sizes, act=None)
        self.dbb_avg = _Averaging(*sizes)
        self.dbb_1x1 = ConvBNAct(in_channels, out_channels, 1, stride, act=None)
        self.dbb_1x1_kxk = _Chain(*sizes)
        self.act = act() if act else nn.Identity()
        self.dbb_reparam: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        """As the class says; the same with the branches folded."""
        if self.dbb_reparam is not None:
            return self.act(self.dbb_reparam(x))  # type: ignore[no-any-return]
        y = self.dbb_origin(x) + self.dbb_1x1(x) + self.dbb_avg(x) + self.dbb_1x1_kxk(x)
        return self.act(y)  # type: ignore[no-any-return]

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Replace the branches by one convolution; the output in evaluation stays."""
        if self.dbb_reparam is not None:
            return
        origin, average, chain = self.dbb_origin.conv, self.dbb_avg, self.dbb_1x1_kxk
        weight, bias = fold_batch_norm(origin, self.dbb_origin.bn)
        point, shift = fold_batch_norm(self.dbb_1x1.conv, self.dbb_1x1.bn)
        weight += F.pad(point, [weight.shape[-1] // 2] * 4)
        bias += shift

        point, shift = fold_batch_norm(average.conv, average.bn.bn)
        gain, moved = layers.batch_norm_affine(average.avgbn)
        area = weight.shape[-1] ** 2
        weight += point * gain[:, None, None, None] / area
        bias += shift * gain + moved

        gain, shift = layers.batch_norm_affine(chain.bn1.bn)
        first = chain.idconv1.kernel().double()[:, :, 0, 0] * gain[:, None]
        second, moved = fold_batch_norm(chain.conv2, chain.bn2)
        weight += torch.einsum("omhw,mi->oihw", second, first)
        bias += torch.einsum("omhw,m->o", second, shift) + moved

        folded = nn.Conv2d(*self.sizes).to(origin.weight)
        folded.weight.copy_(weight)
        assert folded.bias is not None
        folded.bias.copy_(bias)
        self.dbb_reparam = folded
        for branch in ("dbb_origin", "dbb_avg", "dbb_1x1", "dbb_1x1_kxk"):
            delattr(self, branch)
