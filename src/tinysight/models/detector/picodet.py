"""PicoDet, arXiv:2111.00902, in both forms of PaddleDetection, with its names.

`picodet` is the form that PP-ShiTu's main-body detector has: one convolution a level gives classes and distances.
`picodet_v2` has a channel gate, a convolution for each, and a second opinion on the score.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from tinysight.errors import WeightsError, join
from tinysight.metrics.suppression import Suppression, multiclass_nms, stacked
from tinysight.models.base import Backbone
from tinysight.models.detector.necks import KERNEL, DepthPoint, Pyramid
from tinysight.models.layers import BatchNorm2d
from tinysight.models.outputs import Outputs
from tinysight.registry import backbones, detectors

STRIDES = (8, 16, 32, 64)
BINS = 8  # of a distance: 0 to 7 strides
_PRIOR = -math.log((1 - 0.01) / 0.01)
_LEFT_OVER = ("head_cls_list", "head_reg_list", "p3_feat", "p4_feat", "p5_feat", "p6_feat")
Neck = Literal["csp_pan", "lc_pan"]
Share = Annotated[float, Ge(0), Le(1)]


class Cells(NamedTuple):
    """The cells that predict a box each: their centres (A, 2), x and y in pixels, and strides (A,)."""

    centres: Tensor
    strides: Tensor


def cells(height: int, width: int, device: torch.device | None = None) -> Cells:
    """The cells of an input, level by level, row by row.

    Args:
        height: of the network's input, pixels.
        width: of the network's input, pixels.
        device: where they are made.
    """
    centres, strides = [], []
    for stride in STRIDES:
        y, x = (torch.arange(-(-n // stride), device=device) + 0.5 for n in (height, width))
        grid = torch.meshgrid(y * stride, x * stride, indexing="ij")
        centres.append(torch.stack([grid[1].reshape(-1), grid[0].reshape(-1)], dim=1))
        strides.append(torch.full((len(centres[-1]),), float(stride), device=device))
    return Cells(torch.cat(centres), torch.cat(strides))


def expected_distances(distances: Tensor) -> Tensor:
    """Logits (..., 4 * 8) of left, top, right, bottom to their expectations (..., 4), in strides."""
    shares = distances.reshape(*distances.shape[:-1], 4, BINS).softmax(-1)
    return torch.matmul(shares, torch.arange(BINS, dtype=shares.dtype, device=shares.device))


def to_boxes(distances: Tensor, centres: Tensor) -> Tensor:
    """Distances (..., A, 4) from centres (A, 2) to boxes x1, y1, x2, y2, in the unit of both."""
    low, high = distances[..., :2], distances[..., 2:]
    return torch.cat([centres - low, centres + high], dim=-1)


class _ConvNorm(nn.Module):
    def __init__(self, channels: int, out: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        sizes = (channels, out, kernel, 1, kernel // 2)
        self.conv = nn.Conv2d(*sizes, groups=groups, bias=False)
        self.norm = BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.norm(self.conv(x)))


class _Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)
        self.conv = _ConvNorm(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)))
        y: Tensor = self.conv(x * gate)
        return y


class _Head(nn.Module):
    """Four levels with weights of their own, behind `convs` separable convolutions each."""

    def __init__(self, channels: int, num_classes: int, convs: int, second: bool) -> None:
        super().__init__()
        self.num_classes, self._second = num_classes, second
        self.conv_feat = nn.Module()
        for i in range(len(STRIDES)):
            deep = (_ConvNorm(channels, channels, KERNEL, channels) for _ in range(convs))
            wide = (_ConvNorm(channels, channels, 1) for _ in range(convs))
            self.conv_feat.add_module(f"cls_conv_dw{i}", nn.ModuleList(deep))
            self.conv_feat.add_module(f"cls_conv_pw{i}", nn.ModuleList(wide))
        if second:
            self.conv_feat.se = nn.ModuleList(_Gate(channels) for _ in STRIDES)
            aligns = (DepthPoint(channels, 1, act=False) for _ in STRIDES)
            self.cls_align = nn.ModuleList(aligns)
        for i in range(len(STRIDES)):
            both = 0 if second else 4 * BINS
            self.add_module(f"head_cls{i}", nn.Conv2d(channels, num_classes + both, 1))
            if second:
                self.add_module(f"head_reg{i}", nn.Conv2d(channels, 4 * BINS, 1))

    def level(self, i: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Class logits, distance logits and, in the second form, logits of the alignment of level `i`."""
        find = self.conv_feat.get_submodule
        layers = zip(
            find(f"cls_conv_dw{i}").children(), find(f"cls_conv_pw{i}").children(), strict=True
        )
        for deep, wide in layers:
            x = wide(deep(x))
        last = self.get_submodule(f"head_cls{i}")
        if not self._second:
            classes, distances = last(x).split([self.num_classes, 4 * BINS], dim=1)
            return classes, distances, None
        gated = find(f"se.{i}")(x)
        return last(gated), self.get_submodule(f"head_reg{i}")(gated), self.cls_align[i](x)


