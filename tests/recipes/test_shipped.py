"""Every shipped recipe opens with what it should reach, and takes a training step on images of its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tinysight.config import list_recipes, load_recipe
from tinysight.config.load import RECIPES
from tinysight.training import fit

HEAVY = (
    "res2net200",
    "swin",
    "_b1",
    "_b2",
    "_b3",
    "_b4",
    "_b5",
    "_b6",
)  # more than a few seconds on one thread
SIDE = 64


def names() -> list[Any]:
    """All shipped recipes; the large networks are marked slow."""
    slow = pytest.mark.slow
    return [
        pytest.param(name, marks=slow) if any(word in name for word in HEAVY) else name
        for name in list_recipes()
    ]


@pytest.mark.parametrize("name", list_recipes())
def test_it_says_what_it_should_reach(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text("utf-8")
    head = text.split("\nbase:")[0]
    assert head.startswith("# ") and any(c.isdigit() for c in head)


@pytest.mark.parametrize("name", names())
def test_it_takes_a_training_step(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    classes = len(recipe.data.labels) if isinstance(recipe.data.labels, tuple) else 1000
    write_images(tmp_path, classes, recipe.data.target)
    overrides = [
        f"data.root={tmp_path}", "data.train.list=list.txt", "data.batch_size=2",
        "data.eval_batch_size=2", "data.workers=0",
        "train.epochs=1", "train.eval_every=1", "model.pretrained=null", "model.skip=[]",
    ]  # fmt: skip
    # Whose own weights nobody has here.
    other = f"{{backbone: {{name: {recipe.model.backbone.name}}}, learns: true}}"
    overrides += [f"teachers.{teacher}={other}" for teacher in recipe.teachers]
    if recipe.data.target == "identity":
        overrides += ["data.eval.query=list.txt", "data.eval.gallery=list.txt", "data.batch_size=4"]
        if recipe.data.sampler.name == "pk":
            overrides.append("data.sampler.per_identity=2")
    else:
        overrides.append("data.eval.list=list.txt")
    if not isinstance(recipe.data.labels, tuple) and recipe.data.target != "identity":
        lines = "".join(f"{i} class {i}\n" for i in range(classes))
        (tmp_path / "names.txt").write_text(lines, "utf-8")
        overrides.append(f"data.labels={tmp_path / 'names.txt'}")
    for split in ("train", "eval"):
        for i, spec in enumerate(getattr(recipe.transforms, split)):
            if isinstance(spec.spec.get("size"), int):
                overrides.append(f"transforms.{split}.{i}.size={SIDE}")
            elif recipe.data.target == "identity" and spec.spec.get("size"):
                overrides.append(f"transforms.{split}.{i}.size=[{SIDE}, {SIDE}]")
    result = fit(load_recipe(name, overrides), tmp_path / "run")
    assert result.epoch == 1 and result.best.is_file()
    assert not result.unreadable


def write_images(root: Path, classes: int, target: str) -> None:
    """Four images in `list.txt`, in the form that the recipe reads."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(4):
        cv2.imwrite(str(root / f"{i}.png"), rng.integers(0, 256, (288, 300, 3)).astype(np.uint8))
        several = "\t" + ",".join(str((i + k) % 2) for k in range(classes))
        lines.append(f"{i}.png{several}\n" if target == "multilabel" else f"{i}.png {i % 2}\n")
    (root / "list.txt").write_text("".join(lines), "utf-8")
