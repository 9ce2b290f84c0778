"""Names and layouts of PaddleClas' state dicts, by rule.

PaddleClas name         torch name                 layout
`*._mean`               `*.running_mean`           same
`*._variance`           `*.running_var`            same
`*.weight` (linear)     `*.weight`                 transposed: PaddleClas has (in, out)
everything else         the same name              same
                        `*.num_batches_tracked`    PaddleClas has no such entry

The networks are built so that this rule is all there is: their modules have PaddleClas' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

_LEAVES = {"running_mean": "_mean", "running_var": "_variance"}
_BACK = {reference: ours for ours, reference in _LEAVES.items()}


class Entry(NamedTuple):
    """One entry of a reference state dict."""

    name: str
    shape: tuple[int, ...]
    ours: str
    transposed: bool


def reference_name(name: str) -> str:
    """PaddleClas' spelling of one of our state-dict names."""
    stem, _, leaf = name.rpartition(".")
    return ".".join(filter(None, (stem, _LEAVES.get(leaf, leaf))))


def torch_name(name: str) -> str:
    """Our spelling of one of PaddleClas' state-dict names; undoes `reference_name`."""
    stem, _, leaf = name.rpartition(".")
    return ".".join(filter(None, (stem, _BACK.get(leaf, leaf))))


def reference_entries(model: nn.Module) -> list[Entry]:
    """What PaddleClas' state dict of the same network holds, in our order."""
    linear = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    shapes = {k: tuple(v.shape)[:: -1 if k in linear else 1] for k, v in model.state_dict().items()}
    return [
        Entry(reference_name(name), shape, name, name in linear)
        for name, shape in shapes.items()
        if not name.endswith("num_batches_tracked")
    ]


def from_reference(model: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Arrays under PaddleClas' names as tensors under ours, in our layout.

    bfloat16, which comes as its 16 bits, becomes float32 where `model` has a number there. What `model` does not know
    keeps its layout.
    """
    entries = {e.ours: e for e in reference_entries(model)}
    state = model.state_dict()
    found: dict[str, torch.Tensor] = {}
    left_over = getattr(model, "is_left_over", lambda name, array: False)
    own_name, given = getattr(model, "own_name", str), {torch_name(name) for name in weights}
    for name, array in weights.items():
        if left_over(name, array):
            continue
        ours = torch_name(name)
        if (own := own_name(ours)) not in given:
            ours = own
        turned = ours in entries and entries[ours].transposed and array.ndim == 2
        tensor = torch.from_numpy(np.array(array.T if turned else array, order="C"))
        if array.dtype == np.uint16 and ours in state and state[ours].is_floating_point():
            tensor = tensor.view(torch.bfloat16).float()
        found[ours] = tensor
    return found
