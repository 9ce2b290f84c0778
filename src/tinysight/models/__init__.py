"""Networks: one file per family, each variant registered under its name in
`tinysight.registry.backbones`, which imports the families that are asked for.

`create_model("pplcnet_x1_0", num_classes=2)(images)` gives logits (N, 2) of normalised images
(N, 3, H, W); `forward_features(images)` the last feature map (N, C, h, w), and
`pre_logits(feature_map)` the vector (N, D) that the classifier takes.
"""

from __future__ import annotations

import importlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch

from tinysight.errors import ConfigError
from tinysight.models.base import Backbone
from tinysight.models.layers import set_batch_norm_variance
from tinysight.models.outputs import Outputs, run_network
from tinysight.models.recognizer import RecognitionNetwork
from tinysight.registry import backbones

if TYPE_CHECKING:
    from tinysight.models.count import Cost, cost, cost_of, count_parameters

_COUNTING = ("Cost", "cost", "cost_of", "count_parameters")

__all__ = [
    "Backbone", "Cost", "Outputs", "RecognitionNetwork", "cost", "cost_of", "count_parameters",
    "create_model", "create_model_without_weights", "list_models", "run_network",
    "set_batch_norm_variance",
]  # fmt: skip


def create_model(name: str, num_classes: int = 1000, **options: Any) -> Backbone:
    """Build a network with fresh weights, in training mode.

    Args:
        name: as in `list_models()`; case and separators do not matter (`PPLCNet_x1_0`). Or
            `timm/<name>`: a network of the package timm, as timm spells it.
        num_classes: width of the logits; 0 leaves the classifier out.
        **options: keyword arguments of the family, checked against its signature; or of
            `timm.create_model`.

    Raises:
        UnknownName: no such network; the error names the nearest.
        ConfigError: an option that the family does not have, or a value out of its range.
        MissingDependency: `timm/...`, and timm is not installed.
    """
    prefix, slash, rest = name.partition("/")
    if slash and prefix == "timm":
        from tinysight.models.from_timm import create_timm

        return create_timm(rest, num_classes, options)
    name = backbones.resolve(name, "create_model")
    spec, problems = backbones.check({"name": name, **options}, "")
    if problems:
        raise ConfigError.of(f"create_model({name!r})", problems)
    model: Backbone = backbones.build(spec, num_classes=num_classes)
    return model


def create_model_without_weights(name: str, num_classes: int = 1000, **options: Any) -> Backbone:
    """As `create_model`, but its weights have shapes alone: for counting, and takes no memory."""
    with torch.device("meta"):
        return create_model(name, num_classes, **options)


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` knows and `pattern` matches (`*` and `?`, case does not matter),
    sorted.
    """
    return [name for name in backbones.names() if fnmatchcase(name, pattern.lower())]


def __getattr__(name: str) -> Any:
    if name in _COUNTING:
        return getattr(importlib.import_module("tinysight.models.count"), name)
    raise AttributeError(f"module 'tinysight.models' has no attribute {name!r}")
