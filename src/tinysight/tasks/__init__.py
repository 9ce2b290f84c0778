"""What a network is for: the tasks, their results, and the post-processors between the two."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinysight.tasks.attributes import (
        FaceAttribute,
        PersonAttribute,
        TableAttribute,
        VehicleAttribute,
    )
    from tinysight.tasks.base import (
        Task,
        task_of_bundle,
        task_of_labels,
        task_of_postprocess,
        task_of_recipe,
        task_of_target,
    )
    from tinysight.tasks.classification import AllScores, Threshold, TopK
    from tinysight.tasks.detection import Boxes
    from tinysight.tasks.embedding import Binarize, Embedding
    from tinysight.tasks.multilabel import MultiLabel

__all__ = [
    "AllScores", "Binarize", "Boxes", "Embedding", "FaceAttribute", "MultiLabel", "PersonAttribute",
    "TableAttribute", "Task", "Threshold", "TopK", "VehicleAttribute", "task_of_bundle",
    "task_of_labels", "task_of_postprocess", "task_of_recipe", "task_of_target",
]  # fmt: skip
_MODULES = ("base", "classification", "multilabel", "embedding", "detection", "attributes")


def __getattr__(name: str) -> Any:
    """One of the names above; a prediction imports the one module that it needs."""
    for module in _MODULES if name in __all__ else ():
        found = importlib.import_module(f"tinysight.tasks.{module}")
        if hasattr(found, name):
            return getattr(found, name)
    raise AttributeError(f"module 'tinysight.tasks' has no attribute {name!r}")
