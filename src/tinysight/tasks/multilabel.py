"""Several labels an image: the task, and its usual post-processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from tinysight.registry import postprocesses, tasks
from tinysight.tasks.base import (
    Activation,
    BinaryScores,
    LabelRates,
    Misclassification,
    Scored,
    Task,
)
from tinysight.tasks.postprocess import check_scores
from tinysight.tasks.results import ClassResult

if TYPE_CHECKING:
    from annotated_types import Ge, Le

    from tinysight.data.targets import Target


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
        check_scores(scores, self.labels)
        results = []
        for row in scores:
            ids = np.flatnonzero(row >= self.threshold)
            values = row[ids].astype(np.float64).round(self.decimals)
            names = tuple(self.labels[i] for i in ids.tolist()) if self.labels else ()
            results.append(ClassResult("", ids, values, names))
        return results


@tasks.register("multilabel")
class MultilabelTask(Task):
    """Several labels an image, each present, absent or unknown: a sigmoid and one threshold for all."""

    activation: ClassVar[Activation] = "sigmoid"
    postprocesses: ClassVar[tuple[str, ...]] = (
        *("multilabel", "person_attribute", "vehicle_attribute", "table_attribute"),
        *("face_attribute", "scores", "topk", "threshold"),
    )
    unit: ClassVar[str] = "decisions"
    calibrates: ClassVar[bool] = True
    default_metrics: ClassVar[tuple[Mapping[str, Any], ...]] = ({"name": "mean_accuracy"},)

    def targets(self) -> Mapping[str, Target]:
        from tinysight.data.targets import MultilabelTarget

        return {"multilabel": MultilabelTarget()}

    def known(self, labels: np.ndarray) -> np.ndarray:
        return np.asarray((labels >= 0).any(axis=1))

    def counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        return np.asarray((labels == 1).sum(axis=0, dtype=np.int64))

    def no_threshold(self, postprocess: Mapping[str, Any], num_classes: int) -> tuple[str, str]:
        name = postprocess["name"]
        if name == "multilabel" and not isinstance(postprocess.get("threshold"), list | tuple):
            return "", ""
        hint = "several labels need export.postprocess {name: multilabel} with one threshold"
        return f"{name} has no threshold common to all labels", hint

    def binary_scores(self, of: Scored, postprocess: Mapping[str, Any]) -> BinaryScores | None:
        if any(self.no_threshold(postprocess, len(of.names))):
            return None
        known = of.labels >= 0
        images = np.nonzero(known)[0]
        groups = ("has the label", "has it not")
        return BinaryScores(of.scores[known], of.labels[known] > 0, images, "any label", groups)

    def fit_temperature(self, scores: np.ndarray, labels: np.ndarray) -> float | None:
        from tinysight.metrics.calibration import fit_temperature

        return fit_temperature(scores, labels)

    def apply_temperature(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        from tinysight.metrics.calibration import soften_each

        return soften_each(scores, temperature)

    def calibration(self, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        from tinysight.metrics.calibration import calibration

        return calibration(scores, labels)

    def label_rates(self, of: Scored) -> list[LabelRates]:
        from tinysight.metrics.multilabel import label_report

        report = label_report(of.scores >= _cut(of), of.labels)
        columns = (report.support, report.precision, report.recall, report.f1)
        return [LabelRates(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def misclassified(self, of: Scored) -> tuple[list[Misclassification], int]:
        cut, wrong = _cut(of), []
        called = of.scores >= cut
        rows, columns = np.nonzero((called != (of.labels > 0)) & (of.labels >= 0))
        for i, k in zip(rows.tolist(), columns.tolist(), strict=True):
            words, score = (of.names[k], f"not {of.names[k]}"), float(of.scores[i, k])
            said, truth = words if called[i, k] else words[::-1]
            wrong.append(Misclassification(i, said, score, truth, abs(score - cut)))
        return sorted(wrong, key=lambda m: -m.gap), int((of.labels >= 0).sum())


def _cut(of: Scored) -> float:
    return 0.5 if of.threshold is None else of.threshold
