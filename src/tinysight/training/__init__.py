"""The run: `fit` trains a recipe, `load_predictor` and `load_model` give its network back."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Callback": "tinysight.training.callbacks",
    "FitResult": "tinysight.training.loop",
    "evaluate_run": "tinysight.training.predictor",
    "fit": "tinysight.training.loop",
    "load_model": "tinysight.training.predictor",
    "load_predictor": "tinysight.training.predictor",
}

if TYPE_CHECKING:
    from tinysight.training.callbacks import Callback
    from tinysight.training.loop import FitResult, fit
    from tinysight.training.predictor import evaluate_run, load_model, load_predictor

__all__ = ["Callback", "FitResult", "evaluate_run", "fit", "load_model", "load_predictor"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tinysight.training' has no attribute {name!r}")
