"""`kill -9` at several moments, then the same command with --resume: the same bytes in the end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import commands, killing
from support.tiny import make_images, write_recipe
from tinysight.models import create_model
from tinysight.training.checkpoint import load_checkpoint

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
    recipe = write_recipe(make_images(root / "pictures"))
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
    found, log = execute(root, jobs)
    codes: dict[str, list[int]] = {}
    for name, (code,) in zip(owners, found["codes"], strict=True):
        codes.setdefault(name, []).append(code)
    return {"root": root, "codes": codes, "log": log}


def execute(root: Path, jobs: list[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """What the jobs came to, and what they wrote to standard error."""
    (root / "jobs.json").write_text(json.dumps(jobs))
    path = os.pathsep.join(sys.path)
    words = [sys.executable, killing.__file__, root / "jobs.json"]
    done = commands.execute(words, timeout=900, PYTHONPATH=path)
    assert done.code == 0, done.err
    return json.loads(done.out.splitlines()[-1]), done.err


def folder(runs: dict[str, Any], name: str) -> Path:
    return Path(runs["root"]) / name.replace(" ", "_")


def lines(run: Path) -> list[dict[str, Any]]:
    """The metrics, without what the clock says."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "time")} for line in found]


def weights(checkpoint: Path) -> tuple[Any, ...]:
    """Everything in a checkpoint but its recipe."""
    found = load_checkpoint(checkpoint)
    parts = ("model", "optimizer", "training", "objective")
    tensors = {f"{part}.{k}": v for part in parts for k, v in getattr(found, part).items()}
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


FULL = (  # everything that a checkpoint has to keep
    "data.workers=2",
    "train.accumulate=2",
    "train.ema.decay=0.9",
    "train.early_stopping.patience=3",
    "train.schedule.name=plateau",
    "train.schedule.patience=0",
    "train.checkpoint_every=1",
    "train.epochs=5",
)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("moments", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments(tmp_path: Path, processes: int, moments: int) -> None:
    """With loader processes, accumulation and averaged weights; of two processes one is killed, perhaps the first."""
    recipe = write_recipe(make_images(tmp_path / "pictures"))
    rng = np.random.default_rng((moments, processes))
    jobs: list[dict[str, Any]] = []

    def add(name: str, *extra: str, **kill: Any) -> None:
        words = ["train", "-c", str(recipe), "-o", *FULL, f"data.batch_size={4 // processes}"]
        argv = [*words, "--out", str(tmp_path / name), *extra]
        jobs.append({"argv": argv, "processes": processes, **kill})

    add("whole")
    for i in range(moments):
        add(f"{i}", after=float(rng.uniform(0.02, 1.0)), victim=int(rng.integers(processes)))
        add(f"{i}", "--resume")
    found, log = execute(tmp_path, jobs)
    assert found["unreadable"] == []
    whole, *pairs = found["codes"]
    assert whole == [0] * processes, log
    killed = [codes for codes in pairs[0::2] if -9 in codes]
    assert len(killed) >= moments // 2  # the others had ended
    assert all(code in (0, 2, -9, -15) for codes in killed for code in codes), log
    assert all(codes == [0] * processes for codes in pairs[1::2]), log
    for i in range(moments):
        for file in ("last", "best"):
            path = f"checkpoints/{file}.safetensors"
            assert weights(tmp_path / f"{i}" / path) == weights(tmp_path / "whole" / path)
        assert lines(tmp_path / f"{i}") == lines(tmp_path / "whole")


@pytest.mark.slow
def test_the_loss_scale_of_half_precision_is_kept(tmp_path: Path) -> None:
    """The first scale overflows, so that it has changed when the process is killed."""
    recipe = write_recipe(make_images(tmp_path / "pictures"))
    options = ["-o", "train.precision=fp16", "train.checkpoint_every=2"]
    words = ["train", "-c", str(recipe), *options]
    jobs = [
        {"argv": [*words, "--out", str(tmp_path / "whole")]},
        {"argv": [*words, "--out", str(tmp_path / "killed")], "kill": ["backward", 7]},
        {"argv": [*words, "--out", str(tmp_path / "killed"), "--resume"]},
    ]
    found, log = execute(tmp_path, jobs)
    assert found["codes"] == [[0], [-9], [0]], log
    last = "checkpoints/last.safetensors"
    assert weights(tmp_path / "killed" / last) == weights(tmp_path / "whole" / last)
    assert load_checkpoint(tmp_path / "whole" / last).state.scaler.keys() == {
        "scale",
        "_growth_tracker",
    }


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_two_networks_and_three_terms_resume_to_the_same_bytes(
    tmp_path: Path, processes: int
) -> None:
    """A loss with parameters and one with a memory are in the checkpoint; the kill is inside the second epoch."""
    images = make_images(tmp_path / "pictures")
    options = [
        f"data.batch_size={4 // processes}",
        "train.checkpoint_every=2",
        "train.ema.decay=0.9",
    ]
    jobs = [
        {"argv": [str(images), "--out", str(tmp_path / name), *options, *extra], "twins": True,
         "processes": processes, **kill}
        for name, kill, extra in (
            ("whole", {}, []), ("killed", {"kill": ["backward", 8]}, []), ("killed", {}, ["--resume"]),
        )
    ]  # fmt: skip
    found, log = execute(tmp_path, jobs)
    whole, killed, resumed = found["codes"]
    assert whole == resumed == [0] * processes, log
    assert killed[0] == -9, log
    for file in ("last", "best"):
        path = f"checkpoints/{file}.safetensors"
        assert weights(tmp_path / "killed" / path) == weights(tmp_path / "whole" / path)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
    last = load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.safetensors")
    names = {"centers.centers", "memory.memory.embeddings", "networks.twin.fc.weight"}
    assert names <= last.objective.keys()
    assert not any(name.startswith("networks.student") for name in last.objective)
    assert ("memory.memory.embeddings@1" in last.objective) == (processes == 2)
    assert len(last.optimizer) == 2 * len(list(create_model("pplcnet_x0_25", 2).parameters())) + 1
    first = lines(tmp_path / "whole")[0]
    terms = first["terms"]
    sums = terms["labels"] + 0.5 * terms["mutual"] + 5e-4 * terms["distances"]
    assert first["loss"] == pytest.approx(sums, rel=1e-5)
