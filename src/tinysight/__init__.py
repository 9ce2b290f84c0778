"""tinysight: train tiny, fast image classifiers on your own images; the same results everywhere.

Importing the package imports neither torch nor onnxruntime nor OpenCV; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "tinysight.bundle",
    "Classifier": "tinysight.pipelines.pipeline",
    "Detector": "tinysight.pipelines.detect",
    "Result": "tinysight.tasks.results",
    "TinysightError": "tinysight.errors",
    "Unreadable": "tinysight.tasks.results",
    "create_model": "tinysight.models",
    "decode": "tinysight.transforms",
    "evaluate": "tinysight.evaluation.predictor",
    "export_bundle": "tinysight.export.bundle",
    "fit": "tinysight.training",
    "list_models": "tinysight.models",
    "load_plugin": "tinysight.plugins",
    "load_recipe": "tinysight.config",
    "open_bundle": "tinysight.pipelines.pipeline",
}

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.config import load_recipe
    from tinysight.errors import TinysightError
    from tinysight.evaluation.predictor import evaluate
    from tinysight.export.bundle import export_bundle
    from tinysight.models import create_model, list_models
    from tinysight.pipelines.detect import Detector
    from tinysight.pipelines.pipeline import Classifier, open_bundle
    from tinysight.plugins import load_plugin
    from tinysight.tasks.results import Result, Unreadable
    from tinysight.training import fit
    from tinysight.transforms import decode

__all__ = [
    "Bundle",
    "Classifier",
    "Detector",
    "Result",
    "TinysightError",
    "Unreadable",
    "create_model",
    "decode",
    "evaluate",
    "export_bundle",
    "fit",
    "list_models",
    "load_plugin",
    "load_recipe",
    "open_bundle",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tinysight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
