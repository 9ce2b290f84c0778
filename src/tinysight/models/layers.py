"""Building blocks that the networks share, with the conventions of PaddleClas where
they change numbers.

Feature maps are (N, C, h, w) float. Attribute names are those of PaddleClas' state dicts, so
that `weights.py` maps names by rule and no network needs a table of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size: TypeAlias = int | tuple[int, int]
Activation: TypeAlias = Callable[[], nn.Module]


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor` and never below 90 % of
    `value`.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that can feed the running variance with the population variance of the
    batch.

    torch feeds it with the unbiased variance, N/(N-1) larger; PaddlePaddle with the population
    variance. What normalises the batch itself is the population variance in both. Set `biased` on
    all layers with `set_batch_norm_variance`. With it, a batch that has one value per channel is
    normal input (variance 0); without it torch refuses one.
    """

    biased = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        if not (self.biased and self.training and self.track_running_stats):
            return super().forward(x)
        mean, variance = self.running_mean, self.running_var
        assert mean is not None
        assert variance is not None
        assert self.momentum is not None
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        old, new = 1.0 - self.momentum, self.momentum
        count = x.numel() // x.shape[1]
        if count == 1:  # the unbiased variance of one value is 0/0; the population variance is 0
            with torch.no_grad():
                mean.mul_(old).add_(x.detach().flatten().to(mean.dtype), alpha=new)
                variance.mul_(old)
            return self._normalise(x, None, None, 0.0)
        scratch = variance.clone()  # becomes old * variance + new * batch * count / (count - 1)
        y = self._normalise(x, mean, scratch, new)
        variance.mul_(old / count).add_(scratch, alpha=(count - 1) / count)
        return y

    def _normalise(
        self, x: Tensor, mean: Tensor | None, variance: Tensor | None, momentum: float
    ) -> Tensor:
        # The operator itself: nn.functional.batch_norm refuses one value per channel, which is
        # defined here.
        return torch.batch_norm(
            x, self.weight, self.bias, mean, variance, True, momentum, self.eps,
            torch.backends.cudnn.enabled,
        )  # fmt: skip


class BatchNorm1d(BatchNorm2d):
    """The same for vectors (N, C)."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim != 2:
            raise ValueError(f"expected (N, C), got {tuple(input.shape)}")


def set_batch_norm_variance(model: nn.Module, variance: Literal["biased", "unbiased"]) -> None:
    """Choose the batch variance that enters the running one, for every `BatchNorm2d` of `model`.

    Args:
        model: any network of this package; changed in place. Nothing but training steps is
            affected.
        variance: "unbiased" is torch's convention, "biased" PaddlePaddle's.

    Raises:
        ValueError: another word, or a batch normalisation of another class, which would silently
            stay unbiased.
    """
    if variance not in ("biased", "unbiased"):
        raise ValueError(f"variance is 'biased' or 'unbiased', got {variance!r}")
    for name, module in model.named_modules():
        if isinstance(module, BatchNorm2d):
            module.biased = variance == "biased"
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and variance == "biased":
            raise ValueError(f"{name} is a {type(module).__name__}, which has no biased variant")


class DownscaleDropout(nn.Module):
    """Dropout that zeroes without rescaling in training and multiplies by 1 - p in evaluation.

    PaddleClas' mode `downscale_in_infer`. torch rescales in training instead; the two differ by
    a factor in both modes, which the layer behind has learnt.
    """

    def __init__(self, p: float = 0.2) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout is in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if self.p == 0.0:
            return x
        keep = 1.0 - self.p
        return F.dropout(x, self.p) * keep if self.training else x * keep

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class DropPath(nn.Module):
    """Zero a residual branch for a random share of the samples, scaling the others up; training
    only.

    Stochastic depth, arXiv:1603.09382.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"drop_path is in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> the same shape."""
        if self.p == 0.0 or not self.training:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.p
        return x * (kept / (1.0 - self.p)).to(x.dtype)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class HardSigmoid(nn.Module):
    """clip(slope * x + 1/2, 0, 1). The usual slope is 1/6; MobileNetV3's gates have 1/5.

    Written with the fused operator for every slope, so that an exported graph has `HardSigmoid` and
    not three operators.
    """

    def __init__(self, slope: float = 1 / 6) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape, in [0, 1]."""
        return F.hardsigmoid(x if self.slope == 1 / 6 else x * (6.0 * self.slope))

    def extra_repr(self) -> str:
        """The slope."""
        return f"slope={self.slope:.4g}"


class ConvBNAct(nn.Sequential):
    """Convolution without bias, batch normalisation, activation.

    (N, in_channels, h, w) -> (N, out_channels, h / stride, w / stride), rounded up.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: Size = 1,
        groups: int = 1,
        act: Activation | None = nn.ReLU,
    ) -> None:
        super().__init__()
        sizes = (in_channels, out_channels, kernel, stride, (kernel - 1) // 2)
        self.conv = nn.Conv2d(*sizes, groups=groups, bias=False)
        self.bn = BatchNorm2d(out_channels)
        self.act = act() if act else nn.Identity()


class SqueezeExcite(nn.Module):
    """Channel gate, arXiv:1709.01507: average over the map, two 1x1 convolutions with bias, gate,
    multiply.
    """

    def __init__(self, channels: int, reduction: int = 4, gate: Activation = HardSigmoid) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv1 = nn.Conv2d(channels, channels // reduction, 1)
        self.conv2 = nn.Conv2d(channels // reduction, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        gate = self.gate(self.conv2(F.relu(self.conv1(self.pool(x)))))
        return x * gate  # type: ignore[no-any-return]  # nn.Module calls are Any


def batch_norm_affine(
    bn: nn.BatchNorm2d, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Gain and bias of `bn` in evaluation, (C,) each."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    gain = bn.weight.to(dtype) / (bn.running_var.to(dtype) + bn.eps).sqrt()
    return gain, bn.bias.to(dtype) - bn.running_mean.to(dtype) * gain


def fold_batch_norm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals `conv` followed by `bn` in evaluation.

    Computed in float64: the quotient of gain and deviation would cost digits otherwise.
    """
    scale, bias = batch_norm_affine(bn)
    if conv.bias is not None:
        bias = bias + conv.bias.double() * scale
    weight = conv.weight.double() * scale[:, None, None, None]
    return weight, bias


def init_weights(model: nn.Module) -> None:
    """Draw fresh weights as PaddleClas does for its convolutional networks.

    Convolutions: normal, standard deviation sqrt(2 / fan_in), bias 0. Linear layers: Xavier
        uniform, bias 0.
    Batch normalisation: gain 1, bias 0, running mean 0 and variance 1.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / module.weight[0].numel()))
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
