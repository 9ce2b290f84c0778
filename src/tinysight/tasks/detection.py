"""Boxes of a network that ends in non-maximum suppression: the task and its post-processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses, tasks
from tinysight.tasks.base import Task
from tinysight.tasks.postprocess import names_of
from tinysight.tasks.results import BoxResult

if TYPE_CHECKING:
    from annotated_types import Ge, Le


@postprocesses.register("boxes")
@dataclass(frozen=True)
class Boxes:
    """Boxes whose score exceeds `threshold` (strictly, as in PaddleClas). Without labels a name is the id."""

    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    labels: tuple[str, ...] = ()

    result = BoxResult

    def __call__(self, outputs: Sequence[np.ndarray]) -> list[BoxResult]:
        """One result an image.

        Args:
            outputs: rows (B, 6) of label id, score, x1, y1, x2, y2, image after image, and how many of them belong
                to each image, (N,).

        Raises:
            ConfigError: other shapes, or a label id that has no label.
        """
        if isinstance(outputs, np.ndarray) or len(outputs) != 2:
            what = "boxes are the results of detectors"
            raise ConfigError("postprocess", what, "topk, threshold")
        rows, counts = outputs[0], outputs[1].reshape(-1).astype(np.int64)
        whole = counts.min(initial=0) >= 0 and counts.sum() == len(rows)
        if rows.ndim != 2 or rows.shape[1] != 6 or not whole:
            what = f"expected rows of 6 and a count for each image, got {rows.shape} and {counts.tolist()}"
            raise ConfigError("boxes", what)
        return [self._result(part) for part in np.split(rows, np.cumsum(counts)[:-1])]

    def _result(self, rows: np.ndarray) -> BoxResult:
        rows = rows[(rows[:, 1] > self.threshold) & (rows[:, 0] >= 0)]
        ids = rows[:, 0].astype(np.int64)
        if self.labels and ids.max(initial=0) >= len(self.labels):
            what = f"{len(self.labels)} labels, and a box of class {ids.max()}"
            raise ConfigError("labels", what, "name as many as the network has classes")
        names = names_of(ids, self.labels) or tuple(map(str, ids.tolist()))
        return BoxResult("", ids, rows[:, 1], names, rows[:, 2:])


@tasks.register("detection")
class DetectionTask(Task):
    """Boxes around objects; a network that ends in non-maximum suppression."""

    output = "boxes"
    postprocesses = ("boxes",)
    has_classes = False
    trainable = False
