"""Manifests, checkpoints and run folders, tampered with and sealed again: an error of ours, nothing written."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from support.breaking import NASTY, Campaign, mutated, mutated_tree
from support.bundles import tiny_bundle
from support.tiny import tiny_recipe
from tinysight.bundle import MANIFEST, Bundle, sealed
from tinysight.errors import TinysightError
from tinysight.pipelines.pipeline import open_bundle
from tinysight.report.history import data_check, history
from tinysight.training import FitResult, fit
from tinysight.training.checkpoint import KEY, _digest, load_checkpoint, read_safetensors
from tinysight.training.folder import RunFolder
from tinysight.training.predictor import load_model

SEED = int(os.environ.get("TINYSIGHT_SEED", "1"))
IMAGE = np.full((12, 10, 3), 200, np.uint8)


NORMALIZE = {"name": "normalize", "mean": [0.5], "std": [0.2, 0.3, 0.4], "scale": 0.004}
BASES: tuple[dict[str, Any], ...] = (
    {},
    {
        "transforms": ({"name": "resize", "short": 9}, {"name": "center_crop", "size": 8}, NORMALIZE),
        "postprocess": {"name": "topk", "k": 2}, "threshold": None,
    },
    {
        "transforms": ({"name": "pad", "border": [1, 2], "fill": [3]}, {"name": "center_square", "size": 8}, NORMALIZE),
        "postprocess": {"name": "multilabel", "threshold": 0.4}, "threshold": None,
    },
    {"postprocess": {"name": "scores", "decimals": 3}, "threshold": None},
)  # fmt: skip


@pytest.mark.parametrize("count", [150, pytest.param(1100, marks=pytest.mark.slow)])
def test_resealed_manifests(count: int, tmp_path: Path) -> None:
    campaign, rng = Campaign("manifests", SEED), random.Random(SEED)
    folders = [tiny_bundle(tmp_path / str(i), **changes).folder for i, changes in enumerate(BASES)]
    trees = [json.loads((folder / MANIFEST).read_text("utf-8")) for folder in folders]

    def predict(folder: Path) -> None:
        bundle = Bundle.load(folder)
        (result,) = open_bundle(bundle, workers=1).batch([IMAGE])
        json.dumps(result.to_json())
        result.to_text()

    for number in range(count):
        folder, tree = rng.choice(list(zip(folders, trees, strict=True)))
        changed = mutated_tree({k: v for k, v in tree.items() if k != "digest"}, rng)
        changed["digest"] = sealed.digest(changed, "test")
        (folder / MANIFEST).write_text(json.dumps(changed), "utf-8")
        campaign.attempt(f"manifest {number}", partial(predict, folder))
    campaign.check(count)
    assert campaign.counts["refused"] > count / 2


def resealed(tensors: dict[str, torch.Tensor], content: str, **entry: Any) -> bytes:
    """A checkpoint with the digest that belongs to it."""
    whole = {"version": 1, "content": content, "digest": _digest(tensors, content), **entry}
    return save(tensors, {KEY: json.dumps(whole)})


def tampered(tensors: dict[str, torch.Tensor], content: Any, rng: random.Random) -> bytes:
    """A checkpoint with a state, recipe or tensors that the program never writes."""
    tensors = dict(tensors)
    text = json.dumps(mutated_tree(content, rng) if rng.random() < 0.6 else content)
    match rng.randrange(8):
        case 0:
            tensors[
                rng.choice(
                    ("x", "evil.x", "model.", ".", "optimizer.x.y", "optimizer.999.momentum_buffer")
                )
            ] = torch.zeros(1)
        case 1:
            name = rng.choice(list(tensors))
            tensors[name] = rng.choice(
                (torch.zeros(0), torch.zeros(3, 3), torch.zeros(1, dtype=torch.int64))
            )
        case 2:
            del tensors[rng.choice(list(tensors))]
        case 3:
            text = rng.choice(("", "null", "[]", "[" * 100_000, json.dumps(rng.choice(NASTY)), "{"))
        case 4:
            return resealed(tensors, text, **{rng.choice(("version", "digest")): rng.choice(NASTY)})
    return resealed(tensors, text)


def checkpoint(run: FitResult) -> tuple[dict[str, torch.Tensor], Any]:
    metadata, tensors = read_safetensors(run.last)
    return tensors, json.loads(json.loads(metadata[KEY])["content"])


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_tampered_checkpoints(count: int, tiny_run: FitResult, tmp_path: Path) -> None:
    campaign, rng = Campaign("checkpoints", SEED), random.Random(SEED)
    path, (tensors, content) = tmp_path / "last.safetensors", checkpoint(tiny_run)
    for number in range(count):
        if number % 4:
            path.write_bytes(tampered(tensors, content, rng))
        else:
            path.write_bytes(mutated(tiny_run.last.read_bytes(), rng))
        if campaign.attempt(f"checkpoint {number}", lambda: load_checkpoint(path)):
            campaign.attempt(f"model {number}", lambda: load_model(path))
    campaign.check(count)


LIES = [
    {}, {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}},
    {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}},
    {"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}},
    {"a": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}},
    {"\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
    {"__metadata__": {KEY: "[" * 100_000}}, {"__metadata__": {KEY: "{}"}},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(LIES)))
def test_a_header_that_lies(number: int, tmp_path: Path) -> None:
    header = json.dumps(LIES[number]).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(TinysightError):
        load_checkpoint(path)


def tamper(folder: RunFolder, rng: random.Random) -> None:
    """Change one file of a run's folder."""
    name = rng.choice(("recipe", "environment", "metrics", "environment", "metrics", "last"))
    path: Path = getattr(folder, name)
    if name == "last":
        metadata, tensors = read_safetensors(path)
        path.write_bytes(tampered(tensors, json.loads(json.loads(metadata[KEY])["content"]), rng))
    elif name == "metrics" and rng.random() < 0.7:
        lines = path.read_text("utf-8").splitlines()
        record = (
            mutated_tree(json.loads(lines[0]), rng) if rng.random() < 0.7 else rng.choice(NASTY)
        )
        path.write_text("\n".join([json.dumps(record), *lines[1:], ""]), "utf-8")
    elif name == "environment" and rng.random() < 0.7:
        tree = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(rng.choice((mutated_tree(tree, rng), *NASTY))), "utf-8")
    else:
        path.write_bytes(mutated(path.read_bytes(), rng))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("count", [25, pytest.param(520, marks=pytest.mark.slow)])
