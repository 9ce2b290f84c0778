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

from tinysight.errors import CheckpointError

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


def to_reference(model: nn.Module) -> dict[str, np.ndarray]:
    """The weights of `model` under PaddleClas' names and in its layout."""
    state = model.state_dict()
    arrays = {e.name: (state[e.ours].detach().cpu().numpy(), e) for e in reference_entries(model)}
    return {name: a.T.copy() if e.transposed else a.copy() for name, (a, e) in arrays.items()}


def from_reference(model: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Arrays under PaddleClas' names as tensors under ours, in our layout.

    bfloat16, which comes as its 16 bits, becomes float32 where `model` has a number there. What `model` does not know
    keeps its layout.
    """
    entries = {e.ours: e for e in reference_entries(model)}
    state = model.state_dict()
    found = {}
    for name, array in weights.items():
        ours = torch_name(name)
        turned = ours in entries and entries[ours].transposed and array.ndim == 2
        tensor = torch.from_numpy(np.array(array.T if turned else array, order="C"))
        if array.dtype == np.uint16 and ours in state and state[ours].is_floating_point():
            tensor = tensor.view(torch.bfloat16).float()
        found[ours] = tensor
    return found


def load_reference(
    model: nn.Module, weights: Mapping[str, np.ndarray], where: str, *, strict: bool = True
) -> tuple[list[str], list[str]]:
    """Fill `model` with weights that have PaddleClas' names and layout.

    Args:
        model: changed in place, and not at all when an error is raised.
        weights: array by reference name.
        where: the file they come from, for messages.
        strict: refuse a missing or an unknown entry. Otherwise they are left out; the classifier of
            another number of classes is also left out then.

    Returns:
        PaddleClas' names that `model` lacks a value for, and those in `weights` that it does
        not know.

    Raises:
        CheckpointError: a missing or unknown entry in strict mode; an array of another shape.
    """
    entries = {e.name: e for e in reference_entries(model)}
    classifier = f"{getattr(model, 'classifier_name', '')}."
    state: dict[str, torch.Tensor] = {}
    missing = [name for name in entries if name not in weights]
    unknown = [name for name in weights if name not in entries]
    for name, entry in entries.items():
        if name not in weights:
            continue
        array = weights[name]
        if tuple(array.shape) != entry.shape:
            if not strict and name.startswith(classifier):
                missing.append(name)
                continue
            what = f"{name} has shape {tuple(array.shape)}, the network {entry.shape}"
            raise CheckpointError(where, what)
        state[entry.ours] = torch.from_numpy(np.array(array.T if entry.transposed else array))
    if strict and (missing or unknown):
        what = f"not of this network: {len(missing)} entries missing, {len(unknown)} unknown"
        raise CheckpointError(where, what, f"for example {', '.join((missing + unknown)[:3])}")
    model.load_state_dict(state, strict=False)
    return missing, unknown
