"""A recipe of identities and the post-processor `embedding`: evaluated by search, exported as vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.tiny import make_images, recipe_tree
from tinysight.cli import main
from tinysight.config import load_recipe
from tinysight.files import to_yaml
from tinysight.tasks.base import all_tasks, task_of_postprocess, task_of_recipe
from tinysight.training import fit


def test_from_identities_to_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_images(tmp_path / "images")
    tree = recipe_tree(root)
    del tree["data"]["labels"]
    tree["data"]["target"] = "identity"
    tree["metrics"] = [{"name": "retrieval", "k": [1, 2]}]
    tree["export"] = {"postprocess": {"name": "embedding"}}
    (root / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
    recipe = load_recipe(root / "recipe.yaml")
    assert task_of_recipe(recipe).output == "embedding"
    result = fit(recipe, tmp_path / "run")
    assert list(result.metrics) == ["recall1", "recall2", "mAP"]
    assert main(["eval", "--run", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == pytest.approx(result.metrics)
    bundle = tmp_path / "bundle"
    assert main(["export", "--run", str(tmp_path / "run"), "--out", str(bundle)]) == 0
    capsys.readouterr()
    image = str(root / "val_0.png")
    assert main(["predict", image, "--model", str(bundle), "--json"]) == 0
    vector = np.array(json.loads(capsys.readouterr().out)["embedding"])
    assert len(vector) > 2 and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    listed = ["eval", "--bundle", str(bundle), "--list", str(root / "val.txt"), "--json"]
    assert main(listed) == 0
    by_bundle = json.loads(capsys.readouterr().out)["metrics"]
    assert by_bundle["recall1"] == pytest.approx(result.metrics["recall1"])


def test_identities_with_classes_stay_a_classification(tmp_path: Path) -> None:
    tree = recipe_tree(make_images(tmp_path / "images"))
    tree["data"]["target"] = "identity"
    (tmp_path / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
    assert task_of_recipe(load_recipe(tmp_path / "recipe.yaml")).activation == "softmax"


@pytest.mark.parametrize(
    ("postprocess", "task"),
    [
        ("topk", "classification"),
        ("threshold", "classification"),
        ("scores", "classification"),
        ("multilabel", "multilabel"),
        ("person_attribute", "multilabel"),
        ("embedding", "embedding"),
        ("binarize", "embedding"),
        ("boxes", "detection"),
    ],
)
def test_the_task_of_a_bundle_follows_from_its_post_processor(postprocess: str, task: str) -> None:
    assert isinstance(task_of_postprocess(postprocess), type(all_tasks()[task]))
