"""Losses of a detector: how good scores and boxes of the cells are that have been given a box.

A loss is called with what `PicoDet.outputs` gives of N images and their boxes; its three terms are sums over
cells that the caller divides, so that several processes can share the divisor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from tinysight.losses.assigners import Assigned, Predicted, atss, overlaps, simota, task_aligned
from tinysight.registry import losses

Weight = Annotated[float, Ge(0)]
_LAST = 7 - 0.1  # of a distance's bins, in strides
TERMS = ("classes", "boxes", "distances")


class Heads(NamedTuple):
    """What a network gives of N images.

    Attributes:
        scores: probabilities, (N, A, K).
        distances: logits of distances, (N, A, 32).
        logits: what `scores` are the sigmoid of, (N, A, K); None where they are not.
        boxes: in pixels of the input, (N, A, 4), not clipped.
        sides: expected distances, (N, A, 4), in strides.
        centres: of the cells, (A, 2), in pixels.
        strides: (A,).
    """

    scores: Tensor
    distances: Tensor
    logits: Tensor | None
    boxes: Tensor
    sides: Tensor
    centres: Tensor
    strides: Tensor


class Sums(NamedTuple):
    """Three sums over all cells, and what they are divided by.

    Attributes:
        values: of `TERMS`, each times its weight, (3,).
        divisors: (3,), without a gradient; may be 0.
    """

    values: Tensor
    divisors: Tensor


def varifocal(scores: Tensor, target: Tensor, logits: Tensor | None = None) -> Tensor:
    """Cross entropy with soft targets, weighted by the target where it is above 0, else by how wrong the score is.

    The gradient also flows through the weight, as in PaddleDetection.

    Args:
        scores: probabilities, any shape.
        target: from 0 to 1.
        logits: of the scores, for more digits; None: `scores` alone.

    Source: VarifocalNet, arXiv:2008.13367.
    """
    weight = torch.where(target > 0, target, 0.75 * (scores - target).square())
    if logits is None:
        return F.binary_cross_entropy(scores, target, reduction="none") * weight
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight


def distribution_focal(distances: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the two bins around each distance, (M, 4, 8) and (M, 4) in strides to (M, 4).

    Source: Generalized Focal Loss, arXiv:2006.04388.
    """
    low = target.long()
    share = target - low
    log = distances.log_softmax(-1)
    left, right = (log.gather(-1, place[..., None])[..., 0] for place in (low, low + 1))
    return -(left * (1 - share) + right * share)


