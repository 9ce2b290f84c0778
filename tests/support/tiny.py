"""A training run of a second: a few small images of two colours, and a recipe for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from tinysight.config import Recipe, load_recipe
from tinysight.files import to_yaml
from tinysight.models import create_model

LABELS = ("red", "blue")


def make_images(root: Path, train: int = 21, eval_samples: int = 8, size: int = 40) -> Path:
    """Noise with a colour cast, and the lists `train.txt` and `val.txt`; labels alternate."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("val", eval_samples)):
        lines = []
        for i in range(count):
            image = rng.integers(0, 130, (size, size + 8, 3), np.uint8)
            image[..., 0 if i % 2 else 2] += 120  # OpenCV writes blue first
            cv2.imwrite(str(root / f"{name}_{i}.png"), image)
            lines.append(f"{name}_{i}.png {i % 2}\n")
        (root / f"{name}.txt").write_text("".join(lines), "utf-8")
    return root


def make_weights(path: Path) -> Path:
    """Weights for the recipe's network but for three classes, with statistics that belong to them."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = create_model("pplcnet_x0_25", 3)
        for _ in range(100):
            model(torch.randn(16, 3, 32, 32) + torch.randn(16, 3, 1, 1))
    torch.save(model.state_dict(), path)
    return path


def recipe_tree(root: Path) -> dict[str, Any]:
    """The recipe as plain data, to be changed by a test."""
    prepare: list[dict[str, Any]] = [
        {"name": "resize", "size": [32, 32]},
        {"name": "normalize", "mean": [0.5] * 3, "std": [0.25] * 3},
    ]
    return {
        "task": "tiny",
        "data": {
            "root": str(root),
            "labels": list(LABELS),
            "train": {"list": "train.txt"},
            "eval": {"list": "val.txt"},
            "batch_size": 4,
            "eval_batch_size": 4,
            "workers": 0,
        },
        "transforms": {
            "train": [prepare[0], {"name": "random_flip"}, prepare[1]],
            "eval": prepare,
        },
        "model": {"backbone": {"name": "pplcnet_x0_25"}},
        "loss": {"name": "cross_entropy"},
        "train": {"epochs": 2, "optimizer": {"name": "sgd"}, "lr": 0.05},
        "metrics": [{"name": "topk"}],
        "export": {"postprocess": {"name": "topk"}},
    }


def write_recipe(root: Path) -> Path:
    """The recipe as a file beside the images."""
    path = root / "recipe.yaml"
    path.write_text(to_yaml(recipe_tree(root)), "utf-8")
    return path


def tiny_recipe(root: Path, *overrides: str) -> Recipe:
    """The recipe of the images in `root`, resolved."""
    return load_recipe(write_recipe(root), overrides)
