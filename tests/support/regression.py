"""A fifth task in one file, as a user would write it: regression of one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tinysight.data.targets import Target
from tinysight.errors import ConfigError
from tinysight.registry import losses, metrics, postprocesses, tasks
from tinysight.tasks.base import Scored, Task, TaskTable
from tinysight.tasks.results import Result

_GROUPS = 4


@losses.register("squared_error")
class SquaredError(nn.Module):
    """Mean squared difference of the only output and the target."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs (N, 1) and targets (N,) -> ()."""
        return torch.square(outputs[:, 0] - targets).mean()


@metrics.register("absolute_error")
def absolute_error(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`r2`, the share of the variance that is explained, and `mae`, the mean absolute error."""
    error = scores[:, 0] - labels
    spread = np.square(labels - labels.mean()).sum()
    return {
        "r2": 1 - float(np.square(error).sum() / max(spread, 1e-12)),
        "mae": float(np.abs(error).mean()),
    }


@dataclass(frozen=True, eq=False)
class NumberResult(Result):
    """The number that an image shows."""

    value: float


@postprocesses.register("number")
@dataclass(frozen=True)
class Number:
    """The network's output times `scale`."""

    scale: float = 1.0

    result = NumberResult

    def __call__(self, scores: np.ndarray) -> list[NumberResult]:
        """Results for the outputs (N, 1)."""
        if scores.ndim != 2 or scores.shape[1] != 1:
            raise ConfigError("number", f"expected (N, 1), got shape {scores.shape}")
        return [NumberResult("", float(value) * self.scale) for value in scores[:, 0]]


@tasks.register("regression")
class RegressionTask(Task):
    """One number an image; a line of a list is `path number`."""

    activation = "identity"
    output = "value"
    postprocesses = ("number",)
    default_metrics = ({"name": "absolute_error"},)

    def targets(self) -> Mapping[str, Target]:
        return {"number": Target()}

    def sections(self, of: Scored) -> list[TaskTable]:
        order = np.argsort(of.labels, kind="stable")
        rows = []
        for part in np.array_split(order, _GROUPS):
            low, high = of.labels[part].min(), of.labels[part].max()
            error = np.abs(of.scores[part, 0] - of.labels[part]).mean()
            rows.append((f"{low:.3g} to {high:.3g}", str(len(part)), f"{error:.3g}"))
        return [TaskTable("Mean absolute error", ("number", "images", "error"), tuple(rows))]
