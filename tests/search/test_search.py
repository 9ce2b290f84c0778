"""Searches that train: what they write, what a kill leaves, several processes, and Optuna's strategy."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.commands import tinysight
from support.paddleclas import make_images as paddle_images
from support.paddleclas import write_training
from support.tiny import make_images, write_recipe
from tinysight.config import load_recipe
from tinysight.errors import ConfigError
from tinysight.files import to_yaml
from tinysight.search.plan import load_plan
from tinysight.search.shas import Outcome, shas
from tinysight.search.table import importance


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    images = make_images(tmp_path / "images", train=8, eval_samples=4)
    (tmp_path / "recipe.yaml").write_text(write_recipe(images).read_text("utf-8"), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, **changes: Any) -> Path:
    tree = {
        "base": "recipe.yaml",
        "out": "study",
        "space": [
            {"name": "rate", "keys": ["train.lr"], "values": [0.05, 0.05]},
            {"name": "epochs", "keys": ["train.epochs"], "values": [1, -1]},
        ],
    }
    path.write_text(to_yaml({**tree, **changes}), "utf-8")
    return path


def rows(study: Path) -> list[dict[str, str]]:
    with (study / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_search_lists_what_failed_and_trains_nothing_twice(folder: Path) -> None:
    write(folder / "search.yaml")
    done = tinysight("search", "-c", "search.yaml")
    assert done.code == 1, done.err  # one has failed
    found = rows(folder / "study")
    assert [row["tried"] for row in found] == ["rate=0.05", "epochs=1", "epochs=-1"]
    assert float(found[0]["score"]) >= 0
    assert found[2]["score"] == "" and "greater than or equal to 1" in found[2]["error"]
    assert "best       epochs 1" in done.out
    assert load_recipe(folder / "study" / "best.yaml").train.lr == 0.05
    page = (folder / "study" / "search.html").read_text("utf-8")
    assert "greater than or equal to 1" in page and "<svg" in page and "<script" not in page
    before = {p: p.stat().st_mtime_ns for p in (folder / "study").rglob("metrics.jsonl")}
    assert len(before) == 2
    again = tinysight("search", "-c", "search.yaml", "--jobs", "2")
    assert again.code == 1
    assert [row["score"] for row in rows(folder / "study")] == [row["score"] for row in found]
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": [{"name": "a", "keys": ["train.lr"]}]}, "give either values, or low and high"),
        ({"space": []}, "space"),
        ({"strategy": "tpe"}, "tpe needs trials or hours"),
        ({"space": [{"name": "a", "keys": ["x"], "low": 0.1, "high": 0.2}]}, "shas needs values"),
        ({"bse": 1}, "bse: unknown key; did you mean 'base'"),
        ({"base": "none.yaml"}, "none.yaml: no such file"),
        ({"space": [{"name": "a", "keys": ["k"], "values": [1]}] * 2}, "two entries of space"),
    ],
)
def test_mistakes(change: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_plan(write(folder / "search.yaml", **change))


def test_a_misspelt_key_stops_it_before_anything_is_trained(folder: Path) -> None:
    write(folder / "search.yaml")
    done = tinysight("search", "-c", "search.yaml", "-o", "space.0.keys=[train.lrr]")
    assert done.code == 2
    assert "train.lrr: unknown key; did you mean" in done.err
    assert not list(folder.rglob("metrics.jsonl"))


def test_a_budget_of_nothing_is_a_mistake(folder: Path) -> None:
    for option in ("--jobs", "--trials", "--hours"):
        done = tinysight("search", "-c", "search.yaml", option, "0")
        assert done.code == 2
        assert done.err == f"error: {option}: should be above 0, got 0\n"


def test_a_coordinate_whose_trainings_all_fail_ends_the_search(folder: Path) -> None:
    steps = shas(load_plan(write(folder / "search.yaml")))
    trainings = next(steps)
    with pytest.raises(ConfigError, match=r"space\.rate: every training of rate has failed"):
        steps.send(dict.fromkeys(trainings))


def test_a_failed_repeat_is_no_zero(folder: Path) -> None:
    plan = load_plan(write(folder / "search.yaml", repeats=2))
    steps = shas(plan)
    trainings = next(steps)
    assert [t.folder for t in trainings] == ["study/rate_0_05_0", "study/rate_0_05_1"]
    more = steps.send(dict(zip(trainings, [0.6, None], strict=True)))
    assert [t.overrides for t in more][::2] == [
        ("train.lr=0.05", "train.epochs=1"), ("train.lr=0.05", "train.epochs=-1"),
    ]  # fmt: skip
    with pytest.raises(StopIteration) as stop:
        steps.send(dict(zip(more, [0.5, 0.6, 0.58, None], strict=True)))
    assert stop.value.value.winners == {"rate": 0.05, "epochs": -1}
    assert stop.value.value.results["rate"] == {"0.05": [0.6]}


def test_importance_is_the_share_of_the_variance() -> None:
    out = Outcome(
        results={"a": {"1": [0.0, 0.0], "2": [1.0, 1.0]}, "b": {"x": [0.0, 1.0], "y": [0.0, 1.0]}}
    )
    assert importance(out) == {"a": 1.0, "b": 0.0}


@pytest.mark.slow
def test_a_search_that_is_told_to_end_takes_its_training_along(folder: Path) -> None:
    space = [{"name": "epochs", "keys": ["train.epochs"], "values": [100000]}]
    write(folder / "search.yaml", space=space)
    words = [sys.executable, "-m", "tinysight", "search", "-c", "search.yaml"]
    process = subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while not list(folder.rglob("metrics.jsonl")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == b"interrupted"
    with pytest.raises(ProcessLookupError):  # nobody of its group is left
        os.killpg(process.pid, 0)


@pytest.mark.slow
def test_a_killed_search_loses_nothing(folder: Path) -> None:
    """Killed in the middle of the first, second and third training; two processes finish it together."""
    space = [
        {"name": "rate", "keys": ["train.lr"], "values": [0.05, 0.1, 1e30]},
        {"name": "decay", "keys": ["train.optimizer.weight_decay"], "values": [0.0, 0.1]},
    ]
    write(folder / "search.yaml", space=space)
    words = [sys.executable, "-m", "tinysight", "search", "-c", "search.yaml"]
    changes = ["-o", "base=recipe.yaml"]
    study = folder / "study"
    for ends in range(3):
        process = subprocess.Popen([*words, *changes], start_new_session=True)
        deadline = time.monotonic() + 100
        while (
            len(list(study.rglob("report.html"))) < ends
            or len(list(study.rglob("recipe.yaml"))) <= ends
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # The second time the search alone: its training goes on, and whoever comes next waits for it.
        (os.kill if ends == 1 else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
    finished = {p: p.stat().st_mtime_ns for p in study.rglob("report.html")}
    both = [
        subprocess.Popen([*words, *changes], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [1, 1]  # one training fails
    assert all("the loss became" in text for text in said)
    assert said[0].split("best ")[1:3] == said[1].split("best ")[1:3]
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    starts = [json.loads(p.read_text())["starts"] for p in study.rglob("environment.json")]
    assert len(starts) == 5
    assert sum(len(s) - 1 for s in starts) <= 5  # kills in the middle; what failed is tried again
    again = [*words, "--out", "other", "--jobs", "2"]
    whole = subprocess.run(again, capture_output=True, text=True, check=False)
    assert whole.returncode == 1
    assert [line for line in whole.stdout.splitlines() if line.startswith("best ")] == [
        line for line in said[0].splitlines() if line.startswith("best ")
    ]


@pytest.mark.slow
def test_all_at_once_with_a_budget(folder: Path) -> None:
    space = [
        {"name": "rate", "keys": ["train.lr"], "low": 0.001, "high": 0.2, "log": True},
        {"name": "epochs", "keys": ["train.epochs"], "values": [1, 2]},
    ]
    write(folder / "search.yaml", space=space, strategy="tpe", trials=5)
    first = tinysight("search", "-c", "search.yaml", "--trials", "2")
    assert first.code in (0, 1), first.err
    assert len(rows(folder / "study")) == 2
    then = tinysight("search", "-c", "search.yaml", "--jobs", "2")
    assert then.code in (0, 1), then.err
    assert len(list((folder / "study").glob("trial_*"))) == len(rows(folder / "study")) == 5
    assert "best       rate" in then.out
    assert load_recipe(folder / "study" / "best.yaml").train.epochs in (1, 2)


TEACHER = """
Arch:
  name: DistillationModel
  freeze_params_list: [True, False]
  models:
    - Teacher: {name: PPLCNet_x0_35, class_num: 2}
    - Student: {name: PPLCNet_x0_25, class_num: 2}
