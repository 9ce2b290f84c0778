"""Latency of single images on this machine: decoding, preprocessing, network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight.errors import ImageError
from tinysight.evaluation.predictor import Predict
from tinysight.transforms import Compose, decode, to_batch

_WARM = 3  # images that go first and are not counted


class Percentiles(NamedTuple):
    """Milliseconds an image: the median, and what 95 of 100 stay below."""

    median: float
    p95: float


class Latency(NamedTuple):
    """The parts and the whole of one image's way, in a batch of one."""

    images: int
    decode: Percentiles
    prepare: Percentiles
    network: Percentiles
    total: Percentiles


def measure_latency(
    predict: Predict, paths: Sequence[str | Path], transforms: Compose, *, images: int = 50
) -> Latency | None:
    """Time up to so many of these files, evenly spread; None if none can be read.

    Args:
        predict: (N, C, H, W) float32 to scores.
        paths: image files; unreadable ones are passed over.
        transforms: from a decoded image to one input.
        images: how many to time; a few more go first to warm up.
    """

    def prepare(image: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(0) if transforms.random else None
        return to_batch([transforms.with_label(image, 0, rng)[0]])

    chosen = list(paths)[:: max(1, len(paths) // images)][:images]
    rows = []
    for i, path in enumerate((*chosen[:_WARM], *chosen)):
        with suppress(ImageError):
            times = time_steps((decode, prepare, predict), path)
            if i >= min(_WARM, len(chosen)):
                rows.append([*times, sum(times)])
    if not rows:
        return None
    spreads = np.quantile(1e3 * np.array(rows), [0.5, 0.95], axis=0).T
    return Latency(len(rows), *(Percentiles(*spread) for spread in spreads.tolist()))


def time_steps(steps: Sequence[Callable[[Any], Any]], value: Any) -> list[float]:
    """Seconds that each of these takes, called with what the one before it gave, the first with `value`."""
    seconds = []
    for step in steps:
        start = time.perf_counter()
        value = step(value)
        seconds.append(time.perf_counter() - start)
    return seconds
