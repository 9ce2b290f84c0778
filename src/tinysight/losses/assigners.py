"""Which cell of a detector learns which box: SimOTA, ATSS and task alignment, one image at a time, without gradients.

Boxes are x1, y1, x2, y2 in pixels of the input. A cells, G boxes, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_FAR = 1e8  # added to the cost of a cell that is not both in the box and near its centre
_HEAVY = 0.75  # weight of what a cell says of classes that are not there


class Assigned(NamedTuple):
    """What the cells of an image learn.

    Attributes:
        box: place of a cell's box, (A,) int64; -1: none.
        quality: score that it should give the class of its box, (A,); 0: none.
    """

    box: Tensor
    quality: Tensor


class Predicted(NamedTuple):
    """What the cells of an image predict, and where they are.

    Attributes:
        scores: probabilities, (A, K).
        boxes: (A, 4).
        centres: (A, 2), x and y.
        strides: (A,).
    """

    scores: Tensor
    boxes: Tensor
    centres: Tensor
    strides: Tensor


def areas(boxes: Tensor) -> Tensor:
    """Areas of boxes (..., 4); 0 where a side is below 0."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def overlaps(one: Tensor, other: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Intersection over union, and its generalised form, of boxes (..., 4) that broadcast.

    Args:
        one: boxes.
        other: boxes.
        eps: least union and least area of the box around both.

    Source: Rezatofighi et al., "Generalized Intersection over Union" (2019).
    """
    common = _between(torch.maximum(one, other)[..., :2], torch.minimum(one, other)[..., 2:])
    union = (areas(one) + areas(other) - common).clamp(min=eps)
    iou = common / union
    around = _between(torch.minimum(one, other)[..., :2], torch.maximum(one, other)[..., 2:])
    around = around.clamp(min=eps)
    return iou, iou - (around - union) / around


def _between(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(-1)


def _inside(centres: Tensor, low: Tensor, high: Tensor, margin: float = 0.0) -> Tensor:
    """Whether centres (A, 2) lie in boxes from `low` to `high`, (G, 2) or (A, G, 2); (A, G)."""
    at = centres[:, None]
    return torch.cat([at - low, high - at], dim=-1).amin(-1) > margin


@torch.no_grad()
def simota(
    found: Predicted, boxes: Tensor, labels: Tensor, *, radius: float = 2.5, candidates: int = 10,
    iou_weight: float = 6.0, class_weight: float = 1.0,
) -> Assigned:  # fmt: skip
    """Each box takes as many of the cheapest cells as its best predictions cover it times.

    A cell is a candidate in any box, or in the square of `radius` strides around any box's centre; it costs the
    loss of its scores and of its box, and 1e8 more unless it is in both of one box. A cell that several boxes take
    goes to the one of all boxes that it costs least. Of equal costs the earlier cell is taken.

    Args:
        found: the predictions.
        boxes: (G, 4).
        labels: class ids, (G,).
        radius: in strides.
        candidates: best overlaps that are summed for the number of cells, which is at least 1.
        iou_weight: of the box in the cost.
        class_weight: of the scores in the cost.

    Source: YOLOX, arXiv:2107.08430, with PaddleDetection's cost. `quality` is the overlap.
    """
    box = labels.new_full((len(found.centres),), -1)
    quality = found.boxes.new_zeros(len(box))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = radius * found.strides[:, None, None]
    within = _inside(found.centres, boxes[:, :2], boxes[:, 2:])
    near = _inside(found.centres, middle - reach, middle + reach)
    valid = (within | near).any(1).nonzero()[:, 0]
    if not len(valid):
        return Assigned(box, quality)
    iou, giou = overlaps(found.boxes[valid][:, None], boxes)
    cost = class_weight * _score_cost(found.scores[valid], labels, iou) + iou_weight * (1 - giou)
    cost = cost + _FAR * ~(within & near)[valid]
    best = iou.topk(min(candidates, len(valid)), dim=0).values
    counts = best.sum(0).int().clamp(min=1)
    rank = cost.argsort(dim=0, stable=True).argsort(dim=0)
    taken = rank < counts
    place = torch.where(taken.sum(1) > 1, cost.argmin(1), taken.int().argmax(1))
    mine = taken.any(1)
    box[valid[mine]] = place[mine]
    quality[valid[mine]] = iou[mine].gather(1, place[mine, None])[:, 0]
    return Assigned(box, quality)


def _score_cost(scores: Tensor, labels: Tensor, iou: Tensor) -> Tensor:
    """Varifocal loss of each cell's scores if it had each box, (A, G), summed over the classes."""
    empty = _HEAVY * scores.square() * _entropy(scores, torch.zeros_like(scores))
    own, wanted = scores[:, labels], iou
    weight = torch.where(wanted > 0, wanted, _HEAVY * own.square())
    here = weight * _entropy(own, wanted)
    others = 1 - torch.nn.functional.one_hot(labels, scores.shape[1]).to(scores.dtype)  # (G, K)
    return empty @ others.T + here


