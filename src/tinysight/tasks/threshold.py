"""Yes or no at an operating point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses
from tinysight.tasks.postprocess import check_scores, class_index
from tinysight.tasks.results import ClassResult

if TYPE_CHECKING:
    from annotated_types import Ge, Le


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
        decide = self._one_of_two if scores.shape[1] == 2 else self._one_of_many
        return [decide(row) for row in scores]

    def _one_of_two(self, row: np.ndarray) -> ClassResult:
        positive = class_index(self.positive, self.labels or ("", ""), "postprocess.positive")
        score = row[positive]
        if score < self.threshold:
            return self._result(1 - positive, 1 - score, str(1 - positive))
        return self._result(positive, score, str(positive))

    def _one_of_many(self, row: np.ndarray) -> ClassResult:
        best = int(row.argmax())
        if not row[best] > self.threshold:
            best = class_index(self.default, self.labels, "postprocess.default")
        return self._result(best, row[best], "")

    def _result(self, index: int, score: np.floating, name: str) -> ClassResult:
        names = (self.labels[index] if self.labels else name,)
        return ClassResult("", np.array([index]), np.array([score]), names)