Loss:
  Train:
    - DistillationDMLLoss: {weight: 1.0, model_name_pairs: [[Student, Teacher]]}
"""
SEARCH = """
base_config_file: base.yaml
distill_config_file: distil.yaml
gpus: 0,1,2,3
output_dir: output/search_demo
search_times: 1
search_dict:
  - search_key: lrs
    replace_config: [Optimizer.lr.learning_rate]
    search_values: [0.01, 0.05]
teacher:
  rm_keys: [Arch.lr_mult_list]
  search_values: [PPLCNet_x0_35, PPLCNet_x0_5]
final_replace:
  Arch.lr_mult_list: Arch.models.1.Student.lr_mult_list
"""


@pytest.mark.slow
def test_a_search_of_paddleclas_ends_with_the_distillation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paddle_images(tmp_path / "images")
    base = write_training(tmp_path, ("epochs: 3", "epochs: 1"), name="base.yaml").read_text("utf-8")
    start, end = base.index("Arch:"), base.index("Optimizer:")
    (tmp_path / "distil.yaml").write_text(base[:start] + TEACHER + base[end:], "utf-8")
    (tmp_path / "search.yaml").write_text(SEARCH, "utf-8")
    done = tinysight("search", "-c", "search.yaml")
    assert done.code == 0, done.out + done.err
    found = rows(tmp_path / "output" / "search_demo")
    tried = ["lrs=0.01", "lrs=0.05", "teacher=PPLCNet_x0_35", "teacher=PPLCNet_x0_5", "final"]
    assert [row["tried"] for row in found] == tried
    last = found[-1]["overrides"]
    assert "Arch.models.0.Teacher.pretrained=output/search_demo/teacher_PPLCNet" in last
    assert found[-1]["folder"] == "output/search_demo/search_res/DistillationModel"
    best = load_recipe(tmp_path / "output" / "search_demo" / "best.yaml")
    assert best.teachers["teacher"].pretrained.endswith("best.safetensors")  # type: ignore[union-attr]