def test_tampered_run_folders(
    count: int, tiny_run: FitResult, tiny_images: Path, tmp_path: Path
) -> None:
    """Resumed and looked at; where it is refused, nothing has been written."""
    campaign, rng = Campaign("run folders", SEED), random.Random(SEED)
    recipe = tiny_recipe(tiny_images)
    for number in range(count):
        out = tmp_path / str(number)
        shutil.copytree(tiny_run.out, out)
        folder = RunFolder(out)
        tamper(folder, rng)
        campaign.attempt(f"history {number}", lambda o=out: history(o))  # type: ignore[misc]
        before = contents(out)
        again = lambda o=out: fit(recipe, o, resume=True)  # noqa: E731
        if not campaign.attempt(f"resume {number}", again):
            assert contents(out) == before
        shutil.rmtree(out)
    campaign.check(2 * count)


@pytest.mark.parametrize(
    "text",
    ["[", "[]", "3", '{"findings": [1]}', '{"findings": [{}]}', '{"findings": [{"items": 3}]}'],
)
def test_a_tampered_data_check(text: str, tmp_path: Path) -> None:
    (tmp_path / "data_check.json").write_text(text)
    with pytest.raises(TinysightError, match="data_check.json"):
        data_check(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("environment.json", b"{"), ("environment.json", b"[]"), ("environment.json", b'{"starts": 3}'),
        ("environment.json", b"\xff"), ("metrics.jsonl", b"3\n"), ("metrics.jsonl", b"\xff\n"),
        ("metrics.jsonl", b"{}\n"), ("metrics.jsonl", b'{"step": "x"}\n'), ("recipe.yaml", b"3"),
        ("recipe.yaml", b"a: ["),
    ],
)  # fmt: skip
def test_a_damaged_file_of_a_run_is_named_and_nothing_is_written(
    name: str, content: bytes, tiny_run: FitResult, tiny_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out)
    (out / name).write_bytes(content)
    before = copy.copy(contents(out))
    with pytest.raises(TinysightError, match=name):
        fit(tiny_recipe(tiny_images), out, resume=True)
    assert contents(out) == before
