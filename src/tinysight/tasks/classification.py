"""One class an image: the task, and the post-processors of its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses, tasks
from tinysight.tasks.base import BinaryScores, Misclassification, Scored, Task
from tinysight.tasks.postprocess import check_scores, class_index, names_of
from tinysight.tasks.results import ClassResult, ScoreResult

if TYPE_CHECKING:
    from annotated_types import Ge, Le

    from tinysight.data.targets import Target
    from tinysight.metrics.classification import LabelRates


@postprocesses.register("topk")
@dataclass(frozen=True)
class TopK:
    """The `k` classes with the highest scores, best first; all of them if there are fewer.

    Scores are rounded to `decimals` places, as PaddleClas does; equal scores come highest
    class id first. Without labels, `label_names` is empty.
    """

    k: Annotated[int, Ge(1)] = 5
    decimals: Annotated[int, Ge(0), Le(17)] = 5
    labels: tuple[str, ...] = ()

    result = ClassResult

    def __call__(self, scores: np.ndarray) -> list[ClassResult]:
        """Results for scores (N, K), higher is better."""
        table = check_scores(scores, self.labels)
        # Stable ascending order read backwards: the highest id first among equals.
        order = np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, : self.k]
        best = np.take_along_axis(table, order, axis=1).round(self.decimals)
        rows = zip(order, best, strict=True)
        return [ClassResult("", ids, row, names_of(ids, self.labels)) for ids, row in rows]


@postprocesses.register("threshold")
@dataclass(frozen=True)
class Threshold:
    """One class per image, decided by a threshold on its probability.

    Two classes: `positive` if its probability is at least `threshold`, else the other one, with
    the complement as its score. More classes: the best class if its probability exceeds
    `threshold`, else `default`; the comparison is strict there, as in PaddleClas. `positive`
    and `default` are label names or class ids. Without labels, the name of one of two classes is
    its id, and that of one of more is empty.
    """

    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    positive: str | int = 1
    default: str | int = 0
    labels: tuple[str, ...] = ()

    result = ClassResult

    def __post_init__(self) -> None:
        class_index(self.positive, self.labels, "postprocess.positive")
        class_index(self.default, self.labels, "postprocess.default")

    def __call__(self, scores: np.ndarray) -> list[ClassResult]:
        """Results for probabilities (N, K), K at least 2."""
        check_scores(scores, self.labels)
        if scores.shape[1] < 2:
            raise ConfigError("postprocess", "a threshold needs two classes or more, got one score")
        return [self._decide(row) for row in scores]

    def _decide(self, row: np.ndarray) -> ClassResult:
        if len(row) == 2:
            index = class_index(self.positive, self.labels or ("", ""), "postprocess.positive")
            if row[index] < self.threshold:
                index, row = 1 - index, 1 - row[::-1]
        else:
            index = int(row.argmax())
            if not row[index] > self.threshold:
                index = class_index(self.default, self.labels, "postprocess.default")
        ids = np.array([index])
        names = names_of(ids, self.labels) or (str(index) if len(row) == 2 else "",)
        return ClassResult("", ids, row[ids], names)


@postprocesses.register("scores")
@dataclass(frozen=True)
class AllScores:
    """The score of every class in their order, rounded to `decimals` places."""

    decimals: Annotated[int, Ge(0), Le(17)] = 5
    labels: tuple[str, ...] = ()

    result = ScoreResult

    def __call__(self, scores: np.ndarray) -> list[ScoreResult]:
        """Results for scores (N, K)."""
        rounded = check_scores(scores, self.labels).round(self.decimals)
        return [ScoreResult("", row) for row in rounded]


@tasks.register("classification")
class ClassificationTask(Task):
    """One class an image: softmax, class ids as labels, a threshold where there are two classes."""

    activation = "softmax"
    postprocesses = ("topk", "threshold", "scores")
    one_class = True
    calibrates = True
    outcome = "right"
    default_metrics = ({"name": "topk", "k": [1]},)

    def targets(self) -> Mapping[str, Target]:
        from tinysight.data.targets import ClassTarget, IdentityTarget, NoTarget

        return {"class": ClassTarget(), "identity": IdentityTarget(), "transform": NoTarget()}

    def perfect_scores(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        return np.asarray(np.eye(num_classes, dtype=np.float32)[labels])

    def no_threshold(self, postprocess: Mapping[str, Any], num_classes: int) -> ConfigError | None:
        if num_classes == 2 and postprocess["name"] == "threshold":
            return None
        what = f"{num_classes} classes have no false-positive rate"
        hint = "it needs two classes, or data.target: multilabel"
        if postprocess["name"] != "threshold":
            what = f"{postprocess['name']} has no threshold"
            hint = "two classes need export.postprocess {name: threshold}"
        return ConfigError("export.operating_point", what, hint)

    def binary_scores(self, of: Scored, postprocess: Mapping[str, Any]) -> BinaryScores | None:
        names = tuple(of.names)
        if self.no_threshold(postprocess, len(names)):
            return None
        which = class_index(postprocess.get("positive", 1), names, "postprocess.positive")
        groups = (names[which], names[1 - which])
        return BinaryScores(of.scores[:, which], of.labels == which, None, names[which], groups)

    def predicted(self, of: Scored) -> np.ndarray:
        threshold, positive = of.threshold, of.positive
        if threshold is None or positive is None:
            return np.asarray(of.scores.argmax(axis=1))
        return np.where(of.scores[:, positive] >= threshold, positive, 1 - positive)

    def confusion(self, of: Scored) -> np.ndarray:
        from tinysight.metrics.classification import confusion_matrix

        return confusion_matrix(of.labels, self.predicted(of), of.scores.shape[1])

    def label_rates(self, of: Scored) -> list[LabelRates]:
        from tinysight.metrics.classification import class_report

        return class_report(self.confusion(of)).rows()

    def outcomes(self, of: Scored) -> np.ndarray:
        return np.where(of.labels < 0, np.nan, self.predicted(of) == of.labels)

    def baselines(self, of: Scored) -> dict[str, float]:
        counts = self.counts(of.labels, len(of.names))
        most = int(counts.argmax())
        return {
            "guessing": 1 / len(counts),
            f"always “{of.names[most]}”": float(counts[most] / counts.sum()),
        }

    def misclassified(self, of: Scored) -> tuple[list[Misclassification], int]:
        predicted, wrong = self.predicted(of), []
        for i in np.flatnonzero(predicted != of.labels).tolist():
            said, truth, scores = predicted[i], of.labels[i], of.scores[i]
            name, gap = of.names[said], float(scores[said] - scores[truth])
            wrong.append(Misclassification(i, name, float(scores[said]), of.names[truth], gap))
        return wrong, len(of.labels)
