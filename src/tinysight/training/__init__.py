"""The run: `fit` trains a recipe, `load_predictor` and `load_model` give its network back."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PREDICTOR = ("evaluate_run", "load_model", "load_predictor")
_HOMES = {"Callback": "callbacks", "FitResult": "loop", "fit": "loop"}
_HOMES |= dict.fromkeys(_PREDICTOR, "predictor")

if TYPE_CHECKING:
    from tinysight.training.callbacks import Callback
    from tinysight.training.loop import FitResult, fit
    from tinysight.training.predictor import evaluate_run, load_model, load_predictor

__all__ = ["Callback", "FitResult", "evaluate_run", "fit", "load_model", "load_predictor"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'tinysight.training' has no attribute {name!r}")
