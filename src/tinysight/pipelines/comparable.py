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
    results = post(np.nan_to_num(scores, nan=0.0) if partial else scores)
    return [
        DecidedScores("", row, result.decision(), partial)
        for row, result in zip(scores, results, strict=True)
    ]


def comparable(result: Result, image: ImageInput | str) -> Result:
    """The result for this image, boxes as shares of its width and height."""
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
    return replace(result, boxes_xyxy=result.boxes_xyxy.astype(np.float64) / np.tile(size, 2))
