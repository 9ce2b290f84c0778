"""Losses: modules that give one number, in three registries of `tinysight.registry`.

Those of classification (`losses`) take logits (N, K) and targets; those of metric learning
(`embedding_losses`) embeddings (N, D) and labels (N,), a few also logits or domains; those of
distillation (`distillation_losses`) the outputs of student and teacher, a few also labels.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = (
    "classification",
    "distillation",
    "domains",
    "hashing",
    "memory",
    "pairs",
    "relations",
    "triplet",
)


def __getattr__(name: str) -> Any:
    """A loss class of any of the modules, which are imported one after the other until one has it."""
    if name[:1].isupper():
        for module in _MODULES:
            found = getattr(importlib.import_module(f"tinysight.losses.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module 'tinysight.losses' has no attribute {name!r}")