class PicoDet(nn.Module):
    """Backbone, feature pyramid and heads. The names of its weights start with `backbone.`, `neck.`, `head.`.

    Args:
        backbone: whose last three stages have strides 8, 16 and 32.
        num_classes: K.
        neck: "csp_pan" or "lc_pan".
        channels: width of the pyramid and of the heads.
        convs: separable convolutions of a level.
        second: the second form of the head.
        suppression: how boxes are chosen.
        clip: bring boxes to the input's sides.
        decay_neck_norm: weight decay reaches the normalisation of the pyramid, as in PaddleDetection.
    """

    classifier_name = "head"
    named_outputs = ("scores", "distances", "boxes", "detections")
    undecayed: tuple[str, ...] = ()

    def __init__(
        self, backbone: Backbone, num_classes: int, neck: Neck, channels: int, convs: int, *,
        second: bool, suppression: Suppression, clip: bool = True, decay_neck_norm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.backbone, self.features = backbone, channels
        self.neck = Pyramid(_widths(backbone), channels, light=neck == "lc_pan")
        self.head = _Head(channels, num_classes, convs, second)
        self.suppression, self.clip = suppression, clip
        self.logits = not second
        self.decay_neck_norm = decay_neck_norm
        self._draw()

    @property
    def rule(self) -> dict[str, Any]:
        """How boxes are chosen, as keywords."""
        named = self.suppression._asdict()
        return {k: named[k] for k in ("min_score", "candidates", "max_iou", "keep")}

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The backbone's."""
        return self.backbone.stage_names

    def lr_multiplier(self, name: str) -> float:
        """The factor that the learning rate of parameter `name` is multiplied by."""
        inside = name.removeprefix("backbone.")
        return self.backbone.lr_multiplier(inside) if inside != name else 1.0

    def decays_norm_of(self, name: str) -> bool:
        """Whether weight decay reaches gain and bias `name` of a normalisation."""
        own = name.startswith(("neck.", "head.cls_align.")) and ".pw_conv." not in name
        return self.decay_neck_norm and own and ".dw_conv." not in name

    def is_left_over(self, name: str, value: np.ndarray) -> bool:
        """True for an entry of PaddleDetection's state dict that nothing uses, or that is there twice.

        Raises:
            WeightsError: distances of other values than 0, 1, ..., 7.
        """
        stem, _, rest = name.partition(".")
        if stem != "head":
            return False
        if rest == "distribution_project.project":
            if not np.array_equal(np.ravel(value), np.arange(BINS)):
                raise WeightsError(name, f"expected 0 to {BINS - 1}, got {np.ravel(value)[:9]}")
            return True
        return rest.split(".")[0] in _LEFT_OVER

    def levels(self, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """(N, 3, H, W) -> (N, K, h, w), (N, 32, h, w) and (N, 1, h, w) or None, for each of four levels."""
        stages = list(self.backbone.forward_stages(x).values())[-3:]
        return [self.head.level(i, y) for i, y in enumerate(self.neck(stages))]

    def outputs(
        self, x: Tensor, labels: Tensor | None = None, stages: Collection[str] = ()
    ) -> Outputs:
        """(N, 3, H, W) -> `scores` (N, A, K), `distances` (N, A, 32) and what else `stages` names.

        `scores` are probabilities; `logits`, where the first form has some, what they are the sigmoid of. `boxes`
        (N, A, 4): in pixels of the input. `detections` (N, R, 6): see `detections_of`.
        """
        parts = self.levels(x)
        classes, distances = (_flat([level[i] for level in parts]) for i in (0, 1))
        scores = classes.sigmoid()
        if not self.logits:
            aligned = _flat([level[2] for level in parts if level[2] is not None])
            # sqrt(p + 1e-9), written so that no exporter takes the offset for 0.
            scores = (scores * aligned.sigmoid() * 1e9 + 1.0).sqrt() * 1e-9**0.5
        found = {"scores": scores, "distances": distances}
        if {"boxes", "detections"} & set(stages):
            found["boxes"] = self.boxes(distances, x.shape[2], x.shape[3])
        if "detections" in stages:
            found["detections"] = self.detections_of(found["boxes"], scores, x.shape[2], x.shape[3])
        return Outputs(classes if self.logits else None, None, None, found)

    def forward(self, x: Tensor) -> Outputs:
        """`outputs` with the boxes."""
        return self.outputs(x, None, ("boxes",))

    def vectors(self, x: Tensor) -> Outputs:
        """As `forward`: a detector has no vector."""
        return self.forward(x)

    def boxes(self, distances: Tensor, height: int, width: int) -> Tensor:
        """Logits (N, A, 32) to boxes (N, A, 4), x1, y1, x2, y2 in pixels of an input of this size."""
        at = cells(height, width, distances.device)
        found = to_boxes(expected_distances(distances) * at.strides[:, None], at.centres)
        if not self.clip:
            return found
        ends = torch.tensor([width, height] * 2, dtype=found.dtype, device=found.device)
        return torch.minimum(found.clamp(min=0.0), ends)

    def detections_of(self, boxes: Tensor, scores: Tensor, height: int, width: int) -> Tensor:
        """The boxes that are left by non-maximum suppression, (N, R, 6).

        Returns:
            Rows of class id, score and x1, y1, x2, y2 as shares of width and height; -1 where an image has fewer.
        """
        images = zip(boxes.cpu().float().numpy(), scores.cpu().float().numpy(), strict=True)
        rows = stacked([multiclass_nms(at, own.T, self.suppression)[0] for at, own in images])
        rows[..., 2:] /= np.array([width, height] * 2, np.float32)
        rows[rows[..., 0] < 0] = -1
        return torch.from_numpy(rows)

    def reparameterize(self) -> None:
        """Fold the branches of the backbone that only training needs; in place."""
        self.backbone.reparameterize()

    def _draw(self) -> None:
        """Fresh weights as PaddleDetection draws them; those of the backbone are drawn already."""
        for module in self.neck.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)
        for module in self.head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for i in range(len(STRIDES)):
            nn.init.constant_(self.head.get_parameter(f"head_cls{i}.bias"), _PRIOR)


def _flat(levels: list[Any]) -> Tensor:
    """Maps (N, C, h, w) as one (N, A, C), level by level, row by row."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)


def _widths(backbone: Backbone) -> list[int]:
    """Channels of the last three stages."""
    was, place = backbone.training, next(backbone.parameters()).device
    with torch.no_grad():
        stages = backbone.eval().forward_stages(torch.zeros(1, 3, 64, 64, device=place))
    backbone.train(was)
    return [int(y.shape[1]) for y in list(stages.values())[-3:]]


@detectors.register("picodet")
def picodet(
    backbone: Backbone, num_classes: int, neck: Neck = "csp_pan",
    channels: Annotated[int, Ge(8)] = 128, convs: Annotated[int, Ge(1)] = 4,
    min_score: Share = 0.025, candidates: Annotated[int, Ge(1)] = 1000, max_iou: Share = 0.6,
    keep: Annotated[int, Ge(1)] = 100, clip: bool = True, decay_neck_norm: bool = False,
) -> PicoDet:  # fmt: skip
    """PicoDet as PP-ShiTu's main-body detector has it.

    Args:
        backbone: whose last three stages have strides 8, 16 and 32.
        num_classes: K.
        neck: "csp_pan", or "lc_pan" of the second form.
        channels: width of the pyramid and of the heads.
        convs: separable convolutions in front of each level's predictions.
        min_score: boxes of a lower score, or just this one, are left out.
        candidates: boxes of a class that are looked at, those with the highest scores.
        max_iou: overlap with a better box of the class above which one is left out.
        keep: boxes of an image that are kept.
        clip: bring boxes to the image's sides.
        decay_neck_norm: weight decay also reaches the normalisation of the pyramid, as in PaddleDetection.
    """
    rule = Suppression(min_score, candidates, max_iou, keep)
    return PicoDet(
        backbone, num_classes, neck, channels, convs, second=False, suppression=rule, clip=clip,
        decay_neck_norm=decay_neck_norm,
    )  # fmt: skip


@detectors.register("picodet_v2")
def picodet_v2(
    backbone: Backbone, num_classes: int, neck: Neck = "lc_pan",
    channels: Annotated[int, Ge(8)] = 96, convs: Annotated[int, Ge(1)] = 2,
    min_score: Share = 0.025, candidates: Annotated[int, Ge(1)] = 1000, max_iou: Share = 0.6,
    keep: Annotated[int, Ge(1)] = 100, clip: bool = True, decay_neck_norm: bool = False,
) -> PicoDet:  # fmt: skip
    """PicoDet's second form; the arguments are those of `picodet`.

    xs, s, m and l of PaddleDetection have the backbones pplcnet_x0_35, x0_75, x1_5 and x2_0, 96, 96, 128 and 160
    channels, and 2, 2, 4 and 4 convolutions.
    """
    rule = Suppression(min_score, candidates, max_iou, keep)
    return PicoDet(
        backbone, num_classes, neck, channels, convs, second=True, suppression=rule, clip=clip,
        decay_neck_norm=decay_neck_norm,
    )  # fmt: skip


def build_detector(
    backbone: Mapping[str, Any], detector: Mapping[str, Any], num_classes: int, where: str = ""
) -> PicoDet:
    """A detector with fresh weights from the specs of its backbone and of what comes behind.

    Args:
        backbone: spec of the backbone, whose classifier is left out.
        detector: spec of the rest.
        num_classes: K.
        where: place of the two in a recipe, for messages.

    Raises:
        ConfigError: an unknown name, or an option that the part does not have.
    """
    trunk = backbones.build(backbone, join(where, "backbone"), num_classes=0)
    behind = [name for name, _ in trunk.named_children() if name not in trunk.trunk]
    for name in behind:  # pooling and classifier
        setattr(trunk, name, nn.Identity())
    trunk.left_out = (*(f"{name}." for name in behind), f"{trunk.classifier_name}.")
    place = join(where, "detector")
    found: PicoDet = detectors.build(detector, place, backbone=trunk, num_classes=num_classes)
    return found
