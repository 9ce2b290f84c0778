"""tinysight: train tiny, fast image classifiers on your own images; the same results everywhere.

Importing the package imports neither torch nor onnxruntime nor OpenCV; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "bundle", "Classifier": "pipelines.pipeline", "Detector": "pipelines.detect",
    "Gallery": "gallery.gallery", "Recognizer": "pipelines.recognize", "Result": "tasks.results",
    "TinysightError": "errors", "Unreadable": "tasks.results",
    "create_model": "models", "decode": "transforms", "evaluate": "pipelines.opened",
    "export_bundle": "export.bundle", "fit": "training", "list_models": "models", "load": "pipelines.opened",
    "load_plugin": "plugins", "load_recipe": "config", "open_bundle": "pipelines.pipeline",
    "train": "starter.train", "TrainedRun": "starter.train",
}  # fmt: skip

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.config import load_recipe
    from tinysight.errors import TinysightError
    from tinysight.export.bundle import export_bundle
    from tinysight.gallery.gallery import Gallery
    from tinysight.models import create_model, list_models
    from tinysight.pipelines.detect import Detector
    from tinysight.pipelines.opened import evaluate, load
    from tinysight.pipelines.pipeline import Classifier, open_bundle
    from tinysight.pipelines.recognize import Recognizer
    from tinysight.plugins import load_plugin
    from tinysight.starter.train import TrainedRun, train
    from tinysight.tasks.results import Result, Unreadable
    from tinysight.training import fit
    from tinysight.transforms import decode

__all__ = [
    "Bundle", "Classifier", "Detector", "Gallery", "Recognizer", "Result", "TinysightError",
    "TrainedRun", "Unreadable",
    "create_model", "decode", "evaluate", "export_bundle", "fit", "list_models", "load", "load_plugin",
    "load_recipe", "open_bundle", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"tinysight.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'tinysight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
