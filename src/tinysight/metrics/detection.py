"""Average precision and recall of boxes, as COCO's own tool computes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tinysight.registry import metrics

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_AREAS = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)])  # all, small, ...
_LIMITS = (1, 10, 100)
_CELLS = {"ap": (0, 2), "ap_small": (1, 2), "ap_medium": (2, 2), "ap_large": (3, 2)}
_RECALL_CELLS = {"ar1": (0, 0), "ar10": (0, 1), "ar100": (0, 2)}
_RECALL_CELLS |= {f"ar_{name}": (i, 2) for i, name in enumerate(("small", "medium", "large"), 1)}


class PrecisionRecall(NamedTuple):
    """T IoU thresholds, R = 101 recalls, K classes, 4 ranges of area (all, small, medium, large), M limits.

    Attributes:
        precision: highest precision at this recall or above, (T, R, K, 4, M); -1 where there is no box to find.
        recall: highest recall, (T, K, 4, M); -1 where there is no box to find.
        limits: numbers of detections of a class that count in each image.
    """

    precision: np.ndarray
    recall: np.ndarray
    limits: tuple[int, ...]

    def summary(self) -> dict[str, float]:
        """COCO's twelve numbers, from 0 to 1, or -1 where there is nothing to find."""
        found = {}
        for name, (area, limit) in _CELLS.items():
            found[name] = _mean(self.precision[:, :, :, area, limit])
            if name == "ap":
                found["ap50"] = _mean(self.precision[0, :, :, area, limit])
                found["ap75"] = _mean(self.precision[5, :, :, area, limit])
        for name, (area, limit) in _RECALL_CELLS.items():
            found[name] = _mean(self.recall[:, :, area, limit])
        return found


class _Matched(NamedTuple):
    scores: np.ndarray  # (D,), falling
    hit: np.ndarray  # (4, T, D)
    left_out: np.ndarray  # (4, T, D): neither right nor wrong
    wanted: np.ndarray  # (4,): boxes to be found


def precision_recall(
    truth: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    classes: Sequence[int],
    limits: tuple[int, ...] = _LIMITS,
) -> PrecisionRecall:
    """Match detections with boxes and count, class by class.

    In each image and class, detections in falling order of score take the free box that they overlap most; a crowd is
    never used up, and what matches one counts neither way. Ties of scores keep the order of the detections and images.

    Args:
        truth: rows of class id, x, y, width, height, area, crowd (0 or 1) for each image, (B, 7) float64.
        found: rows of class id, score, x1, y1, x2, y2 for each image, (D, 6).
        classes: ids of the K classes.
        limits: detections of a class in an image that count, rising.

    Source: pycocotools 2.0, whose values it gives.
    """
    shape = (len(classes), len(_AREAS), len(limits))
    precision = np.full((len(THRESHOLDS), len(_RECALLS), *shape), -1.0)
    recall = np.full((len(THRESHOLDS), *shape), -1.0)
    for k, label in enumerate(classes):
        images = list(_matched(truth, found, label, limits[-1]))
        wanted = np.sum([image.wanted for image in images], axis=0, initial=0) + np.zeros(4)
        for m, limit in enumerate(limits):
            scores = np.concatenate([np.empty(0), *(i.scores[:limit] for i in images)])
            order = np.argsort(-scores, kind="stable")
            for a in np.flatnonzero(wanted):
                parts = [(i.hit[a, :, :limit], i.left_out[a, :, :limit]) for i in images]
                hit, left_out = (
                    np.concatenate(p, axis=1)[:, order] for p in zip(*parts, strict=True)
                )
                for t in range(len(THRESHOLDS)):
                    curve = _curve(hit[t] & ~left_out[t], ~hit[t] & ~left_out[t], wanted[a])
                    precision[t, :, k, a, m], recall[t, k, a, m] = curve
    return PrecisionRecall(precision, recall, limits)


