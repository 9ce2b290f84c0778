"""The k best classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from tinysight.registry import postprocesses
from tinysight.tasks.postprocess import check_scores
from tinysight.tasks.results import ClassResult

if TYPE_CHECKING:
    from annotated_types import Ge, Le


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
        check_scores(scores, self.labels)
        # Stable ascending order read backwards: the highest id first among equals.
        order = np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, : self.k]
        best = np.take_along_axis(scores, order, axis=1).astype(np.float64).round(self.decimals)
        return [
            ClassResult(
                "", ids, values, tuple(self.labels[i] for i in ids.tolist()) if self.labels else ()
            )
            for ids, values in zip(order, best, strict=True)
        ]
