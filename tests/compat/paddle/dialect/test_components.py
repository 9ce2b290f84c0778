"""Optimisers, schedules and operators of PaddleClas as components of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.paddleclas import write_training
from tinysight.config import load_recipe

OPTIMIZER = "name: Momentum\n  momentum: 0.9"
RATE = "{name: Cosine, learning_rate: 5e-2, warmup_epoch: 1, eta_min: 1e-5}"


@pytest.mark.parametrize(
    ("written", "made"),
    [
        (
            "name: AdamW\n  beta1: 0.8\n  no_weight_decay_name: .bias norm\n  one_dim_param_no_weight_decay: True",
            {
                "name": "adamw",
                "betas": [0.8, 0.999],
                "undecayed": [".bias", "norm"],
                "decay_one_dimensional": False,
            },
        ),
        ("name: AdamW\n  weight_decay: 0.5", {"weight_decay": 3e-5, "decay_one_dimensional": True}),
        ("name: SGD", {"name": "sgd", "momentum": 0.0}),
        ("name: Adam\n  epsilon: 1e-8", {"name": "adam", "eps": 1e-8}),
        (
            "name: RMSProp\n  rho: 0.9\n  momentum: 0.9\n  epsilon: 0.001",
            {"name": "rmsprop", "rho": 0.9, "eps": 0.001},
        ),
        (
            "name: AdamWDL\n  layerwise_decay: 0.65\n  filter_bias_and_bn: True\n  weight_decay: 0.05",
            {"name": "adamw", "layer_decay": 0.65, "decay_one_dimensional": False},
        ),
        (
            "name: AdamWDL\n  filter_bias_and_bn: False",
            {"layer_decay": 1.0, "decay_one_dimensional": True, "weight_decay": 3e-5},
        ),
    ],
)
def test_an_optimizer(written: str, made: dict[str, Any], tmp_path: Path) -> None:
    path = write_training(tmp_path, (OPTIMIZER, written))
    spec = load_recipe(path).train.optimizer.spec
    assert {key: spec[key] for key in made} == made


@pytest.mark.parametrize(
    ("written", "rate", "made"),
    [
        ("{name: Piecewise, decay_epochs: [1, 2], values: [0.2, 0.1, 0.05]}", 0.2,
         {"name": "piecewise", "milestones": [1, 2], "factors": [0.5, 0.25]}),
        # PaddleClas would drop to a tenth every 30 epochs instead of following the two lists.
        ("{name: Piecewise, learning_rate: 0.4, decay_epochs: [1, 2], values: [0.2, 0.1, 0.05]}", 0.4,
         {"factors": [0.5, 0.25]}),
        ("{name: Step, learning_rate: 0.1, step_size: 2.5, gamma: 0.5}", 0.1, {"step_epochs": 2.5, "factor": 0.5}),
        ("{name: MultiStepDecay, learning_rate: 0.1, milestones: [1, 2]}", 0.1, {"name": "multi_step", "factor": 0.1}),
        ("{name: Linear, learning_rate: 0.1, power: 2.0}", 0.1, {"name": "polynomial", "power": 2.0}),
        ("{name: ConstLR, learning_rate: 1e-4}", 1e-4, {"name": "constant"}),
        ("{name: ReduceOnPlateau, learning_rate: 0.1, patience: 2}", 0.1, {"name": "plateau", "mode": "min"}),
        ("{name: OneCycleLR, max_learning_rate: 0.1}", 0.1, {"name": "one_cycle", "rise": 0.3}),
        ("{name: Cyclic, base_learning_rate: 0.01, max_learning_rate: 0.1, step_size_up: 5}", 0.1,
         {"name": "cyclic", "base_lr": 0.01, "up_steps": 5}),
    ],
)  # fmt: skip
def test_a_schedule(written: str, rate: float, made: dict[str, Any], tmp_path: Path) -> None:
    found = load_recipe(write_training(tmp_path, (RATE, written))).train
    assert found.lr == rate
    spec = found.schedule.spec
    assert {key: spec[key] for key in made} == made


OPERATORS = [
    ("Padv2: {size: [40, 36], pad_mode: 1, fill_value: 0}",
     [{"name": "cast"}, {"name": "pad", "size": [40, 36], "at": "center", "fill": [0.0]}]),
    ("Padv2: {pad_mode: -1, offsets: [1, 2], size_divisor: 8}", [{"name": "cast"}, {"multiple": 8, "at": [1, 2]}]),
    ("Pad: {padding: 10, backend: cv2}", [{"name": "pad", "border": 10, "fill": [0.0]}]),
    ("RandCropImageV2: {size: [32, 32]}", [{"name": "random_crop", "size": [32, 32]}]),
    ("RandomRotation: {prob: 0.5, degrees: 90}", [{"name": "random_rotation", "degrees": 90.0, "p": 0.5}]),
    ("ColorJitter: {brightness: 0.1, hue: 0.1}", [{"name": "color_jitter", "brightness": 0.1, "p": 1.0}]),
    ("TimmAutoAugment: {prob: 0.5, config_str: rand-m7-mstd0.5-inc1, interpolation: bicubic, img_size: 32}",
     [{"name": "rand_augment", "spec": "rand-m7-mstd0.5-inc1", "p": 0.5, "fill": [124, 116, 104]}]),
    ("RandomErasing: {EPSILON: 0.25, sl: 0.02, sh: 1.0/3.0, r1: 0.3, attempt: 10, use_log_aspect: True, mode: pixel}",
     [{"name": "random_erasing", "p": 0.25, "area": [0.02, 1 / 3], "aspect": 0.3, "attempts": 10, "mode": "pixel"}]),
    ("CropImageAtRatio: {size: 24, pad: 8}", [{"name": "center_square", "size": 24, "share": 0.75}]),
    ("RandAugment: {num_layers: 3}", [{"name": "classic_rand_augment", "operations": 3, "magnitude": 5.0}]),
    ("AutoAugment:", [{"name": "classic_auto_augment"}]),
    ("AugMix: {prob: 0.3, mixture_depth: -1, aug_severity: 3}",
     [{"name": "augmix", "p": 0.3, "alpha": 0.1, "width": 3, "depth": 0, "severity": 3.0}]),
    ("Cutout: {n_holes: 2, length: 16}", [{"name": "cutout", "holes": 2, "length": 16, "fill": [0.0, 0.0, 0.0]}]),
    ("Cutout: {fill_value: none}", [{"name": "cutout", "length": 112, "fill": None}]),
    ("GridMask: {d1: 9, d2: 20, rotate: 30, ratio: 0.4, mode: 1, prob: 0.8}",
     [{"name": "grid_mask", "step": [9, 20], "rotate": 30, "ratio": 0.4, "squares": True, "p": 0.8}]),
    ("RandAugmentV2: {num_layers: 3, magnitude: 7}",
     [{"name": "classic_rand_augment", "operations": 3, "magnitude": 7.0, "scale": "efficientnetv2"}]),
    ("RandAugmentV3:", [{"operations": 2, "magnitude": 3.0, "scale": "mobilevitv2", "fill": [0, 0, 0]}]),
    ("RandAugmentV4:", [{"name": "classic_rand_pairs"}]),
    ("Pad_paddle_vision: {padding: [4, 2], padding_mode: reflect}",
     [{"name": "pad", "border": [4, 2], "mode": "reflect"}]),
    ("Resize: {size: 40}", [{"name": "resize", "short": 40}]),
    ("Resize: {size: [40, 36], interpolation: bicubic}",
     [{"name": "resize", "size": [36, 40], "interpolation": "bicubic"}]),
    ("CenterCrop: {size: [24, 28]}", [{"name": "center_crop", "size": [28, 24]}]),
    ("RandomResizedCrop: {size: [24, 28], scale: [0.2, 1.0]}",
     [{"name": "random_resized_crop", "size": [28, 24], "scale": [0.2, 1.0], "log_ratio": True, "attempts": 10}]),
    ("RandomApply: {p: 0.8, transforms: [ColorJitter: {prob: 0.5, brightness: 0.4}]}",
     [{"name": "color_jitter", "p": 0.4, "brightness": 0.4}]),
    ("RandomApply: {transforms: [RandomGrayscale: {p: 0.2}]}", [{"name": "random_grayscale", "p": 0.1}]),
    ("RandomHorizontalFlip: {prob: 0.25}", [{"name": "random_flip", "p": 0.25}]),
]  # fmt: skip


@pytest.mark.parametrize(("written", "made"), OPERATORS, ids=lambda x: str(x).split(":")[0])
def test_an_operator(written: str, made: list[dict[str, Any]], tmp_path: Path) -> None:
    path = write_training(tmp_path, ("RandFlipImage: {flip_code: 1}", written))
    found = load_recipe(path).transforms.train[1:-1]
    assert len(found) == len(made)
    for ours, wanted in zip(found, made, strict=True):
        assert {key: ours.spec[key] for key in wanted} == wanted


def test_to_tensor_and_normalize_are_one_step(tmp_path: Path) -> None:
    old = """- NormalizeImage:
            scale: 1.0/255.0
            mean: [0.485, 0.456, 0.406]
            std: [0.229, 0.224, 0.225]
            order: ''"""
    new = "- ToTensor:\n        - Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}"
    found = load_recipe(write_training(tmp_path, (old, new))).transforms.train
    assert [step.name for step in found] == ["random_resized_crop", "random_flip", "normalize"]
    assert found[-1].spec == {
        "name": "normalize", "mean": [0.5] * 3, "std": [0.25] * 3, "scale": 1 / 255,
    }  # fmt: skip