@metrics.register("coco")
def coco(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """COCO's twelve numbers of boxes: `ap` over IoU thresholds from 0.5 to 0.95, `ap50`, `ap75`, by area, and recall.

    Args:
        scores: rows of class id, score and x1, y1, x2, y2 as shares of width and height, (N, R, 6), -1 where there
            are fewer.
        labels: for each of N images, (B + 1, 7): the image itself, then its boxes, as `boxes_of` has them.
    """
    truth = [rows[1:] for rows in labels]
    sides = [np.tile(rows[0, 3:5], 2) for rows in labels]
    found = [in_pixels(rows, side) for rows, side in zip(scores, sides, strict=True)]
    classes = np.unique(np.concatenate([np.empty(0), *(rows[:, 0] for rows in truth)]))
    return precision_recall(truth, found, classes.astype(int).tolist()).summary()


def in_pixels(rows: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Detections (R, 6) with shares of an image's sides as pixels, those of class -1 left out.

    Args:
        rows: see `coco`.
        sides: width, height, width, height of the image, pixels.
    """
    rows = rows[rows[:, 0] >= 0].astype(np.float64)
    rows[:, 2:] *= sides
    return rows


def iou(found: np.ndarray, boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes x, y, width, height, (D, 4) and (G, 4) to (D, G); over a crowd: over `found`."""
    low = np.maximum(found[:, None, :2], boxes[None, :, :2])
    high = np.minimum((found[:, :2] + found[:, 2:])[:, None], (boxes[:, :2] + boxes[:, 2:])[None])
    common = np.clip(high - low, 0, None).prod(axis=2)
    own, other = found[:, 2:].prod(axis=1)[:, None], boxes[:, 2:].prod(axis=1)[None]
    both = np.where(crowd, own, own + other - common)
    share: np.ndarray = np.zeros_like(common)
    np.divide(common, both, out=share, where=common > 0)
    return share


def _matched(
    truth: Sequence[np.ndarray], found: Sequence[np.ndarray], label: int, limit: int
) -> Iterator[_Matched]:
    for boxes, rows in zip(truth, found, strict=True):
        boxes, rows = boxes[boxes[:, 0] == label], rows[rows[:, 0] == label].astype(np.float64)
        if len(boxes) or len(rows):
            rows = rows[np.argsort(-rows[:, 1], kind="stable")[:limit]]
            yield _match(boxes, rows)


def _match(boxes: np.ndarray, rows: np.ndarray) -> _Matched:
    crowd, area = boxes[:, 6] > 0, boxes[:, 5]
    low, high = _AREAS[:, :1], _AREAS[:, 1:]
    ignored = (crowd | (area < low) | (area > high))[:, None]  # (4, 1, G)
    own = np.column_stack([rows[:, 2:4], rows[:, 4:] - rows[:, 2:4]])
    overlaps = iou(own, boxes[:, 1:5], crowd)
    least = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    taken = np.zeros((4, len(least), len(boxes)), bool)
    hit = np.zeros((4, len(least), len(rows)), bool)
    left_out = np.zeros_like(hit)
    for d in np.flatnonzero(overlaps.max(axis=1, initial=0) >= least[0]):
        fits = (overlaps[d] >= least) & (~taken | crowd)
        counted = fits & ~ignored
        fits = np.where(counted.any(axis=2, keepdims=True), counted, fits)
        reversed_ = np.where(fits, overlaps[d], -1.0)[..., ::-1]  # of equal ones the last
        best = len(boxes) - 1 - reversed_.argmax(axis=2)[..., None]
        hit[..., d] = fits.any(axis=2)
        mine = np.zeros_like(taken)
        np.put_along_axis(mine, best, hit[..., d, None], axis=2)
        taken |= mine
        left_out[..., d] = (mine & ignored).any(axis=2)
    size = own[:, 2:].prod(axis=1)
    left_out |= ~hit & ((size < low) | (size > high))[:, None]
    return _Matched(rows[:, 1], hit, left_out, (~ignored[:, 0]).sum(axis=1))


def _curve(right: np.ndarray, wrong: np.ndarray, wanted: float) -> tuple[np.ndarray, float]:
    """Precision at each of `_RECALLS`, and the highest recall."""
    rights, wrongs = np.cumsum(right, dtype=np.float64), np.cumsum(wrong, dtype=np.float64)
    precision = rights / (rights + wrongs + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(rights / wanted, _RECALLS, side="left")
    padded = np.append(precision, 0.0)
    return padded[places], rights[-1] / wanted if len(rights) else 0.0


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0
