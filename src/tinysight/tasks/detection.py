"""Boxes around objects: the task and its post-processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from tinysight.errors import ConfigError
from tinysight.metrics.detection import coco, in_pixels, precision_recall
from tinysight.metrics.suppression import Suppression, multiclass_nms, stacked
from tinysight.registry import postprocesses, tasks
from tinysight.tasks.base import Scored, Task, TaskTable
from tinysight.tasks.postprocess import names_of
from tinysight.tasks.results import BoxResult, Result

if TYPE_CHECKING:
    from annotated_types import Ge, Le

    from tinysight.bundle.manifest import Manifest
    from tinysight.data.targets import Target


@postprocesses.register("boxes")
@dataclass(frozen=True)
class Boxes:
    """Boxes whose score exceeds a threshold. Without labels a name is the id.

    Args:
        threshold: least score, which itself is too low, as in PaddleClas.
        keep: this many boxes of an image, those with the highest scores, best first; None: all, as they come.
        equal: the threshold itself is high enough, and so is a score that is no number, as in PaddleClas' ShiTu.
        suppress: keywords of `metrics.suppression.Suppression`, for a network that gives the boxes and scores of all
            cells; None: it gives rows.
        labels: name of each class.
    """

    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    keep: Annotated[int, Ge(0)] | None = None
    equal: bool = False
    suppress: dict[str, float] | None = None
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
        if self.keep is not None:
            sure = -np.nan_to_num(rows[:, 1], nan=np.inf)
            rows = rows[np.argsort(sure, kind="stable")[: self.keep]]
        high = ~(rows[:, 1] < self.threshold) if self.equal else rows[:, 1] > self.threshold
        rows = rows[high & (rows[:, 0] >= 0)]
        ids = rows[:, 0].astype(np.int64)
        if self.labels and ids.max(initial=0) >= len(self.labels):
            what = f"{len(self.labels)} labels, and a box of class {ids.max()}"
            raise ConfigError("labels", what, "name as many as the network has classes")
        names = names_of(ids, self.labels) or tuple(map(str, ids.tolist()))
        return BoxResult("", ids, rows[:, 1], names, rows[:, 2:])


def rows_of(outputs: Sequence[np.ndarray], manifest: Manifest) -> list[np.ndarray]:
    """Rows (R, 6) of each image, in pixels of the input, of a detector's outputs.

    Args:
        outputs: rows and counts, or boxes (N, A, 4) and scores (N, K, A) of all cells.
        manifest: of its bundle, which says how boxes of cells are chosen.
    """
    if outputs[0].ndim == 2:
        return np.split(outputs[0], np.cumsum(outputs[1].reshape(-1))[:-1])
    suppress = manifest.postprocess["suppress"] or {}
    given = {k: int(v) if v == int(v) else v for k, v in suppress.items()}
    rule = Suppression(**given)  # type: ignore[arg-type]
    pairs = zip(outputs[0], outputs[1], strict=True)
    return [multiclass_nms(boxes, scores, rule)[0] for boxes, scores in pairs]


def _first(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value[:1] for name, value in feeds.items()}


@tasks.register("detection")
class DetectionTask(Task):
    """Boxes around objects. Scores are rows of `metrics.detection.coco`, labels those of `BoxList.truth`."""

    source = "detections"
    output = "boxes"
    more_outputs = ("counts",)
    postprocesses = ("boxes",)
    records_scores = False
    unit = "boxes"
    default_metrics = ({"name": "coco"},)

    def targets(self) -> Mapping[str, Target]:
        from tinysight.data.boxes import BoxTarget

        return {"boxes": BoxTarget()}

    def perfect_scores(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        found = []
        for rows in labels:
            low, sides = rows[1:, 1:3], rows[1:, 3:5]
            found.append(np.column_stack([rows[1:, 0], np.ones(len(low)), low, low + sides]))
        return stacked(found)

    def predict_with(self, engine: Any, manifest: Manifest) -> Callable[[np.ndarray], np.ndarray]:
        """Boxes as shares of the image, whatever the network's outputs are."""

        def predict(images: np.ndarray) -> np.ndarray:
            count, _, height, width = images.shape
            known = {"im_shape": (height, width), "scale_factor": (1.0, 1.0)}
            given = manifest.feeds.items()
            feeds = {n: np.full((count, 2), known[w], np.float32) for n, w in given}
            if manifest.input.shape[0] == 1:
                each = [{manifest.input.name: images[i : i + 1]} for i in range(count)]
                parts = [rows_of(engine.run_all({**e, **_first(feeds)}), manifest) for e in each]
                split = [part[0] for part in parts]
            else:
                split = rows_of(engine.run_all({manifest.input.name: images, **feeds}), manifest)
            found = stacked(split)
            found[..., 2:] /= np.array([width, height] * 2, np.float32)
            found[found[..., 0] < 0] = -1
            return found

        return predict

    def in_images(self, scores: np.ndarray, sizes: Sequence[tuple[int, int]]) -> Any:
        pairs = zip(scores, sizes, strict=True)
        found = [in_pixels(rows, np.array([w, h, w, h])) for rows, (h, w) in pairs]
        return [np.concatenate(found).astype(np.float32), np.array([len(rows) for rows in found])]

    def results(self, scores: np.ndarray, threshold: float) -> list[Result]:
        """Boxes as shares of the image."""
        sizes = [(1, 1)] * len(scores)
        return list(Boxes(threshold)(self.in_images(scores, sizes)))

    def lost_points(self, exact: np.ndarray, other: np.ndarray, labels: np.ndarray) -> float | None:
        """Percentage points of mAP."""
        if labels.dtype != object:
            return None
        before, after = (coco(scores, labels)["ap"] for scores in (exact, other))
        return 100 * (before - after)

    def check_scores(self, scores: np.ndarray, rows: int, names: Sequence[str]) -> np.ndarray:
        if scores.ndim != 3 or scores.shape[::2] != (rows, 6):
            what = f"expected boxes (N, R, 6) of {rows} images, got shape {scores.shape}"
            raise ConfigError("model", what)
        if names and scores[..., 0].max(initial=0) >= len(names):
            what = f"{len(names)} labels, and a box of class {int(scores[..., 0].max())}"
            raise ConfigError("data.labels", what, "use the labels the model was trained with")
        return scores

    def sections(self, of: Scored) -> list[TaskTable]:
        """A table of the labels: boxes, and average precision."""
        truth = [rows[1:] for rows in of.labels]
        pairs = zip(of.scores, of.labels, strict=True)
        found = [in_pixels(scores, rows[0, [3, 4, 3, 4]]) for scores, rows in pairs]
        curves = precision_recall(truth, found, range(len(of.names))).precision[:, :, :, 0, -1]
        ids = np.concatenate([np.empty(0), *(rows[rows[:, 6] == 0, 0] for rows in truth)])
        rows = []
        for k, name in enumerate(of.names):
            values = [curves[:, :, k].mean(), curves[0, :, k].mean()]
            shown = [f"{v:.3f}" if v >= 0 else "-" for v in values]
            rows.append((name, str(int((ids == k).sum())), *shown))
        return [TaskTable("Average precision by label", ("label", "boxes", "AP", "AP50"), rows)]
