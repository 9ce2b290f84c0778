"""Checkpoints: one safetensors file with the network, the optimiser and where the loop stands.

The file is written whole or not at all, and carries a digest of all it holds: a truncated or
altered one is refused by name, never half loaded. It needs no other file: the recipe is inside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter
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
        probe: metrics of the linear probe that the run began with; empty without one.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

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
    probe: dict[str, float] = field(default_factory=dict)


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
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(str(path), "damaged: its header is not readable") from None
    if version not in _VERSIONS:
        what = f"a checkpoint of format {version}; this version reads formats 1 and 2"
        raise CheckpointError(str(path), what, "upgrade tinysight")
    if _digest(tensors, content) != digest:
        raise CheckpointError(str(path), "damaged: its content does not match its digest")
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        if part not in parts or not name:
            raise CheckpointError(str(path), f"holds {key!r}, which is no part of a run")
        parts[part][name] = value
    try:
        tree = json.loads(content)
        recipe, state = tree["recipe"], train_state(tree["state"])
        if not isinstance(recipe, dict):
            raise TypeError("the recipe is no mapping")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(str(path), f"holds no state of a run: {_first_line(error)}") from None
    return Checkpoint(recipe, state, **parts)


def train_state(tree: Any) -> TrainState:
    """The state of `asdict`, as JSON gives it back.

    Raises:
        ValueError: an entry is unknown, missing, or of another type.
    """
    state = TypeAdapter(TrainState).validate_json(json.dumps(tree), strict=True)
    if state.step < 0 or state.seen < 0 or state.processes < 1:
        raise ValueError("a count below its least")
    for kept, keys in ((state.best, {"epoch", "metrics"}), (state.mark, {"epoch", "value"})):
        if kept and (kept.keys() != keys or type(kept["epoch"]) is not int):
            raise ValueError(f"the best epoch is {kept}")
    metrics, marked = state.best.get("metrics", {0: 0.0}), state.mark.get("value", 0.0)
    values = [*metrics.values(), marked] if isinstance(metrics, dict) and metrics else [None]
    if any(type(value) not in (int, float) for value in values):
        raise ValueError("a metric of the best epoch is no number")
    return state


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


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
    # Types that this PyTorch lacks, shapes beyond its numbers, names that are no text: safetensors passes them on.
    except (
        OSError,
        SafetensorError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        what = f"not a whole safetensors file ({_first_line(error)})"
        raise CheckpointError(str(path), what) from None


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimisers' memory as `index.name`, counted through them; their settings come from the recipe."""
    return {
        f"{first + index}.{name}": value
        for first, optimizer in _counted(optimizers)
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
        if value is not None
    }


def restore_optimizer(
    optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """Give the optimisers the memory that `optimizer_tensors` took.

    Raises:
        ValueError, IndexError: it is that of other parameters.
    """
    for first, optimizer in _counted(optimizers):
        groups = optimizer.state_dict()["param_groups"]
        params = [param for group in optimizer.param_groups for param in group["params"]]
        end = first + len(params)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, _, name = key.partition(".")
            if first <= int(index) < end:
                state.setdefault(int(index) - first, {})[name] = value
        for number, entries in state.items():
            for name, value in entries.items():
                if value.numel() > 1 and value.shape != params[number].shape:
                    what = f"{name} of parameter {first + number} is {tuple(value.shape)}"
                    raise ValueError(f"{what}, the parameter {tuple(params[number].shape)}")
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def _counted(
    optimizers: Sequence[torch.optim.Optimizer],
) -> Iterator[tuple[int, torch.optim.Optimizer]]:
    """Each optimiser with the number of parameters before its own."""
    first = 0
    for optimizer in optimizers:
        yield first, optimizer
        first += sum(len(group["params"]) for group in optimizer.param_groups)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _digest(tensors: Mapping[str, Tensor], content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8"))
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
