"""A recogniser with centres, a memory and pairs: killed and resumed, and on two processes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support import commands, killing
from support.tiny import recipe_tree
from tinysight.files import to_yaml
from tinysight.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def write_recipe(root: Path, **data: Any) -> Path:
    """Six identities by colour with six images each, in batches of four identities with two."""
    rng, lines = np.random.default_rng(0), []
    (root / "images").mkdir(parents=True)
    colours = rng.integers(40, 216, (6, 3))
    for i in range(36):
        image = (colours[i % 6] + rng.integers(-40, 40, (40, 40, 3))).clip(0, 255)
        cv2.imwrite(str(root / "images" / f"{i}.png"), image.astype(np.uint8))
        lines.append(f"{i}.png {i % 6}\n")
    (root / "images" / "train.txt").write_text("".join(lines), "utf-8")
    (root / "images" / "val.txt").write_text("".join(lines[:12]), "utf-8")
    tree = recipe_tree(root / "images")
    sampler = {"name": "pk", "per_identity": 2}
    tree["data"] |= {
        "target": "identity",
        "labels": None,
        "sampler": sampler,
        "batch_size": 8,
        **data,
    }
    tree["transforms"]["train"] = tree["transforms"]["eval"]
    tree["model"] = {
        "backbone": {"name": "pplcnet_x0_25", "dropout": 0.0},
        "neck": {"name": "bn_neck"},
        "head": {"name": "fc", "bias": False, "init_std": 0.001},
        "freeze_statistics": True,
    }
    tree.pop("loss")
    tree["losses"] = [
        {"name": "cross_entropy", "label_smoothing": 0.1},
        {"name": "triplet_angular_margin", "absolute_weight": 0.1},
        {"name": "contrastive_xbm", "size": 20, "start": 1, "weight": 0.1},
        {"name": "center", "weight": 5e-4, "of": "pooled"},
    ]
    tree["train"] |= {
        "epochs": 3, "lr": 1e-6, "checkpoint_every": 2,
        "loss_optimizer": {"optimizer": {"name": "sgd", "momentum": 0.5}, "lr": 100.0},
    }  # fmt: skip
    tree["metrics"] = [{"name": "retrieval"}]
    tree["export"] = {"postprocess": {"name": "embedding"}}
    (root / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
    return root / "recipe.yaml"


def execute(root: Path, jobs: list[dict[str, Any]]) -> list[list[int]]:
    (root / "jobs.json").write_text(json.dumps(jobs))
    path = os.pathsep.join(sys.path)
    words = [sys.executable, killing.__file__, root / "jobs.json"]
    done = commands.execute(words, timeout=900, PYTHONPATH=path)
    assert done.code == 0, done.err
    codes: list[list[int]] = json.loads(done.out.splitlines()[-1])["codes"]
    return codes


def weights(checkpoint: Path) -> tuple[Any, ...]:
    found = load_checkpoint(checkpoint)
    parts = ("model", "optimizer", "training", "objective")
    tensors = {f"{part}.{k}": v for part in parts for k, v in getattr(found, part).items()}
    return found.state, {name: value.numpy().tobytes() for name, value in tensors.items()}


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    words = ["train", "-c", str(recipe)]
    jobs = [
        {"argv": [*words, "--out", str(tmp_path / "whole")]},
        {"argv": [*words, "--out", str(tmp_path / "killed")], "kill": ["backward", 6]},
        {"argv": [*words, "--out", str(tmp_path / "killed"), "--resume"]},
    ]
    assert execute(tmp_path, jobs) == [[0], [-9], [0]]
    for file in ("last", "best"):
        path = f"checkpoints/{file}.safetensors"
        assert weights(tmp_path / "killed" / path) == weights(tmp_path / "whole" / path)
    last = load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.safetensors")
    assert {
        "losses.center.centers",
        "losses.contrastive_xbm.memory.embeddings",
    } <= last.objective.keys()
    assert any(
        value.shape == last.objective["losses.center.centers"].shape
        for value in last.optimizer.values()
    )


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """The pairs of both are compared with each other; no identity is divided; a third epoch is as near as the first."""
    one, two = write_recipe(tmp_path / "one"), write_recipe(tmp_path / "two", batch_size=4)
    jobs = [
        {"argv": ["train", "-c", str(one), "--out", str(tmp_path / "run1")]},
        {"argv": ["train", "-c", str(two), "--out", str(tmp_path / "run2")], "processes": 2},
    ]
    assert execute(tmp_path, jobs) == [[0], [0, 0]]
    curves = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("run1", "run2")
    ]
    for alone, shared in zip(*curves, strict=True):
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-3)
        for name, value in alone["terms"].items():
            assert shared["terms"][name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    models = [
        load_checkpoint(tmp_path / r / "checkpoints" / "last.safetensors").model
        for r in ("run1", "run2")
    ]
    for name, value in models[0].items():
        if value.is_floating_point():
            assert float((value - models[1][name]).abs().max()) <= 1e-3 * float(
                value.abs().max() + 1e-3
            ), name
