"""The real thing, where Ray is installed: the answers of `predict`, whatever dies."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle
from support.commands import process, start
from tinysight.cli import main

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (extra: ray)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle `b`, sixty images in `images`, one of them none."""
    tiny_bundle(tmp_path / "b")
    (tmp_path / "pictures").mkdir()
    for i in range(59):
        image = np.full((9, 9 + i, 3), 4 * i, np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), image)
    (tmp_path / "pictures" / "30.5.png").write_bytes(b"no")
    return tmp_path


PREDICT = ("predict", "pictures", "--model", "b")


def predicted(folder: Path, *words: str) -> None:
    done = process(*PREDICT, *words, cwd=folder)
    assert done.code == 1, done.err
    assert "1 of 60 images could not be read" in done.err


@needs_ray
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_the_answers_of_predict(folder: Path, form: str) -> None:
    predicted(folder, "--csv" if form == "csv" else "--json", "--output", f"plain.{form}")
    predicted(folder, "--on", "ray", "--shard", "7", "--output", f"ray.{form}")
    assert (folder / f"ray.{form}").read_bytes() == (folder / f"plain.{form}").read_bytes()


@needs_ray
@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_goes_on(folder: Path) -> None:
    words = ("--on", "ray", "--shard", "1", "--output", "ray.jsonl")
    child = start("-m", "tinysight", *PREDICT, *words, cwd=folder, stderr=subprocess.DEVNULL)
    while child.poll() is None and len(list(folder.glob("ray.jsonl.*/*.jsonl"))) < 5:
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    made = {p: p.stat().st_mtime_ns for p in folder.glob("ray.jsonl.*/*.jsonl")}
    assert 5 <= len(made) < 60
    assert not (folder / "ray.jsonl").exists()
    predicted(folder, "--json", "--output", "plain.jsonl")
    predicted(folder, *words)
    assert (folder / "ray.jsonl").read_bytes() == (folder / "plain.jsonl").read_bytes()
    assert not list(folder.glob("ray.jsonl.*"))


@needs_ray
@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet(folder: Path) -> None:
    import pyarrow.parquet

    predicted(folder, "--on", "ray", "--shard", "30", "--output", "a.parquet")
    rows = pyarrow.parquet.read_table(folder / "a.parquet").to_pylist()
    assert [row["filename"] for row in rows[:3]] == [f"images/{i}.png" for i in range(3)]
    assert rows[0]["label_names"] == ["dark"]
    assert rows[58]["label_names"] == ["bright"]
    (bad,) = [row for row in rows if row["error"]]
    assert bad["filename"] == "images/30.5.png"
    assert bad["scores"] is None


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(folder / "pictures"), "--model", str(folder / "b"), "--on", "ray"]
    assert main([*words, "--output", str(folder / "a.jsonl")]) == 2
    assert "pip install 'tinysight[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs a file for the results"),
        (["--output", "a.txt"], "which form?"),
        (["--output", "a.csv", "--json"], "not of the requested format"),
        (["--output", "a.jsonl", "--shard", "0"], "should be 1 or more"),
    ],
)
def test_mistakes(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["predict", str(folder / "pictures"), "--model", str(folder / "b"), "--on", "ray"]
    assert main([*base, *words]) == 2
    assert message in capsys.readouterr().err
