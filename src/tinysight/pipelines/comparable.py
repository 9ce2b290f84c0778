"""A bundle's results in the form in which two engines are compared: all scores, boxes as shares of the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinysight.bundle.manifest import Manifest
from tinysight.pipelines.sources import ImageInput
from tinysight.registry import postprocesses
from tinysight.tasks.postprocess import decides_by_best_class
from tinysight.tasks.results import BoxResult, Difference, Result, ScoreResult
from tinysight.transforms.header import read_header


@dataclass(frozen=True, eq=False)
class DecidedScores(ScoreResult):
    """The scores of all classes, (K,), and what was decided by them.

    Attributes:
        decided: decision of the bundle's result.
        partial: True if NaN is a score that was not kept.
    """

    decided: Any = None
    partial: bool = False

    def decision(self) -> Any:
        """What was decided."""
        return self.decided

    def difference(self, other: Result) -> Difference:
        """That of the scores that were kept."""
        if not self.partial or not isinstance(other, DecidedScores):
            return super().difference(other)
        kept = ~np.isnan(self.scores)
        mine, theirs = (replace(x, scores=x.scores[kept], partial=False) for x in (self, other))
        return mine.difference(theirs)


_ROUNDING = 1e-3  # of a score: nearer to the threshold, either engine may leave a box out
_SAME = 0.02  # of an image's side: corners of one and the same box
_MANY = 20  # of so many boxes the last may be the last of equals
_COVERED = 0.5  # of two boxes' union: suppression may have taken either


@dataclass(frozen=True, eq=False)
class DecidedBoxes(BoxResult):
    """Boxes as shares of the image's sides, and the score that they exceed.

    Two engines choose alike but for rounding: which of two boxes that cover each other and are as good as equally sure
    comes out, whether one at the threshold does, and which of equals are the last of so many. Only so much is passed
    over, and of what covers each other no more than half of an image's boxes.

    Attributes:
        least: the threshold.
    """

    least: float = 0.0

    def difference(self, other: Result) -> Difference:
        """Of boxes that both have: scores and corners; a flip where one has a box that the other's do not explain."""
        if not isinstance(other, BoxResult):
            return Difference(True, box=0.0)
        scores, corners, flip = [0.0], [0.0], False
        for one, two in ((self, other), (other, self)):
            clear = np.flatnonzero(~(one.scores <= self.least + _ROUNDING))
            full = len(two.scores) >= max(_MANY, len(one.scores))
            covered = []  # how far another box of the same place lies away
            for i in clear:
                same = two.label_ids == one.label_ids[i]
                away = np.abs(two.boxes_xyxy - one.boxes_xyxy[i]).max(axis=1, initial=0)
                apart = np.abs(two.scores - one.scores[i])
                if not np.isfinite([one.scores[i], *one.boxes_xyxy[i]]).all():
                    scores.append(np.nan)
                elif (near := same & (away < _SAME)).any():
                    place = int(np.where(near, away + apart, np.inf).argmin())
                    scores.append(float(apart[place]))
                    corners.append(float(away[place]))
                elif not full or two.scores.min() < one.scores[i] - _ROUNDING:
                    surer = same & (two.scores > one.scores[i] - _ROUNDING)
                    surer &= _shared(two.boxes_xyxy, one.boxes_xyxy[i]) > _COVERED
                    flip |= not surer.any()
                    covered += [float(away[surer].min())] if surer.any() else []
            corners += covered if len(covered) > len(clear) // 2 else []
        worst = float(np.max(scores))
        return Difference(flip, worst, float(np.mean(scores)), float(np.max(corners)))


def _shared(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (B, 4) with one."""
    sizes = np.concatenate([boxes, box[None]])
    areas = (sizes[:, 2:] - sizes[:, :2]).clip(0).prod(axis=1)
    inner = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    common = inner.clip(0).prod(axis=1)
    found: np.ndarray = common / np.maximum(areas[:-1] + areas[-1] - common, 1e-12)
    return found


def decide(manifest: Manifest, scores: np.ndarray, partial: bool = False) -> list[DecidedScores]:
    """Scores (N, K) with the decisions of a bundle's post-processing.

    Of the best of many classes only the first counts: whether two that are as good as equal come fourth or
    fifth is no result that anybody acts on.

    Args:
        manifest: of the bundle.
        scores: of the network.
        partial: True if NaN is a score that was not kept.
    """
    spec = manifest.postprocess
    if decides_by_best_class(spec):
        spec = {"name": "topk", "k": 1}
    post = postprocesses.build(spec, labels=manifest.labels)
    rows = zip(scores, post(np.nan_to_num(scores, nan=0.0) if partial else scores), strict=True)
    return [DecidedScores("", row, result.decision(), partial) for row, result in rows]


def comparable(result: Result, image: ImageInput | str, least: float = 0.0) -> Result:
    """The result for this image, boxes above the score `least` as shares of its width and height."""
    if not isinstance(result, BoxResult):
        return result
    data = image if isinstance(image, str) else image.data
    if isinstance(data, np.ndarray):
        size = data.shape[1], data.shape[0]
    else:
        header = read_header(Path(data).read_bytes() if isinstance(data, str) else data)
        size = header.width, header.height
        if header.orientation >= 5:
            size = size[::-1]
    shares = result.boxes_xyxy.astype(np.float64) / np.tile(size, 2)
    about = result.filename, result.label_ids, result.scores, result.label_names
    return DecidedBoxes(*about, shares, least)
