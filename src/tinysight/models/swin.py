"""Swin Transformer, arXiv:2103.14030: attention in windows that shift from block to block.

Structure and names follow PaddleClas' `SwinTransformer`. Maps are
(N, h, w, C) inside and (N, C, h, w) outside. Any image size works: maps are padded to whole
windows below and to the right, as in PaddleClas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from tinysight.models.base import Backbone, register_variant
from tinysight.models.layers import DropPath


class SwinVariant(NamedTuple):
    """Width, depths and heads of the stages, window, nominal image size, share of dropped paths.

    The shares are those of the paper's ImageNet-1k runs.
    """

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int = 7
    size: int = 224
    drop_path: float = 0.2


_DEEP = (2, 2, 18, 2)
VARIANTS = {
    "tiny_patch4_window7_224": SwinVariant(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small_patch4_window7_224": SwinVariant(96, _DEEP, (3, 6, 12, 24), drop_path=0.3),
    "base_patch4_window7_224": SwinVariant(128, _DEEP, (4, 8, 16, 32), drop_path=0.5),
    "base_patch4_window12_384": SwinVariant(128, _DEEP, (4, 8, 16, 32), 12, 384, 0.5),
    "large_patch4_window7_224": SwinVariant(192, _DEEP, (6, 12, 24, 48)),
    "large_patch4_window12_384": SwinVariant(192, _DEEP, (6, 12, 24, 48), 12, 384),
}
PATCH = 4
MLP_RATIO = 4


def window_index(window: int) -> Tensor:
    """Row of the bias table for each pair of positions in a window, (window^2, window^2) int64."""
    axis = torch.arange(window)
    rows, columns = (c.flatten() for c in torch.meshgrid(axis, axis, indexing="ij"))
    up = rows[:, None] - rows + window - 1
    left = columns[:, None] - columns + window - 1
    return up * (2 * window - 1) + left


def shift_mask(height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
    """0 where two positions of a shifted window are neighbours in the image, -100 where not.

    Args:
        height: of the padded map, a multiple of `window`.
        width: as `height`.
        window: side of a window.
        shift: how far the map was rolled up and to the left.
        like: gives device and type.

    Returns:
        (windows, window^2, window^2).
    """

    def bands(length: int) -> Tensor:
        at = torch.arange(length, device=like.device)
        return (at >= length - window).long() + (at >= length - shift).long()

    region = 3 * bands(height)[:, None] + bands(width)
    region = region.view(height // window, window, width // window, window)
    region = region.permute(0, 2, 1, 3).reshape(-1, window * window)
    apart = region[:, :, None] != region[:, None, :]
    return apart.to(like.dtype) * -100.0


class WindowAttention(nn.Module):
    """Self-attention within each window, with a learnt bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", window_index(window))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N * windows, window^2, C) and (windows, window^2, window^2) -> as the first."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(1, 1, length, length, self.heads).permute(0, 1, 4, 2, 3)
        if mask is not None:
            bias = bias + mask[:, None]
        # Written out: the fused operator has no exporter for a bias that differs by window.
        scores = q * (width // self.heads) ** -0.5 @ k.transpose(-2, -1)
        scores = scores.view(-1, bias.shape[1], self.heads, length, length) + bias
        y = scores.softmax(-1).view(batch, self.heads, length, length) @ v
        out: Tensor = self.proj(y.transpose(1, 2).reshape(batch, length, width))
        return out


class SwinMlp(nn.Sequential):
    """Two linear layers with GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(MLP_RATIO * width, width)


class SwinBlock(nn.Module):
    """Window attention, then the two-layer network; norm before each, shortcut around each."""

    def __init__(self, width: int, heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, window, heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = SwinMlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, C) -> the same shape."""
        n, h, w, c = x.shape
        k, s = self.window, self.shift
        y = F.pad(self.norm1(x), (0, 0, 0, -w % k, 0, -h % k))
        rows, columns = -(-h // k), -(-w // k)
        mask = None
        if s:
            mask = shift_mask(rows * k, columns * k, k, s, y)
            y = y.roll((-s, -s), (1, 2))
        y = y.view(n, rows, k, columns, k, c).transpose(2, 3).reshape(-1, k * k, c)
        y = self.attn(y, mask)
        y = y.view(n, rows, columns, k, k, c).transpose(2, 3).reshape(n, rows * k, columns * k, c)
        if s:
            y = y.roll((s, s), (1, 2))
        x = x + self.drop_path(y[:, :h, :w])
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


class PatchMerging(nn.Module):
    """The four positions of each 2 x 2 square side by side, normalised, halved in width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, C) -> (N, h / 2, w / 2, 2C), rounded up."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        y: Tensor = self.reduction(self.norm(torch.cat(corners, -1)))
        return y


class SwinStage(nn.Sequential):
    """Blocks, every second one shifted, and the merging behind them (none after the last stage).

    As in PaddleClas, and unlike the paper's code, a map of one window is shifted too.
    """

    def __init__(
        self, width: int, heads: int, window: int, drops: list[float], merge: bool
    ) -> None:
        super().__init__()
        shifts = (window // 2 * (i % 2) for i in range(len(drops)))
        blocks = (SwinBlock(width, heads, window, *row) for row in zip(shifts, drops, strict=True))
        self.blocks = nn.Sequential(*blocks)
        self.downsample = PatchMerging(width) if merge else nn.Identity()


class PatchEmbed(nn.Module):
    """Patches of 4 x 4 pixels as vectors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, H / 4, W / 4, width), rounded up."""
        x = F.pad(x, (0, -x.shape[3] % PATCH, 0, -x.shape[2] % PATCH))
        y: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return y


class SwinTransformer(Backbone):
    """Swin Transformer of one size.

    Args:
        num_classes: width of the logits; 0 returns the (N, D) vector before the classifier.
        variant: width, depths, heads, window.
        drop_path: share of the residual branches dropped for a sample in training, at the last
            block; earlier ones in proportion to their depth. Default: the variant's.
    """

    trunk = ("patch_embed", "layers.0", "layers.1", "layers.2", "layers.3", "norm")
    stage_names = ("layers.0", "layers.1", "layers.2", "layers.3")
    classifier_name = "head"
    undecayed = ("relative_position_bias_table",)

    def __init__(
        self,
        num_classes: int = 1000,
        variant: SwinVariant = VARIANTS["tiny_patch4_window7_224"],
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.2,
    ) -> None:
        super().__init__()
        total = sum(variant.depths)
        drops = [drop_path * i / (total - 1) for i in range(total)]
        self.input_size = variant.size
        self.patch_embed = PatchEmbed(variant.width)
        self.layers = nn.ModuleList()
        for i, (depth, heads) in enumerate(zip(variant.depths, variant.heads, strict=True)):
            width = variant.width * 2**i
            self.layers.append(SwinStage(width, heads, variant.window, drops[:depth], merge=i < 3))
            drops = drops[depth:]
        self.features = variant.width * 8
        self.norm = nn.LayerNorm(self.features)
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.head = self.build_classifier(num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)

    def _walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, SwinStage)
            x = stage.blocks(x)
            yield f"layers.{i}", x.permute(0, 3, 1, 2)
            x = stage.downsample(x)
        yield "norm", self.norm(x).permute(0, 3, 1, 2)


for _label, _row in VARIANTS.items():
    _size = _label.split("_")[0]
    _summary = f"Swin Transformer {_size}, windows of {_row.window}, for {_row.size} pixels"
    _fixed, _defaults = {"variant": _row}, {"drop_path": _row.drop_path}
    register_variant(f"swintransformer_{_label}", SwinTransformer, _summary, _fixed, _defaults)
