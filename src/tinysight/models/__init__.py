"""Networks: one file per family, each variant registered under its name in
`tinysight.registry.backbones`.

`create_model("pplcnet_x1_0", num_classes=2)(images)` gives logits (N, 2) of normalised images
(N, 3, H, W); `forward_features(images)` the last feature map (N, C, h, w), and
`pre_logits(feature_map)` the vector (N, D) that the classifier takes.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import torch

from tinysight.errors import ConfigError
from tinysight.models import (  # noqa: F401 - the imports register the families
    efficientnet_lite,
    from_timm,
    heads,
    margins,
    mobilenetv1,
    mobilenetv3,
    necks,
    pphgnet,
    pphgnetv2,
    pplcnet,
    pplcnetv2,
    res2net,
    resnet,
    swin,
)
from tinysight.models.base import Backbone
from tinysight.models.cost import Cost, cost
from tinysight.models.layers import set_batch_norm_variance
from tinysight.models.recognizer import Recognition, Recognizer, create_recognizer, normalize
from tinysight.models.weights import count_parameters
from tinysight.registry import backbones

__all__ = [
    "Backbone",
    "Cost",
    "Recognition",
    "Recognizer",
    "cost",
    "cost_of",
    "count_parameters",
    "create_model",
    "create_model_without_weights",
    "create_recognizer",
    "list_models",
    "normalize",
    "set_batch_norm_variance",
]


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
    if name.startswith(f"{from_timm.PREFIX}/"):
        rest = name.partition("/")[2]
        return from_timm.create_timm(rest, num_classes, options)
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


def cost_of(name: str) -> Cost:
    """The cost of a network as it is exported, its branches fused; the largest one takes a moment, too."""
    model = create_model_without_weights(name)
    model.reparameterize()
    return cost(model)


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` knows and `pattern` matches (`*` and `?`, case does not matter),
    sorted.
    """
    return [name for name in backbones.names() if fnmatchcase(name, pattern.lower())]
