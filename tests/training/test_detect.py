"""The objective of detectors: runs, resumed runs, processes, and what each says of the boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from support.scenes import NAMES, detection_recipe, detection_tree, make_scenes
from tinysight.config import load_recipe
from tinysight.config.load import check_tree
from tinysight.config.schema import Teacher
from tinysight.data.labels import resolve_labels
from tinysight.data.lists import read_split
from tinysight.errors import ConfigError
from tinysight.files import to_yaml
from tinysight.training import fit
from tinysight.training.objective import usual_objective
from tinysight.training.predictor import evaluate_run, finish
from tinysight.training.teachers import load_teacher
from training.test_distributed import curve, launch
from training.test_kill import execute, lines, weights


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("scenes"), train=10)


@pytest.mark.parametrize(
    ("form", "loss"),
    [
        ("picodet", "simota"),
        ("picodet_v2", "task_aligned"),
        pytest.param("picodet", "task_aligned", marks=pytest.mark.slow),
    ],
)
def test_a_run_trains_and_is_evaluated(form: str, loss: str, scenes: Path, tmp_path: Path) -> None:
    recipe = detection_recipe(scenes, tmp_path / "r.yaml", form, loss)
    assert resolve_labels(recipe).data.labels == NAMES
    result = fit(recipe, tmp_path / "run")
    assert set(result.metrics) >= {"ap", "ap50", "ar100"}
    assert all("classes" in line["terms"] for line in curve(tmp_path / "run"))
    found = evaluate_run(tmp_path / "run")
    assert found.metrics == pytest.approx(result.metrics, abs=1e-6)
    teacher = {"teacher": Teacher(run=str(tmp_path / "run"))}
    with pytest.raises(ConfigError, match="it is a detector, whose boxes teach nothing"):
        load_teacher("teacher", recipe.model_copy(update={"teachers": teacher}))
    report = finish(tmp_path / "run")
    (table,) = report.sections()
    assert [row[0] for row in table.rows] == [*NAMES]
    assert "Average precision by label" in (tmp_path / "run" / "report.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "moments",
    [
        [("backward", 5)],
        pytest.param([("backward", 2), ("backward", 4), ("replace", 7)], marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_ends_with_the_same_bytes(
    moments: list[tuple[str, int]], scenes: Path, tmp_path: Path
) -> None:
    detection_recipe(scenes, tmp_path / "r.yaml")
    words = ["train", "-c", str(tmp_path / "r.yaml"), "-o", "train.checkpoint_every=1"]
    jobs: list[dict[str, Any]] = [
        {"argv": [*words, "--out", str(tmp_path / "whole")], "kill": None}
    ]
    for i, kill in enumerate(moments):
        out = ["--out", str(tmp_path / str(i))]
        jobs.append({"argv": [*words, *out], "kill": kill})
        jobs.append({"argv": [*words, *out, "--resume"], "kill": None})
    found, log = execute(tmp_path, jobs)
    codes = [code for (code,) in found["codes"]]
    assert codes == [0, *[-9, 0] * len(moments)], log
    for i in range(len(moments)):
        for file in ("last", "best"):
            path = f"checkpoints/{file}.safetensors"
            assert weights(tmp_path / str(i) / path) == weights(tmp_path / "whole" / path)
        assert lines(tmp_path / str(i)) == lines(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("form", "loss"), [("picodet", "simota"), ("picodet_v2", "task_aligned")])
def test_two_processes_match_one(form: str, loss: str, scenes: Path, tmp_path: Path) -> None:
    """Ten images in batches of eight: of the last two the second process has none."""
    tree = detection_tree(scenes, form, loss)
    tree["transforms"]["train"] = [{"name": "random_flip"}, *tree["transforms"]["eval"]]
    tree["model"]["freeze_statistics"] = True
    tree["train"] |= {"epochs": 3, "lr": 0.005, "ema": None}
    (tmp_path / "r.yaml").write_text(to_yaml(tree), "utf-8")
    words = ["-m", "tinysight", "train", "-c", str(tmp_path / "r.yaml"), "--out", "two"]
    done = launch(tmp_path, *words)
    assert done.code == 0, done.err
    tree["data"]["batch_size"] = 8
    (tmp_path / "r.yaml").write_text(to_yaml(tree), "utf-8")
    fit(load_recipe(tmp_path / "r.yaml"), tmp_path / "one")
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert two["terms"] == pytest.approx(one["terms"], rel=1e-3)


def test_one_label_for_every_box(scenes: Path, tmp_path: Path) -> None:
    tree = detection_tree(scenes)
    tree["data"]["merge"] = True
    recipe, problems = check_tree(tree)
    assert recipe is not None, problems
    recipe = resolve_labels(recipe)
    assert recipe.data.labels == ("foreground",)
    samples = read_split(recipe.data, recipe.data.train)
    assert {row[0] for sample in samples for row in sample.label} == {0.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": {"name": "cross_entropy"}}, "needs one loss of boxes"),
        ({"transforms": {"batch": [{"name": "mixup"}]}}, "cannot be mixed"),
        ({"model": {"freeze": ["backbone", "neck", "head"]}}, "nothing can learn"),
    ],
)
def test_what_does_not_go_together(change: dict[str, Any], words: str, scenes: Path) -> None:
    tree = detection_tree(scenes)
    for key, value in change.items():
        tree[key] = {**tree[key], **value}
    recipe, problems = check_tree(tree)
    assert recipe is not None, problems
    recipe = resolve_labels(recipe)
    with pytest.raises(ConfigError, match=words):
        usual_objective(recipe, read_split(recipe.data, recipe.data.train))


def test_a_sampler_by_label_is_refused(scenes: Path, tmp_path: Path) -> None:
    tree = detection_tree(scenes)
    tree["data"]["sampler"] = {"name": "balanced"}
    recipe, problems = check_tree(tree)
    assert recipe is not None, problems
    with pytest.raises(ConfigError, match="balanced goes by labels"):
        fit(recipe, tmp_path / "run")


def test_a_transform_that_loses_the_boxes_is_refused(scenes: Path, tmp_path: Path) -> None:
    tree = detection_tree(scenes)
    tree["transforms"]["train"].insert(0, {"name": "random_rotation", "degrees": 10})
    recipe, problems = check_tree(tree)
    assert recipe is not None, problems
    with pytest.raises(Exception, match="moves what an image shows, but not its boxes"):
        fit(recipe, tmp_path / "run")


def test_weights_of_a_backbone_and_of_a_whole_detector(scenes: Path, tmp_path: Path) -> None:
    """What a run begins with: the network of another run, or what a classifier has learnt."""
    from tinysight.models import create_model
    from tinysight.training.networks import build_model, initial_model

    tree = detection_tree(scenes)
    recipe, _ = check_tree(tree)
    assert recipe is not None
    recipe = resolve_labels(recipe)
    whole, part = build_model(recipe), create_model("pplcnet_x0_25", 7)
    for name, model in (("whole", whole), ("part", part)):
        torch.save(model.state_dict(), tmp_path / f"{name}.pth")
        section = recipe.model.model_copy(update={"pretrained": str(tmp_path / f"{name}.pth")})
        found = initial_model(recipe.model_copy(update={"model": section}))
        trunk = "backbone." if name == "part" else ""
        own = found.state_dict()
        expected = {f"{trunk}{k}": v for k, v in model.state_dict().items()}
        assert all(torch.equal(own[k], v) for k, v in expected.items() if k in own)
        assert torch.equal(
            own["head.head_cls0.weight"], whole.state_dict()["head.head_cls0.weight"]
        ) == (name == "whole")
