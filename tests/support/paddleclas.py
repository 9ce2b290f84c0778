"""Configurations in PaddleClas' language: the published ones where they are at hand, and small ones of our own.

The published ones lie in `TINYSIGHT_PADDLECLAS`; without it in `../shared/paddleclas` beside the checkout. They are not
part of this project: tests of them are skipped where they are missing, but fail in continuous integration.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tinysight.compat.paddle.dialect.tree import read_tree

_REPO = Path(__file__).resolve().parents[2]
PADDLECLAS = Path(os.environ.get("TINYSIGHT_PADDLECLAS") or _REPO.parent / "shared" / "paddleclas")
CONFIGS, DEPLOY = PADDLECLAS / "configs", PADDLECLAS / "deploy_configs"

published = pytest.mark.skipif(
    not PADDLECLAS.is_dir() and not os.environ.get("CI"),
    reason=f"no configurations in {PADDLECLAS}; set TINYSIGHT_PADDLECLAS",
)

TRAINING = """
Global:
  output_dir: ./output/
  device: gpu
  epochs: 3
  eval_interval: 1
  start_eval_epoch: 2
  print_batch_step: 10
  image_shape: [3, 32, 32]
  save_inference_dir: ./inference
Arch:
  name: PPLCNet_x0_25
  class_num: &classes 2
  use_sync_bn: False
Loss:
  Train:
    - CELoss: {weight: 1.0, epsilon: 0.1}
  Eval:
    - CELoss: {weight: 1.0}
Optimizer:
  name: Momentum
  momentum: 0.9
  lr: {name: Cosine, learning_rate: 5e-2, warmup_epoch: 1, eta_min: 1e-5}
  regularizer: {name: 'L2', coeff: 0.00003}
DataLoader:
  Train:
    dataset:
      name: ImageNetDataset
      image_root: ./images/
      cls_label_path: ./images/train_list.txt
      transform_ops:
        - DecodeImage: {to_rgb: True, channel_first: False}
        - RandCropImage: {size: 32}
        - RandFlipImage: {flip_code: 1}
        - NormalizeImage:
            scale: 1.0/255.0
            mean: [0.485, 0.456, 0.406]
            std: [0.229, 0.224, 0.225]
            order: ''
    sampler: {name: DistributedBatchSampler, batch_size: 4, drop_last: False, shuffle: True}
    loader: {num_workers: 0, use_shared_memory: True}
  Eval:
    dataset:
      name: ImageNetDataset
      image_root: ./images/
      cls_label_path: ./images/val_list.txt
      transform_ops: &prepare_none []
    sampler: {name: DistributedBatchSampler, batch_size: 4, drop_last: False, shuffle: False}
    loader: {num_workers: 0}
Infer:
  infer_imgs: ./images/0.png
  batch_size: 2
  transforms: []
  PostProcess: {name: ThreshOutput, threshold: 0.5, label_0: dark, label_1: bright}
Metric:
  Train:
    - TopkAcc: {topk: [1]}
  Eval:
    - TprAtFpr: {max_fpr: 0.5}
    - TopkAcc: {topk: [1, 2]}
"""
_PREPARE = """
        - DecodeImage: {to_rgb: True, channel_first: False}
        - ResizeImage: {resize_short: 36}
        - CropImage: {size: 32}
        - NormalizeImage: {scale: 1.0/255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: ''}"""
TRAINING = TRAINING.replace(" &prepare_none []", _PREPARE).replace(
    "transforms: []", f"transforms:{_PREPARE}"
)

DEPLOYED = """
Global:
  infer_imgs: ./images/0.png
  inference_model_dir: ./models/demo
  batch_size: 2
  use_gpu: True
  enable_mkldnn: True
  cpu_num_threads: 2
PreProcess:
  transform_ops:
    - ResizeImage: {resize_short: 36}
    - CropImage: {size: 32}
    - NormalizeImage:
        {scale: 0.00392157, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: '', channel_num: 3}
    - ToCHWImage:
PostProcess:
  main_indicator: ThreshOutput
  ThreshOutput: {threshold: 0.5, label_0: dark, label_1: bright}
  SavePreLabel: {save_dir: ./pre_label/}
