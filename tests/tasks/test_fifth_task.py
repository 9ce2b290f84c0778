"""A task of a user's own, in one file: trained, evaluated, exported and predicted with, like the others."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.tiny import recipe_tree
from tinysight.bundle import Bundle
from tinysight.cli import main
from tinysight.config import load_recipe
from tinysight.errors import ConfigError
from tinysight.files import to_yaml
from tinysight.metrics.retrieval import retrieval
from tinysight.registry import REGISTRIES
from tinysight.tasks.base import task_of_bundle, task_of_recipe
from tinysight.training import fit


@pytest.fixture(scope="module")
def regression() -> Iterator[Any]:
    """The task's file; what it registers is gone again after these tests."""
    for registry in REGISTRIES.values():
        registry.names()  # what is built in is there already
    tables = [t for r in REGISTRIES.values() for t in vars(r).values() if isinstance(t, dict)]
    before = [set(table) for table in tables]
    module = importlib.import_module("support.regression")
    added = [set(table) - known for table, known in zip(tables, before, strict=True)]
    yield module
    for table, names in zip(tables, added, strict=True):
        for name in names:
            del table[name]
    del sys.modules["support.regression"]


@pytest.fixture(scope="module")
def run(regression: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run: how bright is the image?"""
    root = tmp_path_factory.mktemp("regression")
    rng = np.random.default_rng(0)
    for name, count in (("train", 24), ("val", 12)):
        lines = []
        for i, value in enumerate(rng.random(count)):
            noise = rng.integers(0, 40, (40, 40, 3))
            cv2.imwrite(str(root / f"{name}_{i}.png"), (noise + 200 * value).astype(np.uint8))
            lines.append(f"{name}_{i}.png {value:.4f}\n")
        (root / f"{name}.txt").write_text("".join(lines), "utf-8")
    tree = recipe_tree(root)
    del tree["data"]["labels"]
    tree["data"]["target"] = "number"
    tree["loss"] = {"name": "squared_error"}
    tree["train"] |= {"lr": 0.002, "clip_norm": 1.0}
    tree["metrics"] = [{"name": "absolute_error"}]
    tree["export"] = {"postprocess": {"name": "number"}}
    (root / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
    recipe = load_recipe(root / "recipe.yaml")
    assert isinstance(task_of_recipe(recipe), regression.RegressionTask)
    result = fit(recipe, root / "run")
    assert set(result.metrics) == {"r2", "mae"} and np.isfinite(list(result.metrics.values())).all()
    return root / "run"


def test_it_fits_in_one_short_file(regression: Any) -> None:
    assert len(Path(regression.__file__).read_text("utf-8").splitlines()) <= 120


def test_evaluated_with_its_metric_and_section(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--run", str(run)]) == 0
    assert "mae " in capsys.readouterr().out
    assert main(["eval", "--run", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["mae"] > 0
    assert found["calibration"] == {} and found["threshold"] is None and found["labels"] == {}
    page = (run / "report.html").read_text("utf-8")
    assert "Mean absolute error" in page
    assert "Worst errors" not in page and "Calibration" not in page


def test_exported_and_predicted_with(
    regression: Any, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = run.parent / "bundle"
    assert main(["export", "--run", str(run), "--out", str(bundle)]) == 0
    capsys.readouterr()
    manifest = Bundle.load(bundle).manifest
    assert manifest.output == "value"
    assert isinstance(task_of_bundle(manifest), regression.RegressionTask)
    image = str(run.parent / "val_0.png")
    assert main(["predict", image, "--model", str(bundle), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["value", "filename"] and isinstance(answer["value"], float)
    assert main(["predict", image, "--model", str(bundle)]) == 0
    assert capsys.readouterr().out == f"value: {answer['value']}, filename: {image}\n"
    values = str(run.parent / "val.txt")
    assert main(["eval", "--bundle", str(bundle), "--list", values, "--json"]) == 0
    by_bundle = json.loads(capsys.readouterr().out)["metrics"]
    assert main(["eval", "--run", str(run), "--json"]) == 0
    assert by_bundle == pytest.approx(json.loads(capsys.readouterr().out)["metrics"], abs=1e-5)


def test_a_target_that_no_task_has(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.target: should be one of .*did you mean 'number'"):
        load_recipe(run.parent / "recipe.yaml", ["data.target=numbr"])


def test_every_image_searched_among_the_others_by_hand() -> None:
    """Of a, a, b, b and one alone: the nearest of the second b is an a, its own comes second."""
    angles = np.radians([0, 10, 60, 30, 200])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = retrieval(vectors, np.array([0, 0, 1, 1, 2]))
    assert found == {"recall1": 0.75, "mAP": pytest.approx((1 + 1 + 1 + 1 / 3) / 4)}
