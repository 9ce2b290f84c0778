"""`tinysight distill`: a folder, a teacher and a latency, to a student that is exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle
from support.commands import tinysight
from tinysight.bundle import Bundle
from tinysight.config import load_recipe
from tinysight.distill.students import LOST, TOP1
from tinysight.pipelines.latency_card import machine
from tinysight.pipelines.pipeline import open_bundle

FASTEST = "pplcnet_x0_25@96"


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Knows dark from bright; on this machine only one student is said to be fast."""
    cache = tmp_path / "cache"
    cache.mkdir()
    ms = {f"{name}@{size}": 1000.0 for name in TOP1 for size in LOST} | {FASTEST: 1.0}
    (cache / "students.json").write_text(json.dumps({"machine": machine(), "ms": ms}), "utf-8")
    monkeypatch.setenv("TINYSIGHT_CACHE", str(cache))
    return tiny_bundle(tmp_path / "teacher")


def make_folder(folder: Path, dark: str, bright: str) -> Path:
    rng = np.random.default_rng(0)
    for i in range(24):
        into = folder / (dark, bright)[i % 2]
        into.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 60, (12, 12, 3)).astype(np.uint8) + 180 * (i % 2)
        large = cv2.resize(image.astype(np.uint8), (96, 96), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(into / f"{'abcdefghijklmnopqrstuvwx'[i]}.png"), large)
    return folder


def test_a_labelled_folder(teacher: Bundle, tmp_path: Path) -> None:
    """Trained by labels and teacher; the bundle has the teacher's labels, whatever the order of the folders."""
    data, out = make_folder(tmp_path / "data", "dark", "bright"), tmp_path / "run"
    words = ("distill", data, "--teacher", teacher.folder, "--budget-ms", 500, "--out", out)
    ran = tinysight(*words, "-o", "train.epochs=1")
    assert ran.code == 0, ran.err
    assert "pplcnet_x0_25       96" in ran.out
    assert "<- chosen" in ran.out
    recipe = load_recipe(out / "chosen.yaml")
    assert [loss.name for loss in recipe.losses] == ["cross_entropy", "dml"]
    bundle = Bundle.load(out / "bundle")
    assert bundle.manifest.labels == teacher.manifest.labels
    assert open_bundle(bundle)(data / "dark" / "a.png").filename.endswith("a.png")
    kept = json.loads((tmp_path / "cache" / "students.json").read_text("utf-8"))["ms"]
    assert 0 < kept[FASTEST] != 1.0  # it was measured again

    again = tinysight(*words)
    assert again.code == 2
    assert "already holds a run" in again.err


@pytest.mark.slow
def test_a_folder_without_labels(teacher: Bundle, tmp_path: Path) -> None:
    """What the folders are called means nothing to the teacher: its own labels are what is learnt."""
    data, out = make_folder(tmp_path / "data", "monday", "tuesday"), tmp_path / "run"
    (data / "monday" / "cut.png").write_bytes(b"")
    ran = tinysight(
        "distill", data, "--teacher", teacher.folder, "--budget-ms", 500, "--out", out,
        "-o", "train.epochs=1",
    )  # fmt: skip
    assert ran.code == 1, ran.err
    assert "unreadable 1 images, left out:" in ran.out
    assert "agreement with the teacher" in ran.out
    assert "no folder is a class of the teacher (monday, tuesday" in ran.err
    assert (out / "bundle" / "bundle.yaml").is_file()
    assert [loss.name for loss in load_recipe(out / "chosen.yaml").losses] == ["dml"]
    lines = [
        line.split("\t")
        for side in ("train", "val")
        for line in (out / f"chosen_{side}.txt").read_text("utf-8").splitlines()
    ]
    assert len(lines) == 24
    assert all((Path(path).parent.name == "tuesday") == (label == "1") for path, label in lines)


def test_mistakes(teacher: Bundle, tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data", "dark", "bright")
    words = ("distill", data, "--teacher", teacher.folder, "--out", tmp_path / "run")
    slow = tinysight(*words, "--budget-ms", "0.0000001")
    assert (slow.code, "no student is that fast" in slow.err) == (2, True)
    shutil.move(data / "bright", data / "noon")
    other = tinysight(*words, "--budget-ms", 500)
    assert (other.code, "the teacher does not know: noon" in other.err) == (2, True)
    assert tinysight(*words, "--budget-ms", "-1").code == 2
    missing = tinysight("distill", tmp_path / "no", *words[2:], "--budget-ms", 500)
    assert missing.code == 2
    assert not (tmp_path / "run").exists()