"""


def write_training(folder: Path, *changes: tuple[str, str], name: str = "demo.yaml") -> Path:
    """The small training configuration with pieces of its text replaced."""
    return _write(folder / name, TRAINING, changes)


def write_deployed(folder: Path, *changes: tuple[str, str], name: str = "deploy.yaml") -> Path:
    """The small deploy configuration, likewise."""
    return _write(folder / name, DEPLOYED, changes)


def _write(path: Path, text: str, changes: tuple[tuple[str, str], ...]) -> Path:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    return path


def make_images(folder: Path, train: int = 8, eval_samples: int = 4, side: int = 48) -> Path:
    """Dark and bright images and their lists, in PaddleClas' format; `plain_list.txt` has no labels."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = []
    for i in range(train + eval_samples):
        image = rng.integers(0, 80, (side, side + 8, 3)) + 150 * (i % 2)
        cv2.imwrite(str(folder / f"{i}.png"), image)
        lines.append(f"{i}.png {i % 2}\n")
    (folder / "train_list.txt").write_text("".join(lines[:train]), "utf-8")
    (folder / "val_list.txt").write_text("".join(lines[train:]), "utf-8")
    plain = "".join(line.split()[0] + "\n" for line in lines[:train])
    (folder / "plain_list.txt").write_text(plain, "utf-8")
    (folder / "train_list_for_distill.txt").write_text("".join(lines[:train]), "utf-8")
    return folder


def small(path: Path, images: Path, side: int = 32, batch: int = 2) -> list[str]:
    """Overrides of paths, sizes and epochs alone that make a published configuration quick."""
    dataset, root = read_tree(path)["DataLoader"]["Train"]["dataset"], "DataLoader.Train.dataset"
    online = "sample_list_path" in dataset
    key = "sample_list_path" if online else "cls_label_path"
    found = {
        "DataLoader.Eval.dataset.image_root": images,
        "DataLoader.Eval.dataset.cls_label_path": images / "val_list.txt",
        f"{root}.image_root": images,
        f"{root}.{key}": images / ("plain_list.txt" if online else "train_list.txt"),
        "Infer.infer_imgs": images / "0.png",
    }
    return [*(f"{key}={value}" for key, value in found.items()), *smaller(path, side, batch)]


def smaller(path: Path, side: int = 32, batch: int = 2) -> list[str]:
    """Overrides of sizes and epochs alone; nothing is fetched."""
    tree = read_tree(path)
    found: dict[str, Any] = {
        "Global.epochs": 1,
        "Global.eval_interval": 1,
        "Global.start_eval_epoch": 1,
        **_no_weights(tree["Arch"]),
        "DataLoader.Train.sampler.batch_size": batch,
        "DataLoader.Train.loader.num_workers": 0,
    }
    if tree["Arch"]["name"] == "RecModel":
        searched = ["DataLoader.Eval.Query", "DataLoader.Eval.Gallery"]
        if "sample_per_id" in tree["DataLoader"]["Train"]["sampler"]:
            sampler = "DataLoader.Train.sampler"
            found |= {
                f"{sampler}.sample_per_id": 2,
                f"{sampler}.id_list": [],
                f"{sampler}.ratio": [],
            }
    else:
        searched = ["DataLoader.Eval"]
    found |= {f"{where}.sampler.batch_size": batch for where in searched}
    parts = [f"{where}.dataset.transform_ops" for where in ("DataLoader.Train", *searched)]
    for where in [*parts, *(["Infer.transforms"] if "Infer" in tree else [])]:
        found |= _sizes(tree, where, side)
    return [f"{key}={value}" for key, value in found.items()]


def _no_weights(arch: dict[str, Any]) -> dict[str, Any]:
    """Nothing is fetched: a network begins with fresh weights, but for a frozen teacher, which has to have some."""
    if "models" not in arch:
        part = "Backbone." if arch["name"] == "RecModel" else ""
        return {f"Arch.{part}pretrained": False}
    frozen = arch["freeze_params_list"] or [False] * len(arch["models"])
    members = [(i, name, frozen[i]) for i, m in enumerate(arch["models"]) for name in m]
    return {f"Arch.models.{i}.{name}.pretrained": False for i, name, held in members if not held}


def teacher_weights(path: Path, folder: Path) -> list[str]:
    """Overrides that name weights, made in `folder`, for the frozen networks of a configuration."""
    import torch

    from tinysight.models import create_model

    arch, found = read_tree(path)["Arch"], []
    for i, member in enumerate(arch.get("models", ())):
        ((name, options),) = member.items()
        if (arch["freeze_params_list"] or [False] * 9)[i]:
            network = create_model(options["name"], options.get("class_num", 1000))
            torch.save(network.state_dict(), folder / "teacher.pt")
            found.append(f"Arch.models.{i}.{name}.pretrained={folder / 'teacher.pt'}")
    return found


def _sizes(tree: Any, where: str, side: int) -> dict[str, Any]:
    ops = tree
    for part in where.split("."):
        ops = ops[part]
    wanted = {"resize_short": side + 8, "size": side, "img_size": side}
    return {
        f"{where}.{i}.{name}.{key}": [side, side]
        if isinstance(arguments[key], list)
        else wanted[key]
        for i, op in enumerate(ops)
        for name, arguments in op.items()
        for key in arguments or {}
        if key in wanted
    }
