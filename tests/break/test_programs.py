"""Damaged pickles, weights and exported programs: plain data, a network, or an error of ours; nothing is executed."""

from __future__ import annotations

import os
import pickle
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from support.breaking import Campaign, mutated
from support.bundles import tiny_onnx
from support.golden import own_path
from tinysight.compat.paddle.pdparams import read_paddle_state
from tinysight.compat.paddle.tensors import read_tensors
from tinysight.compat.paddle.to_onnx import paddle_to_onnx
from tinysight.graph.protobuf import fits
from tinysight.models import create_model
from tinysight.training.weights import read_weights

SEED = int(os.environ.get("TINYSIGHT_SEED", "1"))


class Evil:
    """What a pickle would run if anything ran it."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.canary}'",)


def with_canary(data: bytes, canary: Path, rng: random.Random) -> bytes:
    """A pickle with another one that would leave a file, put somewhere inside."""
    evil = pickle.dumps(Evil(canary), rng.choice((0, 2, 4)))
    at = rng.randrange(len(data))
    return data[:at] + evil[: rng.choice((-1, len(evil)))] + data[at:]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("count", [150, pytest.param(1600, marks=pytest.mark.slow)])
def test_pickles_and_tensors(count: int, tmp_path: Path) -> None:
    campaign, rng, canary = Campaign("pickles", SEED), random.Random(SEED), tmp_path / "canary"
    names = (
        "tiny_checkpoint.pdparams",
        "variety_protocol2.pdparams",
        "single_tensor_binary.pdtensor",
    )
    whole = [next(own_path("pdparams").rglob(name)).read_bytes() for name in names]
    readers = (read_paddle_state, read_paddle_state, partial(read_tensors, names=["x"]))
    for number in range(count):
        which = rng.randrange(3)
        evil = which < 2 and rng.random() < 0.2
        data = with_canary(whole[which], canary, rng) if evil else mutated(whole[which], rng)
        path = written(tmp_path / "file", data)
        campaign.attempt(f"pickle {number}", partial(readers[which], path))
    campaign.check(count)
    assert not canary.exists()


@pytest.mark.parametrize("count", [60, pytest.param(800, marks=pytest.mark.slow)])
def test_programs(count: int, tmp_path: Path) -> None:
    campaign, rng = Campaign("programs", SEED), random.Random(SEED)
    folders = [path.parent for path in own_path("pdparams").rglob("inference.pdiparams")]
    for number in range(count):
        source = rng.choice(folders)
        files = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
        files = {
            k: v
            for k, v in files.items()
            if k in ("inference.pdmodel", "inference.json", "inference.pdiparams")
        }
        name = rng.choice(sorted(files))
        for each, data in files.items():
            (tmp_path / each).write_bytes(mutated(data, rng) if each == name else data)
        campaign.attempt(f"program {number} ({name})", partial(paddle_to_onnx, tmp_path))
        for each in files:
            (tmp_path / each).unlink()
    campaign.check(count)


@pytest.mark.parametrize("count", [80, pytest.param(800, marks=pytest.mark.slow)])
def test_weights_of_other_programs(count: int, tmp_path: Path) -> None:
    """PyTorch's files and ONNX, changed inside, or with an object that would run."""
    campaign, rng, canary = Campaign("weights", SEED), random.Random(SEED), tmp_path / "canary"
    model = create_model("pplcnet_x0_25", 2)
    torch.save({"a": torch.zeros(2), "b": {"c": 1}}, tmp_path / "whole.pt")
    torch.save(Evil(canary), tmp_path / "evil.pt")
    torch.save({"a": Evil(canary)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.zeros(1).expand(10**9)}, tmp_path / "huge.pt")
    whole = {
        f"{name}.pt": (tmp_path / f"{name}.pt").read_bytes()
        for name in ("whole", "evil", "old", "huge")
    }
    whole["tiny.onnx"] = tiny_onnx()
    for number in range(count):
        name = rng.choice(sorted(whole))
        data = whole[name] if rng.random() < 0.05 else mutated(whole[name], rng)
        path = written(tmp_path / f"x{Path(name).suffix}", data)
        campaign.attempt(f"weights {number} ({name})", partial(read_weights, path, model))
    campaign.check(count)
    assert not canary.exists()


def test_shapes_of_nothing_that_overflow() -> None:
    """Of a tensor without values the other sides are multiplied all the same."""
    assert fits((0, 2**40), 4)
    assert fits((3, 4), 8)
    assert not fits((0, 2**47, 2**47), 4)
    assert not fits((0,) * 33, 4)
    assert not fits((2**61,), 8)
