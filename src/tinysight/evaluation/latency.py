"""How long one image takes here: decoded, prepared, sent through the network, one after another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
    step = max(1, len(paths) // images)
    chosen = list(paths)[::step][:images]
    rows = []
    for i, path in enumerate((*chosen[:_WARM], *chosen)):
        try:
            times = _one(predict, path, transforms)
        except ImageError:
            continue
        if i >= min(_WARM, len(chosen)):
            rows.append(times)
    if not rows:
        return None
    table = 1e3 * np.array(rows)
    ends = np.quantile([*table.T, table.sum(axis=1)], [0.5, 0.95], axis=1).T.tolist()
    return Latency(len(rows), *(Percentiles(*pair) for pair in ends))


def _one(predict: Predict, path: str | Path, transforms: Compose) -> tuple[float, float, float]:
    start = time.perf_counter()
    image = decode(path)
    decoded = time.perf_counter()
    rng = np.random.default_rng(0) if transforms.random else None
    batch = to_batch([transforms.with_label(image, 0, rng)[0]])
    prepared = time.perf_counter()
    predict(batch)
    return decoded - start, prepared - decoded, time.perf_counter() - prepared
