"""`kill -9` at several moments, then the same command with --resume: the same bytes in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import killing
from support.tiny import make_pictures, write_recipe
from tinysight.train.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

# A run starts with an fsync and a replace of each of recipe.yaml, metrics, events and environment. A
# checkpoint takes one replace (last -> previous, from the second on), an fsync and another replace.
MOMENTS: dict[str, tuple[str, int]] = {
    "before the first checkpoint": ("backward", 2),
    "inside the first epoch, after a checkpoint": ("backward", 4),
    "inside a later epoch": ("backward", 9),
    "in the first checkpoint's write": ("fsync", 5),
    "in a later checkpoint's write": ("fsync", 8),
    "between the old checkpoint and the new": ("replace", 10),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All runs: the folder of each and the exit codes of its commands."""
    root = tmp_path_factory.mktemp("kill")
    recipe = write_recipe(make_pictures(root / "pictures"))
    jobs, owners = [], []

    def add(name: str, kill: tuple[str, int] | None, *extra: str) -> None:
        out = root / name.replace(" ", "_")
        options = ["-o", "train.checkpoint_every=2", "train.epochs=3"]
        argv = ["train", "-c", str(recipe), *options, "--out", str(out), *extra]
        jobs.append({"argv": argv, "kill": kill})
        owners.append(name)

    add("whole", None)
    for name, kill in MOMENTS.items():
        add(name, kill)
        add(name, None, "--resume")
    twice = "twice, then with two loader processes"
    add(twice, ("backward", 6))
    add(twice, ("replace", 6), "--resume")
    add(twice, None, "--resume", "-o", "data.workers=2")
    add("only killed in a write", MOMENTS["in a later checkpoint's write"])
    (root / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, killing.__file__, str(root / "jobs.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    codes: dict[str, list[int]] = {}
    for name, code in zip(owners, json.loads(done.stdout.splitlines()[-1]), strict=True):
        codes.setdefault(name, []).append(code)
    return {"root": root, "codes": codes, "log": done.stderr}


def folder(runs: dict[str, Any], name: str) -> Path:
    return Path(runs["root"]) / name.replace(" ", "_")


def lines(run: Path) -> list[dict[str, Any]]:
    """The metrics, without what the clock says."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "time")} for line in found]


def weights(checkpoint: Path) -> tuple[Any, ...]:
    """Everything in a checkpoint but its recipe."""
    found = load_checkpoint(checkpoint)
    tensors = {**found.model, **{f"optimizer.{k}": v for k, v in found.optimizer.items()}}
    return found.state, {name: value.numpy().tobytes() for name, value in tensors.items()}


@pytest.mark.parametrize("name", [*MOMENTS, "twice, then with two loader processes"])
def test_a_killed_run_ends_with_the_same_bytes(runs: dict[str, Any], name: str) -> None:
    *killed, last = runs["codes"][name]
    assert all(code == -9 for code in killed), runs["log"]
    assert last == 0, runs["log"]
    whole, run = folder(runs, "whole"), folder(runs, name)
    for file in ("last", "best"):
        path = f"checkpoints/{file}.safetensors"
        assert weights(run / path) == weights(whole / path)
        if name in MOMENTS:  # the recipe is the same too
            assert (run / path).read_bytes() == (whole / path).read_bytes()
    assert lines(run) == lines(whole)
    assert [line["epoch"] for line in lines(run)] == [1, 2, 3]
    assert not list(run.rglob("*.part"))  # what a cut-off write left is gone


def test_a_write_that_was_cut_off_leaves_its_temporary_file(runs: dict[str, Any]) -> None:
    """The kills in a write are where they are meant to be."""
    assert list(folder(runs, "only killed in a write").rglob("*.part"))


def test_the_environment_notes_every_start(runs: dict[str, Any]) -> None:
    starts = json.loads(
        (folder(runs, "twice, then with two loader processes") / "environment.json").read_text()
    )["starts"]
    assert [start["step"] for start in starts] == [0, 5, 5]
    starts = json.loads((folder(runs, "whole") / "environment.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0]
