"""Scenes of coloured rectangles on noise, with their boxes as COCO and VOC files, and a recipe for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinysight.config import Recipe, load_recipe
from tinysight.files import to_yaml

NAMES = ("red", "blue")
SIDE = 64


def make_scenes(root: Path, train: int = 12, val: int = 4, empty: int = 1) -> Path:
    """Images of 96 x 80 with one to three rectangles, `empty` of them without; ids in the files have gaps."""
    rng = np.random.default_rng(7)
    for split, count in (("train", train), ("val", val)):
        (root / split).mkdir(parents=True, exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for i in range(count):
            image = rng.integers(60, 120, (80, 96, 3), np.uint8)
            images.append({"id": 3 * i + 5, "file_name": f"{i}.png", "width": 96, "height": 80})
            for _ in range(0 if i < empty else int(rng.integers(1, 4))):
                kind = int(rng.integers(2))
                w, h = (int(v) for v in rng.integers(16, 40, 2))
                x, y = int(rng.integers(0, 96 - w)), int(rng.integers(0, 80 - h))
                image[y : y + h, x : x + w] = (0, 0, 255) if kind == 0 else (255, 0, 0)
                box = {"id": 10 + 2 * len(annotations), "image_id": images[-1]["id"]}
                more = {
                    "category_id": 4 + 3 * kind,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
                annotations.append({**box, **more})
            cv2.imwrite(str(root / split / f"{i}.png"), image)
        write_coco(root / f"{split}.json", images, annotations)
    return root


def write_coco(path: Path, images: list[Any], annotations: list[Any]) -> None:
    """A COCO file with the categories `NAMES`, whose ids have a gap."""
    categories = [{"id": 4 + 3 * i, "name": name} for i, name in enumerate(NAMES)]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(tree), "utf-8")


def detection_tree(root: Path, form: str = "picodet", loss: str = "simota") -> dict[str, Any]:
    """The recipe of a run of seconds as plain data, to be changed by a test."""
    return {
        "task": "scenes",
        "data": {
            "root": str(root), "target": "boxes", "workers": 0, "batch_size": 4,
            "train": {"coco": "train.json", "images": "train"},
            "eval": {"coco": "val.json", "images": "val"},
        },
        "transforms": {
            "train": [
                {"name": "random_box_crop"}, {"name": "random_flip"},
                {"name": "color_jitter", "brightness": 0.2, "each": 0.5},
                {"name": "random_size", "sizes": [SIDE, SIDE + 32]}, {"name": "normalize"},
            ],
            "eval": [{"name": "resize", "size": [SIDE, SIDE]}, {"name": "normalize"}],
        },
        "model": {
            "backbone": {"name": "pplcnet_x0_25"},
            "detector": {"name": form, "channels": 16, "convs": 1, "min_score": 0.001},
        },
        "loss": {"name": loss},
        "train": {
            "epochs": 2, "lr": 0.02, "optimizer": {"name": "sgd", "weight_decay": 4e-5},
            "schedule": {"name": "cosine", "warmup_steps": 2}, "ema": {"decay": 0.9},
        },
        "metrics": [{"name": "coco"}],
        "export": {"postprocess": {"name": "boxes", "threshold": 0.3}},
    }  # fmt: skip


def trained_detector(folder: Path) -> Path:
    """A finished run of a few seconds in `folder`, with its scenes beside it."""
    from tinysight.training import fit

    tree = detection_tree(make_scenes(folder / "scenes", 16, 4))
    tree["transforms"]["train"] = [
        {"name": "random_flip"}, {"name": "resize", "size": [SIDE, SIDE]}, {"name": "normalize"},
    ]  # fmt: skip
    tree["train"] |= {"epochs": 4, "eval_every": 4, "lr": 0.003}
    tree["train"]["optimizer"] = {"name": "adamw", "weight_decay": 0.01}
    (folder / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
    fit(load_recipe(folder / "recipe.yaml"), folder / "run")
    return folder / "run"


def detection_recipe(root: Path, file: Path, form: str = "picodet", loss: str = "simota") -> Recipe:
    """The recipe of `detection_tree`, loaded from `file`."""
    file.write_text(to_yaml(detection_tree(root, form, loss)), "utf-8")
    return load_recipe(file)
