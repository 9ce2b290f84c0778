"""The run: `fit` trains a recipe, `load_predictor` and `load_model` give its network back."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "FitResult": "tinysight.train.loop",
    "evaluate_run": "tinysight.train.predictor",
    "fit": "tinysight.train.loop",
    "load_model": "tinysight.train.predictor",
    "load_predictor": "tinysight.train.predictor",
}

if TYPE_CHECKING:
    from tinysight.train.loop import FitResult, fit
    from tinysight.train.predictor import evaluate_run, load_model, load_predictor

__all__ = ["FitResult", "evaluate_run", "fit", "load_model", "load_predictor"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tinysight.train' has no attribute {name!r}")
