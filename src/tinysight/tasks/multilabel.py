"""Several labels an image: the task, and its usual post-processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses, tasks
from tinysight.tasks.base import BinaryScores, Misclassification, Scored, Task
from tinysight.tasks.postprocess import check_scores, names_of
from tinysight.tasks.results import ClassResult

if TYPE_CHECKING:
    from annotated_types import Ge, Le

    from tinysight.data.targets import Target
    from tinysight.metrics.classification import LabelRates


_ATTRIBUTES = ("person_attribute", "vehicle_attribute", "table_attribute", "face_attribute")


@postprocesses.register("multilabel")
@dataclass(frozen=True)
class MultiLabel:
    """Every class whose probability is at least `threshold`, by class id; perhaps none.

    Scores are rounded to `decimals` places, as PaddleClas does. Without labels, `label_names` is
    empty.
    """

    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    decimals: Annotated[int, Ge(0), Le(17)] = 5
    labels: tuple[str, ...] = ()

    result = ClassResult

    def __call__(self, scores: np.ndarray) -> list[ClassResult]:
        """Results for independent probabilities (N, K)."""
        table = check_scores(scores, self.labels).round(self.decimals)
        found = [np.flatnonzero(row >= self.threshold) for row in scores]
        rows = zip(found, table, strict=True)
        return [ClassResult("", ids, row[ids], names_of(ids, self.labels)) for ids, row in rows]


@tasks.register("multilabel")
class MultilabelTask(Task):
    """Several labels an image, each present, absent or unknown: a sigmoid and one threshold for all."""

    activation = "sigmoid"
    postprocesses = ("multilabel", *_ATTRIBUTES, "scores", "topk", "threshold")
    unit = "decisions"
    outcome = "share of right labels"
    calibrates = True
    default_metrics = ({"name": "mean_accuracy"},)

    def targets(self) -> Mapping[str, Target]:
        from tinysight.data.targets import MultilabelTarget

        return {"multilabel": MultilabelTarget()}

    def no_threshold(self, postprocess: Mapping[str, Any], num_classes: int) -> ConfigError | None:
        name = postprocess["name"]
        if name == "multilabel" and not isinstance(postprocess.get("threshold"), list | tuple):
            return None
        what = f"{name} has no threshold common to all labels"
        hint = "several labels need export.postprocess {name: multilabel} with one threshold"
        return ConfigError("export.operating_point", what, hint)

    def binary_scores(self, of: Scored, postprocess: Mapping[str, Any]) -> BinaryScores | None:
        if self.no_threshold(postprocess, len(of.names)):
            return None
        known = of.labels >= 0
        images = np.nonzero(known)[0]
        groups = ("has the label", "has it not")
        return BinaryScores(of.scores[known], of.labels[known] > 0, images, "any label", groups)

    def label_rates(self, of: Scored) -> list[LabelRates]:
        from tinysight.metrics.multilabel import label_report

        return label_report(of.scores >= _cut(of), of.labels).rows()

    def outcomes(self, of: Scored) -> np.ndarray:
        known = of.labels >= 0
        right = ((of.scores >= _cut(of)) == (of.labels > 0)) & known
        with np.errstate(invalid="ignore"):
            return np.asarray(right.sum(axis=1) / known.sum(axis=1))

    def misclassified(self, of: Scored) -> tuple[list[Misclassification], int]:
        cut, wrong = _cut(of), []
        called = of.scores >= cut
        rows, columns = np.nonzero((called != (of.labels > 0)) & (of.labels >= 0))
        for i, k in zip(rows.tolist(), columns.tolist(), strict=True):
            words, score = (of.names[k], f"not {of.names[k]}"), float(of.scores[i, k])
            said, truth = words if called[i, k] else words[::-1]
            wrong.append(Misclassification(i, said, score, truth, abs(score - cut)))
        return wrong, int((of.labels >= 0).sum())


def _cut(of: Scored) -> float:
    return 0.5 if of.threshold is None else of.threshold