def _entropy(p: Tensor, target: Tensor) -> Tensor:
    log, rest = p.log().clamp(min=-100), (1 - p).log().clamp(min=-100)
    return -(target * log + (1 - target) * rest)


@torch.no_grad()
def atss(
    found: Predicted, boxes: Tensor, labels: Tensor, *, nearest: int = 9, side: float = 5.0
) -> Assigned:
    """The cells near a box's centre whose squares overlap it more than most of them do.

    Of each level the `nearest` cells, all if it has fewer; threshold: mean and unbiased deviation of the overlaps. A
    cell that several boxes take goes to the one that its square overlaps most, of all boxes.

    Args:
        found: the predictions.
        boxes: (G, 4).
        labels: class ids, (G,).
        nearest: cells of a level.
        side: of a cell's square, in strides.

    Source: arXiv:1912.02424. `quality` is the overlap of the predicted box.
    """
    half = found.strides[:, None] * (side / 2)
    squares = torch.cat([found.centres - half, found.centres + half], dim=1)
    iou = overlaps(squares[:, None], boxes, 1e-9)[0]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = (found.centres[:, None] - middle).square().sum(-1).sqrt()
    chosen, start = [], 0
    for count in _level_sizes(found.strides):
        part = distance[start : start + count]
        chosen.append(start + part.topk(min(nearest, count), dim=0, largest=False).indices)
        start += count
    places = torch.cat(chosen)
    values = iou.gather(0, places)
    limit = values.mean(0) + values.std(0)
    taken = torch.zeros_like(iou, dtype=torch.bool).scatter_(0, places, values > limit)
    taken &= _inside(found.centres, boxes[:, :2], boxes[:, 2:], 1e-9)
    box = _one_each(taken, iou)
    real = overlaps(found.boxes[:, None], boxes, 1e-9)[0]
    return Assigned(box, _picked(real, box))


@torch.no_grad()
def task_aligned(
    found: Predicted, boxes: Tensor, labels: Tensor, *, candidates: int = 13, alpha: float = 1.0,
    beta: float = 6.0,
) -> Assigned:  # fmt: skip
    """The cells in a box whose score and overlap are best together.

    The measure is score ** alpha * overlap ** beta. A cell that several boxes take goes to the one that it overlaps
    most, of all boxes. The `quality` of a box's cells is the measure, scaled so that the best has the best overlap.

    Args:
        found: the predictions.
        boxes: (G, 4).
        labels: class ids, (G,).
        candidates: cells of a box.
        alpha: power of the score.
        beta: power of the overlap.

    Source: TOOD, arXiv:2108.07755.
    """
    iou = overlaps(found.boxes[:, None], boxes, 1e-9)[0]
    measure = found.scores[:, labels].pow(alpha) * iou.pow(beta)
    within = _inside(found.centres, boxes[:, :2], boxes[:, 2:], 1e-9)
    places = (measure * within).topk(min(candidates, len(measure)), dim=0).indices
    taken = torch.zeros_like(within).scatter_(0, places, True) & within
    box = _one_each(taken, iou)
    held = torch.nn.functional.one_hot(box.clamp(min=0), len(boxes)).bool() & (box >= 0)[:, None]
    measure = measure * held
    best = (iou * held).amax(0)
    return Assigned(box, (measure / (measure.amax(0) + 1e-9) * best).amax(1))


def _level_sizes(strides: Tensor) -> list[int]:
    sizes: list[int] = torch.unique_consecutive(strides, return_counts=True)[1].tolist()
    return sizes


def _one_each(taken: Tensor, iou: Tensor) -> Tensor:
    """The place of each cell's box, (A,), of (A, G) that are taken; -1: none."""
    place = torch.where(taken.sum(1) > 1, iou.argmax(1), taken.int().argmax(1))
    return torch.where(taken.any(1), place, -1)


def _picked(values: Tensor, box: Tensor) -> Tensor:
    picked = values.gather(1, box.clamp(min=0)[:, None])[:, 0]
    return torch.where(box >= 0, picked, 0.0)
