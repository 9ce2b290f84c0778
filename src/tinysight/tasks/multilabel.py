"""Several labels an image, or simply all scores, or bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses
from tinysight.tasks.postprocess import check_scores
from tinysight.tasks.results import ClassResult, CodeResult, ScoreResult

if TYPE_CHECKING:
    from annotated_types import Ge, Le


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


@postprocesses.register("scores")
@dataclass(frozen=True)
class AllScores:
    """The score of every class in their order, rounded to `decimals` places."""

    decimals: Annotated[int, Ge(0), Le(17)] = 5
    labels: tuple[str, ...] = ()

    result = ScoreResult

    def __call__(self, scores: np.ndarray) -> list[ScoreResult]:
        """Results for scores (N, K)."""
        check_scores(scores, self.labels)
        rounded = scores.astype(np.float64).round(self.decimals)
        return [ScoreResult("", row) for row in rounded]


@postprocesses.register("binarize")
@dataclass(frozen=True)
class Binarize:
    """An embedding as bits, eight a number, the first bit the highest.

    A bit is 1 where the value is at least 1/2 (`round`, for values from 0 to 1), or where it is
    positive (`sign`).
    """

    method: Literal["round", "sign"] = "round"

    result = CodeResult

    def __call__(self, scores: np.ndarray) -> list[CodeResult]:
        """Codes of embeddings (N, D), D a multiple of eight."""
        check_scores(scores, ())
        if scores.shape[1] % 8:
            what = f"bits are packed by eight, the embedding has {scores.shape[1]} values"
            raise ConfigError("postprocess", what)
        bits = scores >= 0.5 if self.method == "round" else scores > 0
        return [CodeResult("", row) for row in np.packbits(bits, axis=1)]
