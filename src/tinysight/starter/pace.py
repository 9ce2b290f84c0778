"""How fast this machine is: a few steps of a network on some of the images, and one image in the engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from tinysight.config import Recipe
from tinysight.data.lists import read_split
from tinysight.data.samples import read_sample
from tinysight.errors import ImageError
from tinysight.export.onnx import to_onnx
from tinysight.models import create_model
from tinysight.registry import engines
from tinysight.starter.choice import Pace
from tinysight.training.networks import build_model
from tinysight.training.predictor import device
from tinysight.training.step import keep_freed_memory

_READ, _BATCH, _TIMES = 24, 16, 2  # images, images, steps
_RUNS, _ROUNDS = 30, 3  # of one image in the engine


def training_pace(recipe: Recipe) -> Pace:
    """Seconds an image, by the lesser of two steps after one that warms up; the random state stays as it is.

    Args:
        recipe: resolved; its network is trained on noise.
    """
    keep_freed_memory()
    place = device()
    with torch.random.fork_rng():
        model: Any = build_model(recipe).to(place)
        count = min(_BATCH, recipe.data.batch_size)
        height, width, channels = recipe.eval_transforms().output_shape()
        images = torch.rand((count, channels, height, width), device=place)
        if recipe.train.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
            model = model.to(memory_format=torch.channels_last)
        labels = torch.zeros(count, dtype=torch.int64, device=place)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

        def step() -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        train = _seconds(step)
        model.eval()
        with torch.inference_mode():
            evaluate = _seconds(lambda: model(images))
    return Pace(train / count, evaluate / count, _reading(recipe))


def network_ms(backbone: str, size: int) -> float:
    """As `median_ms`, of a backbone's network; neither weights nor the number of classes (2 here) matter."""
    model = create_model(backbone, 2)
    return median_ms(to_onnx(model, (3, size, size), opset=18, metadata={}), size)


def median_ms(network: bytes, size: int) -> float:
    """Milliseconds (median) of one image of `size` px on one thread of ONNX Runtime; of three rounds the middle one.

    Args:
        network: contents of an ONNX file from (1, 3, size, size).
        size: pixels.
    """
    session = engines.build({"name": "onnxruntime"}, model=network, threads=1)
    image = np.zeros((1, 3, size, size), np.float32)
    rounds = []
    for _ in range(_ROUNDS):
        taken = []
        for _ in range(_RUNS):
            started = time.perf_counter()
            session.run(image)
            taken.append(time.perf_counter() - started)
        rounds.append(float(np.median(taken)))
    return 1e3 * sorted(rounds)[_ROUNDS // 2]


def _reading(recipe: Recipe) -> float:
    """Seconds that reading and preparing a training image takes, of one thread."""
    samples, transforms = read_split(recipe.data, recipe.data.train), recipe.train_transforms()
    chosen = np.unique(np.linspace(0, len(samples) - 1, _READ).astype(int)).tolist()
    started = time.perf_counter()
    for i in chosen:
        with suppress(ImageError):
            read_sample(samples[i], transforms, np.random.default_rng(i))
    return (time.perf_counter() - started) / len(chosen)


def _seconds(call: Callable[[], object]) -> float:
    call()
    taken = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken)
