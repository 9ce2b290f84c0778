"""The curves in MLflow's file store and in the offline mode of Weights & Biases, each in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from support.commands import process, python
from support.tiny import tiny_recipe
from tinysight.errors import MissingDependency
from tinysight.training import fit

# One run with a callback that stops it, and the same run resumed.
PROGRAM = """
import sys
from tinysight import load_recipe
from tinysight.training import Callback, fit

class Stop(Callback):
    def on_epoch(self, run, record):
        if record["epoch"] == 1:
            run.stop("one is enough")

recipe = load_recipe("{recipe}", ["train.loggers=[{logger}]", "metrics.0.k=[1, 2]"])
print(fit(recipe, "run", callbacks=[Stop()]).stop_reason)
print(fit(recipe, "run", resume=True).epoch)
"""


def trained(tiny_images: Path, folder: Path, logger: str, **variables: str) -> str:
    program = PROGRAM.format(recipe=tiny_images / "recipe.yaml", logger=logger)
    done = python("-c", program, cwd=folder, **variables)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "one is enough"
    ids = json.loads((folder / "run" / "loggers.json").read_text())
    assert list(ids) == [logger]
    return str(ids[logger])


def mlflow(folder: Path) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": (folder / "store").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}


def test_mlflow_takes_a_run_that_a_callback_stops(tiny_images: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    number = trained(tiny_images, tmp_path, "mlflow", **mlflow(tmp_path))
    (entry,) = (tmp_path / "store").glob(f"*/{number}")
    values = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for name, wanted in (
        ("train/loss", [v["loss"] for v in values]),
        ("eval/top1", [v["metrics"]["top1"] for v in values]),
    ):
        rows = [row.split() for row in (entry / "metrics" / name).read_text().splitlines()]
        assert [float(row[1]) for row in rows] == wanted
        assert [int(row[2]) for row in rows] == [v["step"] for v in values]
    assert (entry / "params" / "model.backbone.name").read_text() == "pplcnet_x0_25"
    assert "status: 3" in (entry / "meta.yaml").read_text()  # finished


def test_wandb_takes_it_offline(tiny_images: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    number = trained(tiny_images, tmp_path, "wandb", WANDB_MODE="offline", WANDB_SILENT="true")
    files = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*-{number}/run-{number}.wandb"))
    assert len(files) == 2  # two processes' worth, one entry
    content = b"".join(path.read_bytes() for path in files)
    for name in (b"train/loss", b"eval/top1", b"eval/top2", b"pplcnet_x0_25"):
        assert name in content


@pytest.mark.slow
def test_a_logger_that_fails_later_is_left_out(tiny_images: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    program = """
import shutil, sys
from pathlib import Path
from tinysight import load_recipe
from tinysight.training import Callback, fit

class Break(Callback):
    def on_step(self, run):
        if run.state.step == 1:
            shutil.rmtree("store")
            Path("store").write_text("no folder")

recipe = load_recipe(sys.argv[1], ["train.loggers=[mlflow]"])
print(fit(recipe, "run", callbacks=[Break()]).epoch)
"""
    done = python("-c", program, tiny_images / "recipe.yaml", cwd=tmp_path, **mlflow(tmp_path))
    assert done.code == 0, done.err
    assert done.err.count("mlflow fails; the training goes on without it") == 1
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_logger_that_cannot_begin_is_an_error(tiny_images: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    words = ("train", "-c", tiny_images / "recipe.yaml", "-o", "train.loggers=[mlflow]")
    uri = "strange://nowhere"
    done = process(*words, "--out", tmp_path / "run", MLFLOW_TRACKING_URI=uri)
    assert done.code == 2
    assert "train.loggers: mlflow cannot begin: " in done.err
    assert "Traceback" not in done.err


def test_a_package_that_is_missing_is_named(
    tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependency, match=r"pip install 'tinysight\[wandb\]'"):
        fit(tiny_recipe(tiny_images, "train.loggers=[wandb]"), tmp_path / "run")
