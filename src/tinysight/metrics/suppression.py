"""Boxes of a detector's cells: non-maximum suppression, and the decoding of raw heads, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Suppression(NamedTuple):
    """How the boxes of an image are chosen.

    Attributes:
        min_score: boxes of a lower score, or just this one, are left out.
        candidates: boxes of a class that are looked at, those with the highest scores; -1: all.
        max_iou: overlap with a better box of the class above which one is left out.
        keep: boxes of an image that are kept, those with the highest scores; -1: all.
        normalized: False: a box spans both its border pixels, so that its sides are one longer.
        eta: factor on `max_iou` after each box that is kept, while that is above 0.5.
        background: class id that gives no boxes; -1: none.
    """

    min_score: float = 0.025
    candidates: int = 1000
    max_iou: float = 0.6
    keep: int = 100
    normalized: bool = True
    eta: float = 1.0
    background: int = -1


USUAL = Suppression()


def multiclass_nms(
    boxes: np.ndarray, scores: np.ndarray, rule: Suppression = USUAL
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of one image that are left, class by class, by falling score; of equal ones the earlier comes first.

    Args:
        boxes: (A, 4) float32, x1, y1, x2, y2; of all classes.
        scores: (K, A).
        rule: which are left.

    Returns:
        Rows of class id, score, x1, y1, x2, y2, (R, 6) float32, and their places in `boxes`, (R,).

    Source: PaddlePaddle's `multiclass_nms3`, whose rows and order it gives.
    """
    found: list[tuple[int, int]] = []
    for label, own in enumerate(scores):
        if label != rule.background:
            found += ((label, place) for place in _left(boxes, own, rule))
    labels, places = np.array(found, np.int64).reshape(-1, 2).T
    values = scores[labels, places]
    if 0 <= rule.keep < len(places):
        kept = np.sort(np.argsort(-values, kind="stable")[: rule.keep])
        labels, places, values = labels[kept], places[kept], values[kept]
    rows = np.column_stack([labels, values, boxes[places]]).astype(np.float32)
    return rows, places


def _left(boxes: np.ndarray, scores: np.ndarray, rule: Suppression) -> list[int]:
    """Places of one class's boxes that are left."""
    places = np.flatnonzero(scores > rule.min_score)
    order = places[np.argsort(-scores[places], kind="stable")]
    order = order[: rule.candidates] if rule.candidates >= 0 else order
    x1, y1, x2, y2 = own = boxes[order].T.astype(np.float32)
    more = np.float32(not rule.normalized)
    area = np.where((x2 < x1) | (y2 < y1), 0, (x2 - x1 + more) * (y2 - y1 + more))
    covered = np.zeros(len(order), np.float32)  # overlap with the best kept one
    limit, kept = rule.max_iou, []
    for i, place in enumerate(order.tolist()):
        if covered[i] > limit:
            continue
        kept.append(place)
        left, top, right, bottom = own[:, i]
        wide = np.minimum(right, x2) - np.maximum(left, x1) + more
        tall = np.minimum(bottom, y2) - np.maximum(top, y1) + more
        common = np.where((x1 > right) | (x2 < left) | (y1 > bottom) | (y2 < top), 0, wide * tall)
        both = area[i] + area - common
        overlap = np.divide(common, both, out=np.zeros_like(common), where=common > 0)
        np.maximum(covered, overlap, out=covered)
        if rule.eta < 1 and limit > 0.5:
            limit *= rule.eta
    return kept


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (R_i, C) of N images as one array (N, R, C), with -1 where one has fewer."""
    width = rows[0].shape[1] if rows else 6
    found = np.full((len(rows), max(map(len, rows), default=0), width), -1, np.float32)
    for place, own in zip(found, rows, strict=True):
        place[: len(own)] = own
    return found
