"""A run in a folder that has one: replaced by `--force`, or given more epochs by `--resume`."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from support.commands import tinysight
from support.tiny import tiny_recipe
from tinysight.errors import CheckpointError, ConfigError
from tinysight.training import Callback, FitResult, fit
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.folder import RunFolder
from tinysight.training.predictor import finish


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture
def copied(tiny_run: FitResult, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_run.out, tmp_path / "run")


class Stop(Callback):
    def __init__(self, step: int) -> None:
        self.last = step

    def on_step(self, run: Any) -> None:
        if run.state.step == self.last:
            run.stop("enough")


def test_more_epochs_run_on_with_the_schedule_of_the_longer_run(
    tiny_images: Path, copied: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = lines(copied)
    (copied / "bundle").mkdir()
    with caplog.at_level(logging.INFO, "tinysight"):
        fit(tiny_recipe(tiny_images, "train.epochs=4"), copied, resume=True)
    assert "4 epochs in place of 2: the schedule is that of the longer run" in caplog.text
    assert "bundle is of the weights so far" in caplog.text
    rows = lines(copied)
    assert rows[:2] == before
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    whole = fit(tiny_recipe(tiny_images, "train.epochs=4"), tmp_path / "whole")
    assert [row["lr"] for row in rows[2:]] == [row["lr"] for row in lines(whole.out)[2:]]
    assert rows[1]["lr"] < rows[2]["lr"]  # it had ended at nearly 0
    with pytest.raises(CheckpointError, match=r"train\.epochs: 4 there, 3 here"):
        fit(tiny_recipe(tiny_images, "train.epochs=3"), copied, resume=True)


def test_the_longer_run_is_resumed_like_any_other(tiny_images: Path, copied: Path) -> None:
    recipe = tiny_recipe(tiny_images, "train.epochs=4")
    other = shutil.copytree(copied, copied.parent / "other")
    fit(recipe, copied, resume=True)
    fit(recipe, other, resume=True, callbacks=[Stop(13)])
    fit(recipe, other, resume=True)
    one, two = (
        load_checkpoint(run / "checkpoints/last.safetensors").model for run in (copied, other)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_early_stopping_has_the_last_word(tiny_images: Path, tmp_path: Path) -> None:
    words = ("train.early_stopping.patience=1", "train.early_stopping.min_delta=1")
    fit(tiny_recipe(tiny_images, "train.epochs=4", *words), tmp_path / "run")
    assert len(lines(tmp_path / "run")) == 2
    with pytest.raises(CheckpointError, match="early stopping has ended this run"):
        fit(tiny_recipe(tiny_images, "train.epochs=9", *words), tmp_path / "run", resume=True)


def test_force_replaces_a_run_and_nothing_else(tiny_images: Path, copied: Path) -> None:
    finish(copied)
    (copied / "notes.txt").write_text("mine")
    (copied / "bundle").mkdir()
    (copied / "bundle" / "bundle.yaml").write_text("of the old weights")
    result = fit(tiny_recipe(tiny_images, "train.epochs=1", "train.seed=5"), copied, force=True)
    assert [row["epoch"] for row in lines(copied)] == [1]
    assert result.epoch == 1
    kept = {path.name for path in copied.iterdir()}
    assert kept == {
        "notes.txt",
        "checkpoints",
        "environment.json",
        "metrics.jsonl",
        "recipe.yaml",
        "tensorboard",
    }
    assert len(json.loads((copied / "environment.json").read_text())["starts"]) == 1
    assert not (copied / "checkpoints" / "previous.safetensors").exists()


def test_a_recipe_that_is_refused_replaces_nothing(tiny_images: Path, copied: Path) -> None:
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError):
        fit(tiny_recipe(tiny_images, "model.freeze=[nothing]"), copied, force=True)
    assert {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()} == before


def test_a_run_that_goes_on_is_not_replaced(tiny_images: Path, tmp_path: Path) -> None:
    class Replace(Callback):
        message = ""

        def on_epoch(self, run: Any, record: Any) -> None:
            try:
                fit(tiny_recipe(tiny_images), run.folder.path, force=True)
            except CheckpointError as error:
                self.message = str(error)

    replace = Replace()
    fit(tiny_recipe(tiny_images, "train.epochs=1"), tmp_path / "run", callbacks=[replace])
    assert "another process trains this run" in replace.message


def test_one_process_at_a_time_prepares_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders of one name would else give one run the recipe of one and the lists of the other."""
    monkeypatch.setattr("tinysight.training.folder._PATIENCE", 0)
    out = tmp_path / "run"
    with (
        RunFolder(out).preparing("resume it"),
        pytest.raises(CheckpointError, match="another process is training into this folder"),
        RunFolder(out).preparing("resume it"),
    ):
        pass
    assert not out.exists()
    with RunFolder(out).preparing("resume it"):
        (out / "chosen.yaml").write_text("task: x")
    assert [path.name for path in out.iterdir()] == ["chosen.yaml"]


def test_the_command_line_knows_force(tiny_images: Path, copied: Path) -> None:
    words = ("train", "-c", tiny_images / "recipe.yaml", "-o", "train.epochs=1", "--out", copied)
    assert "--force replaces it" in tinysight(*words).err
    assert tinysight(*words, "--force").code == 0
    assert tinysight(*words, "--force", "--resume").code == 2