class DetectionLoss(nn.Module):
    """Scores, overlap and distances of a batch; a subclass says which cell learns which box.

    Args:
        class_weight: of the varifocal loss.
        giou_weight: of 1 - generalised overlap.
        dfl_weight: of the distribution focal loss.
        bounded: the divisors are at least 1. Without, a batch whose cells learn next to nothing gives a huge loss, or
            none that is a number, as in PaddleDetection's second form.
    """

    def __init__(
        self, class_weight: float, giou_weight: float, dfl_weight: float, bounded: bool
    ) -> None:
        super().__init__()
        self._weights, self.bounded = (class_weight, giou_weight, dfl_weight), bounded

    def _assign(self, found: Predicted, boxes: Tensor, labels: Tensor, epoch: int) -> Assigned:
        """The cells' boxes, of one image that has boxes."""
        raise NotImplementedError

    def _share(self, scores: Tensor, quality: Tensor) -> Tensor:
        """The weight of each cell's box, (M,), of its scores (M, K) and its quality."""
        raise NotImplementedError

    def _divisors(self, counts: list[int], shares: Tensor) -> list[Tensor]:
        """What the scores' and the boxes' sums are divided by."""
        raise NotImplementedError

    def _quality(self, given: Tensor, iou: Tensor) -> Tensor:
        """Targets of the scores of cells with a box, (M,), of the assigned quality and the overlap."""
        return given

    def forward(self, heads: Heads, targets: Tensor, epoch: int = 0) -> Sums:
        """The sums of a batch.

        Args:
            heads: of the network, in float32.
            targets: rows of class id, x1, y1, x2, y2 in pixels, (N, G, 5); id -1 where an image has fewer.
            epoch: from 0.
        """
        pairs = [self._one(heads, i, targets[i], epoch) for i in range(len(targets))]
        counts = [max(int((p.box >= 0).sum()), 1) if len(own) else 0 for p, own in pairs]
        image, cell = torch.stack([p.box >= 0 for p, _ in pairs]).nonzero(as_tuple=True)
        rows = torch.cat([own[p.box[p.box >= 0]] for p, own in pairs])
        quality = torch.stack([p.quality for p, _ in pairs])[image, cell]
        strides = heads.strides[cell, None]
        at, wanted = heads.centres[cell] / strides, rows[:, 1:] / strides
        sides, scores = heads.sides[image, cell], heads.scores[image, cell]
        boxes = torch.cat([at - sides[:, :2], at + sides[:, 2:]], dim=1)
        quality = self._quality(quality, overlaps(boxes, wanted)[0].detach())
        share = self._share(scores.detach(), quality)
        target = torch.zeros_like(heads.scores)
        target[image, cell, rows[:, 0].long()] = quality
        ends = torch.cat([at - wanted[:, :2], wanted[:, 2:] - at], dim=1).clamp(0, _LAST)
        bins = heads.distances[image, cell].reshape(len(cell), 4, heads.distances.shape[2] // 4)
        terms = (
            varifocal(heads.scores, target, heads.logits).sum(),
            ((1 - overlaps(boxes, wanted, 1e-10)[1]) * share).sum(),
            (distribution_focal(bins, ends).mean(1) * share).sum(),
        )
        one, both = self._divisors(counts, share)
        weighted = [w * term for w, term in zip(self._weights, terms, strict=True)]
        return Sums(torch.stack(weighted), torch.stack([one, both, both]))

    def _one(self, heads: Heads, i: int, rows: Tensor, epoch: int) -> tuple[Assigned, Tensor]:
        rows = rows[rows[:, 0] >= 0]
        found = Predicted(heads.scores[i], heads.boxes[i], heads.centres, heads.strides)
        found = Predicted(*(part.detach() for part in found))
        if not len(rows):
            none = torch.full_like(found.strides, -1, dtype=torch.int64)
            return Assigned(none, torch.zeros_like(found.strides)), rows
        return self._assign(found, rows[:, 1:], rows[:, 0].long(), epoch), rows


@losses.register("simota")
class SimOta(DetectionLoss):
    """The loss of PicoDet's first form: dynamic assignment by cost.

    Args:
        radius: of a box's centre, in strides.
        candidates: best overlaps that are summed for a box's number of cells.
        iou_weight: of the box in the cost of a cell.
        class_cost: weight of the scores in the cost of a cell.
        class_weight: of the varifocal loss.
        giou_weight: of 1 - generalised overlap.
        dfl_weight: of the distribution focal loss.
    """

    def __init__(
        self, radius: Annotated[float, Gt(0)] = 2.5, candidates: Annotated[int, Ge(1)] = 10,
        iou_weight: Weight = 6.0, class_cost: Weight = 1.0, class_weight: Weight = 1.0,
        giou_weight: Weight = 2.0, dfl_weight: Weight = 0.25,
    ) -> None:  # fmt: skip
        super().__init__(class_weight, giou_weight, dfl_weight, bounded=True)
        self._rule = partial(
            simota, radius=radius, candidates=candidates, iou_weight=iou_weight,
            class_weight=class_cost,
        )  # fmt: skip

    def _assign(self, found: Predicted, boxes: Tensor, labels: Tensor, epoch: int) -> Assigned:
        return self._rule(found, boxes, labels)

    def _quality(self, given: Tensor, iou: Tensor) -> Tensor:
        return iou

    def _share(self, scores: Tensor, quality: Tensor) -> Tensor:
        return scores.amax(1) if len(scores) else quality

    def _divisors(self, counts: list[int], shares: Tensor) -> list[Tensor]:
        return [shares.new_tensor(float(sum(counts))), shares.sum()]


@losses.register("task_aligned")
class TaskAligned(DetectionLoss):
    """The loss of PicoDet's second form: by distance at first, then by alignment of score and overlap.

    Args:
        static_epochs: epochs at the beginning that are assigned by ATSS.
        nearest: ATSS' cells of a level.
        side: of ATSS' squares, in strides.
        candidates: cells of a box later.
        alpha: power of the score.
        beta: power of the overlap.
        class_weight: of the varifocal loss.
        giou_weight: of 1 - generalised overlap.
        dfl_weight: of the distribution focal loss.
        bounded: the divisor is at least 1. Without, as in PaddleDetection, a batch whose cells learn next to nothing
            gives a huge loss, and one without boxes none that is a number.
    """

    def __init__(
        self, static_epochs: Annotated[int, Ge(0)] = 100, nearest: Annotated[int, Ge(1)] = 9,
        side: Annotated[float, Gt(0)] = 5.0, candidates: Annotated[int, Ge(1)] = 13,
        alpha: Weight = 1.0, beta: Weight = 6.0, class_weight: Weight = 1.0,
        giou_weight: Weight = 2.5, dfl_weight: Weight = 0.5, bounded: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(class_weight, giou_weight, dfl_weight, bounded)
        self._static_epochs = static_epochs
        self._first: Callable[..., Assigned] = partial(atss, nearest=nearest, side=side)
        self._later: Callable[..., Assigned] = partial(
            task_aligned, candidates=candidates, alpha=alpha, beta=beta
        )

    def _assign(self, found: Predicted, boxes: Tensor, labels: Tensor, epoch: int) -> Assigned:
        return (self._first if epoch < self._static_epochs else self._later)(found, boxes, labels)

    def _share(self, scores: Tensor, quality: Tensor) -> Tensor:
        return quality

    def _divisors(self, counts: list[int], shares: Tensor) -> list[Tensor]:
        return [shares.sum(), shares.sum()]
