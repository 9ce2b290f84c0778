"""Several labels an image, from the list to the answers of the bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.tiny import make_images, recipe_tree
from tinysight import Classifier
from tinysight.config import load_recipe
from tinysight.export.bundle import export_bundle
from tinysight.files import to_yaml
from tinysight.training import fit
from tinysight.training.predictor import finish


def test_from_list_to_answers(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pictures", size=32)
    for name in ("train", "val"):
        rows = (root / f"{name}.txt").read_text("utf-8").split()[::2]
        # red or blue as before, and a third label that every image has
        lines = [f"{path}\t{1 - i % 2},{i % 2},1\n" for i, path in enumerate(rows)]
        (root / f"{name}.txt").write_text("".join(lines), "utf-8")
    tree = recipe_tree(root)
    tree["data"] |= {"labels": ["red", "blue", "picture"], "target": "multilabel"}
    tree["loss"] = {"name": "multilabel"}
    tree["metrics"] = [{"name": "mean_accuracy"}]
    tree["train"] |= {"epochs": 4, "optimizer": {"name": "adam"}, "lr": 3e-3}
    tree["export"] = {"postprocess": {"name": "multilabel", "threshold": 0.5}}
    (tmp_path / "recipe.yaml").write_text(to_yaml(tree), "utf-8")

    run = tmp_path / "run"
    result = fit(load_recipe(tmp_path / "recipe.yaml"), run)
    assert 0 < result.metrics["mA"] <= 1
    assert finish(run) and (run / "report.html").is_file()
    bundle = export_bundle(run, tmp_path / "bundle")
    classifier = Classifier(bundle.folder, batch_size=4)
    assert classifier.manifest.postprocess["name"] == "multilabel"
    scores = np.concatenate([s for _, s in classifier.scores(root / "val.txt")])
    assert scores.shape == (8, 3) and ((scores >= 0) & (scores <= 1)).all()
    assert not np.allclose(scores.sum(axis=1), 1)  # independent, not shares of one
    for batch in Classifier(bundle.folder).predict(root / "val_0.png"):
        (answer,) = batch
        assert set(answer["label_names"]) <= {"red", "blue", "picture"}
