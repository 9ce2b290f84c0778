"""Weights under PaddleClas' names: out of a network, and into one, entry by entry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from tinysight.errors import CheckpointError
from tinysight.models.weights import reference_entries


def to_reference(model: nn.Module) -> dict[str, np.ndarray]:
    """The weights of `model` under PaddleClas' names and in its layout."""
    state = model.state_dict()
    arrays = {e.name: (state[e.ours].detach().cpu().numpy(), e) for e in reference_entries(model)}
    return {name: a.T.copy() if e.transposed else a.copy() for name, (a, e) in arrays.items()}


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
