"""Networks filled by the recording's weight rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from support.golden import not_built, synth, synth_input
from support.weights import load_reference
from tinysight.errors import UnknownName
from tinysight.models import RecognitionNetwork
from tinysight.models.recognizer import build_recognizer
from tinysight.models.weights import reference_entries
from tinysight.registry import backbones


def find_network(name: str) -> str:
    """The registered network that the recorded `name` is, or is a variant of; else not built."""
    folded = _fold(name)
    found = [n for n in backbones.names() if folded.startswith(_fold(n))]
    if not found:
        not_built(f"network {name}")
    return max(found, key=len)


def recorded_options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of PaddleClas as ours; raises KeyError at an unknown one."""
    return {_WORDS[k]: v for k, v in arguments.items() if k not in (*_IGNORED, "name")}


_WORDS = {
    "class_num": "num_classes",
    "stride_list": "strides",
    "lr_mult_list": "lr_mults",
    "class_expand": "last_channels",
    "use_last_conv": "use_last_conv",
}
_IGNORED = (
    *("infer_add_softmax", "return_stages", "return_patterns"),
    *("embedding_size", "num_features", "weight_attr", "bias_attr"),
)


def recorded_recognizer(arch: dict[str, Any], num_classes: int) -> RecognitionNetwork:
    """The recognition network of a recorded `arch`, its head for `num_classes` identities."""
    backbone, neck, head = (
        {_WORDS.get(k, k): v for k, v in arch[part].items() if k not in _IGNORED}
        for part in ("Backbone", "Neck", "Head")
    )
    neck["features"] = neck.pop("num_classes", None)
    head.pop("num_classes")
    for spec, given in ((neck, arch["Neck"]), (head, arch["Head"])):
        if given.get("bias_attr") is False:
            spec["bias"] = False
    try:
        neck = {k: v for k, v in neck.items() if v is not None}
        return build_recognizer(backbone, neck, head, num_classes)
    except UnknownName as error:
        not_built(str(error))


def fill(model: nn.Module, prefix: str = "") -> dict[str, np.ndarray]:
    """Fill `model` by the rule and return the values; `prefix` is what the recorded names start
    with.
    """
    values = {}
    for entry in reference_entries(model):
        value = synth(prefix + entry.name, entry.shape)
        if value is not None:
            values[entry.name] = value
    kept = [e.name for e in reference_entries(model) if e.name not in values]
    missing, unknown = load_reference(model, values, "rule", strict=not kept)
    assert missing == kept
    assert not unknown
    return values


def recorded_input(spec: dict[str, Any]) -> torch.Tensor:
    """The batch that a fixture's `input` describes."""
    return torch.from_numpy(synth_input(spec["n"], spec["h"], spec["w"], name=spec["name"]))


def _fold(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
