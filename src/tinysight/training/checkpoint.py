"""Checkpoints: one safetensors file with the network, the optimiser and where the loop stands.

The file is written whole or not at all, and carries a digest of all it holds: a truncated or
altered one is refused by name, never half loaded. It needs no other file: the recipe is inside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tinysight.errors import CheckpointError
from tinysight.files import write_atomic

KEY = "tinysight-checkpoint"  # the one entry of the metadata: more would be stored in any order
_VERSIONS = (1, 2)  # the second has terms, and an objective where there is one
_PARTS = ("model", "optimizer", "training", "objective")


@dataclass
class TrainState:
    """Where a run stands, besides its tensors.

    The loop works on it directly, but for what other parts of the run count themselves (`loss_sum`, `seen`, `terms`,
    `scaler`, `schedule`): these are filled in when a checkpoint is written, by `run.current_state`.

    Attributes:
        step: training steps done, each one change of the weights.
        loss_sum: sum of the losses of this epoch's images so far.
        seen: number of images in that sum.
        best: epoch and metrics of the best evaluation; empty before the first one.
        unreadable: reason that an image could not be read, by place in the training list.
        data: fingerprint of the training list.
        processes: number of processes that share the batches.
        mark: epoch and value that early stopping waits to see surpassed; empty before the first.
        stopped: whether early stopping has ended the run.
        scaler: loss scale of fp16, and steps since it last changed.
        schedule: what a schedule has seen that is no pure function of the step.
        terms: sums like `loss_sum` of each term, where there are several.
    """

    step: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)
    data: str = ""
    processes: int = 1
    mark: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False
    scaler: dict[str, float] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """What one file holds.

    Attributes:
        recipe: the resolved recipe as plain data.
        state: where the run stands.
        model: the network to use.
        optimizer: the optimiser's memory; empty in a file of weights alone.
        training: the network in training, where the one to use is its running mean.
        objective: the rest of the objective's parameters and buffers: other networks, losses.
    """

    recipe: dict[str, Any]
    state: TrainState
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    training: dict[str, Tensor] = field(default_factory=dict)
    objective: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path`, whole or not at all."""
    tensors = {
        f"{part}.{name}": _plain(value)
        for part in _PARTS
        for name, value in getattr(checkpoint, part).items()
    }
    content = json.dumps({"recipe": checkpoint.recipe, "state": asdict(checkpoint.state)})
    entry = {"version": _VERSIONS[-1], "content": content, "digest": _digest(tensors, content)}
    write_atomic(path, save(tensors, {KEY: json.dumps(entry)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; tensors on the CPU.

    Raises:
        CheckpointError: the file is missing, truncated, altered, or not a checkpoint of tinysight.
    """
    metadata, tensors = read_safetensors(path)
    if KEY not in metadata:
        raise CheckpointError(str(path), "a safetensors file, but no checkpoint of tinysight")
    try:
        entry = json.loads(metadata[KEY])
        version, content, digest = entry["version"], str(entry["content"]), entry["digest"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(str(path), "damaged: its header is not readable") from None
    if version not in _VERSIONS:
        what = f"a checkpoint of format {version}; this version reads formats 1 and 2"
        raise CheckpointError(str(path), what, "upgrade tinysight")
    if _digest(tensors, content) != digest:
        raise CheckpointError(str(path), "damaged: its content does not match its digest")
    tree = json.loads(content)
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        parts[part][name] = value
    try:
        return Checkpoint(tree["recipe"], train_state(tree["state"]), **parts)
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(str(path), f"its state is not understood: {error}") from None


def train_state(tree: Mapping[str, Any]) -> TrainState:
    """The state of `asdict`, as JSON gives it back."""
    reasons = {int(index): reason for index, reason in tree["unreadable"].items()}
    return TrainState(**{**tree, "unreadable": reasons})


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of any safetensors file.

    Raises:
        CheckpointError: the file is missing, truncated, or not a safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            return dict(file.metadata() or {}), tensors
    except FileNotFoundError:
        raise CheckpointError(str(path), "no such file") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(str(path), f"not a whole safetensors file ({error})") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's memory as `index.name`; its settings come from the recipe."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, entries in state.items()
        for name, value in entries.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give `optimizer` the memory that `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _digest(tensors: Mapping[str, Tensor], content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8"))
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
