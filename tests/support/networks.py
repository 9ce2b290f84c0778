"""Networks filled by the recording's weight rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from support.golden import not_built, synth, synth_input
from tinysight.models import Backbone, create_model
from tinysight.models.weights import load_reference, reference_entries
from tinysight.registry import backbones


def find_network(name: str) -> str:
    """The registered network that the recorded `name` is, or is a variant of; else not built."""
    folded = _fold(name)
    found = [n for n in backbones.names() if folded.startswith(_fold(n))]
    if not found:
        not_built(f"network {name}")
    return max(found, key=len)


def recorded_options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of the reference as ours; raises KeyError at an unknown one."""
    words = {"class_num": "num_classes", "stride_list": "strides", "lr_mult_list": "lr_mults"}
    words |= {"class_expand": "last_channels", "use_last_conv": "use_last_conv"}
    return {words[k]: v for k, v in arguments.items() if k not in _IGNORED}


_IGNORED = ("infer_add_softmax", "return_stages", "return_patterns", "name")


def fill(model: Backbone, prefix: str = "") -> dict[str, np.ndarray]:
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


def build(name: str, **options: Any) -> Backbone:
    """The network `name`, filled by the rule, in evaluation mode."""
    model = create_model(name, **options)
    fill(model)
    return model.eval()


def _fold(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
