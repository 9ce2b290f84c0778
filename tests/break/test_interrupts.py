"""Processes that are interrupted and killed, again and again: none hangs, nothing is lost, nothing is left."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from support import faults
from support.bundles import tiny_bundle
from support.commands import tinysight
from support.faults import Fault

SEED = 20261130
PLAIN = Fault()
COUNT = 400  # images
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("interrupts")
    tiny_bundle(root / "model")
    (root / "pics").mkdir()
    for level in range(5):
        cv2.imwrite(str(root / f"{level}.png"), np.full((60, 80, 3), 50 * level, np.uint8))
    for i in range(COUNT):
        (root / "pics" / f"{i}.png").symlink_to(root / f"{i % 5}.png")
    return root


def timed(words: list[str], out: Path, place: Path) -> float:
    """Seconds of a run that nobody interrupts."""
    began = time.monotonic()
    (done,) = faults.run(words, PLAIN, out, place)
    assert done.code == 0, done.err
    return time.monotonic() - began


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("workers", ["1", "4"])
def test_ctrl_c_never_hangs_and_the_same_command_resumes(
    times: int, workers: str, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    words = [
        "predict",
        "pics",
        "--model",
        "model",
        "--json",
        "--workers",
        workers,
        "--output",
        f"{out}/a.jsonl",
    ]
    seconds = timed(words, out, place)
    whole = (out / "a.jsonl").read_bytes()
    draw = random.Random(SEED)
    interrupted = 0
    for _ in range(times):
        (out / "a.jsonl").unlink(missing_ok=True)
        fault = Fault(signal=signal.SIGINT)
        (done,) = faults.run(words, fault, out, place, draw.uniform(0, seconds), timeout=60)
        assert done.code in (0, 130, -signal.SIGINT), done.err
        assert "Traceback" not in done.err
        interrupted += done.code != 0
        if done.code == 0:
            assert (out / "a.jsonl").read_bytes() == whole
    assert interrupted
    (out / "a.jsonl").unlink(missing_ok=True)
    timed(words, out, place)
    assert (out / "a.jsonl").read_bytes() == whole
    assert [p.name for p in out.iterdir()] == ["a.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["predict", "eval", "export", "train"])
def test_what_is_killed_leaves_what_the_next_start_takes_over(
    verb: str, place: Path, tmp_path: Path, tiny_images: Path
) -> None:
    """Fifteen kills each, wherever they come."""
    run = tmp_path / "run"
    recipe = str(tiny_images / "recipe.yaml")
    if verb in ("eval", "export"):
        assert tinysight("train", "-c", recipe, "--out", run).code == 0
    out = tmp_path / "out"
    out.mkdir()
    words, made = {
        "predict": (["predict", "pics", "--model", "model", "--csv", "--output", f"{out}/a"], "a"),
        "eval": (["eval", "--run", str(run), "--report", f"{out}/a.html"], "a.html"),
        "export": (["export", "--run", str(run), "--out", f"{out}/b", "--force"], "b/bundle.yaml"),
        "train": (["train", "-c", recipe, "--out", f"{out}/run", "--resume"], "run/report.html"),
    }[verb]
    seconds = timed(words, out, place)
    draw = random.Random(f"{SEED} {verb}")
    for _ in range(15):
        if verb == "train":
            shutil.rmtree(out / "run", ignore_errors=True)
        fault = Fault(signal=signal.SIGKILL)
        (done,) = faults.run(words, fault, out, place, draw.uniform(0.2, 1) * seconds)
        assert done.code in (0, -signal.SIGKILL), done.err
        if verb == "export":  # the first stays until the next is whole
            assert json.loads((out / made).read_text())["task"]
    timed(words, out, place)
    assert (out / made).stat().st_size
    assert [p for p in out.rglob("*") if p.name.startswith(".") or ".part" in p.name] == []
