from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tinysight.errors import CheckpointError
from tinysight.training.checkpoint import (
    KEY,
    Checkpoint,
    TrainState,
    _digest,
    load_checkpoint,
    optimizer_tensors,
    read_safetensors,
    restore_optimizer,
    save_checkpoint,
)

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "plain sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def example() -> Checkpoint:
    model = network()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    learn(model, optimizer, 0)
    state = TrainState(
        3, 0.1 + 0.2, 12, {"epoch": 1, "metrics": {"top1": 1 / 3}}, {7: "gone"}, "ab"
    )
    return Checkpoint({"task": "t"}, state, model.state_dict(), optimizer_tensors([optimizer]))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path, saved = tmp_path / "sub" / "last.safetensors", example()
    save_checkpoint(path, saved)
    found = load_checkpoint(path)
    assert asdict(found.state) == asdict(saved.state)
    assert found.recipe == saved.recipe
    assert same(found.model, saved.model)
    assert same(found.optimizer, saved.optimizer)
    assert os.listdir(path.parent) == ["last.safetensors"]  # noqa: PTH208 - no temporary file


def test_the_same_state_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, example())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_goes_on_as_if_nothing_had_happened(tmp_path: Path, name: str) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](model.parameters())
    for step in range(3):
        learn(model, optimizer, step)
    saved = Checkpoint({}, TrainState(), model.state_dict(), optimizer_tensors([optimizer]))
    save_checkpoint(tmp_path / "c", saved)

    other = network(seed=1)
    again = OPTIMIZERS[name](other.parameters())
    found = load_checkpoint(tmp_path / "c")
    other.load_state_dict(found.model)
    restore_optimizer([again], found.optimizer)
    for step in range(3, 6):
        learn(model, optimizer, step)
        learn(other, again, step)
    assert same(model.state_dict(), other.state_dict())
    assert same(optimizer_tensors([optimizer]), optimizer_tensors([again]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such file"):
        load_checkpoint(tmp_path / "gone.safetensors")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, example())
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"last\.safetensors"):
            load_checkpoint(path)


def test_any_altered_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, example())
    whole = path.read_bytes()
    for place in range(0, len(whole), 13):
        altered = bytearray(whole)
        altered[place] ^= 0x10
        path.write_bytes(altered)
        try:
            found = load_checkpoint(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017 - see the other branch
        else:  # padding of the header
            assert same(found.model, load_bytes(tmp_path, whole).model)


def load_bytes(folder: Path, content: bytes) -> Checkpoint:
    (folder / "whole").write_bytes(content)
    return load_checkpoint(folder / "whole")


def test_another_safetensors_file_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"w": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="no checkpoint of tinysight"):
        load_checkpoint(path)
    assert read_safetensors(path)[1]["w"].tolist() == [1, 1]


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, example())
    entry = json.loads(read_safetensors(path)[0][KEY])
    save_file(load_file(path), path, {KEY: json.dumps({**entry, "version": 3})})
    with pytest.raises(CheckpointError, match="format 3; this version reads formats 1 and 2"):
        load_checkpoint(path)


def test_an_edited_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, example())
    entry = json.loads(read_safetensors(path)[0][KEY])
    entry["content"] = entry["content"].replace('"task": "t"', '"task": "u"')
    save_file(load_file(path), path, {KEY: json.dumps(entry)})
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_weights_of_other_types_survive(tmp_path: Path) -> None:
    tensors = {
        "half": torch.arange(3).to(torch.bfloat16),
        "count": torch.tensor(7),
        "none": torch.empty(0, 4),
        "mixed": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    }
    save_checkpoint(tmp_path / "c", replace(example(), model=tensors))
    found = load_checkpoint(tmp_path / "c").model
    assert same(found, tensors)
    assert all(found[k].dtype == tensors[k].dtype for k in tensors)


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    """As the program before `terms` met it, and as this one will meet what comes after."""
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, Checkpoint({}, TrainState(), {"a": torch.zeros(1)}, {}))
    metadata, tensors = read_safetensors(path)
    entry = json.loads(metadata[KEY])
    assert entry["version"] == 2

    def rewritten(version: int, state: dict[str, Any]) -> Path:
        content = json.dumps({"recipe": {}, "state": state})
        note = {"version": version, "content": content, "digest": _digest(tensors, content)}
        save_file(tensors, path, {KEY: json.dumps(note)})
        return path

    state = json.loads(entry["content"])["state"]
    for change in ({"later": 1}, {"unreadable": None}):
        with pytest.raises(CheckpointError, match="holds no state of a run: "):
            load_checkpoint(rewritten(2, {**state, **change}))
    del state["terms"]
    assert load_checkpoint(rewritten(1, state)).state == TrainState(), "of the program before"
