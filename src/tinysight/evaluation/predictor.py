"""A predict callable and labelled images in, predictions and metrics out; one code for checkpoint and bundle.

What is measured is what is shipped: the transforms are those of the bundle, the callable takes the
batch that a bundle takes. An unreadable image is left out and reported, never replaced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np

from tinysight.concurrency import grouped, ordered_map
from tinysight.data.lists import Sample, SampleList
from tinysight.data.samples import collected_labels, read_sample
from tinysight.errors import DataError, ImageError
from tinysight.registry import metrics as metric_registry
from tinysight.tasks.base import Task, task_of_labels
from tinysight.transforms import Compose, to_batch
from tinysight.transforms.base import Label

Specs = Sequence[Mapping[str, Any]]  # of metrics, `{name: ..., key: value}`
Predict = Callable[[np.ndarray], np.ndarray]  # (N, C, H, W) float32 -> scores (N, ...)


class Predictions(NamedTuple):
    """A network's outputs for images, in their order.

    Attributes:
        outputs: of the N images that were read, (N, ...).
        targets: their labels, (N,) int64 or float64, or (N, K) int64.
        paths: their files.
        unreadable: (place in the samples, reason) of each image that could not be read.
    """

    outputs: np.ndarray
    targets: np.ndarray
    paths: tuple[str, ...]
    unreadable: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Evaluation:
    """A network's scores for a list of labelled images, and their metrics.

    Attributes:
        scores: probabilities, or what else the task's activation gives, (N, K) float32, in the
            order of the list.
        labels: class ids, (N,) int64; of several labels at once (N, K) int64 of 0 and 1, below 0
            where it is not known; other tasks' targets, (N,) or (N, ...).
        paths: of the N images that were read.
        metrics: each value under its name.
        unreadable: (path, reason) of each image that was left out.
        seconds: wall-clock time of the whole.
        task: default: classification, or multilabel where labels are (N, K).
        roles: `queries` (N,) bool and `cameras` (N,) of retrieval, where they are known.
    """

    scores: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]
    metrics: dict[str, float]
    unreadable: tuple[tuple[str, str], ...]
    seconds: float
    task: Task = field(default=None)  # type: ignore[assignment]  # set in __post_init__
    roles: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task is None:
            object.__setattr__(self, "task", task_of_labels(self.labels))


def evaluate(
    predict: Predict,
    samples: Sequence[Sample],
    transforms: Compose,
    metrics: Specs,
    *,
    batch_size: int,
    labels: Sequence[str],
    threads: int | None = None,
    task: Task | None = None,
) -> Evaluation:
    """Predict every image of `samples` and compute the metrics.

    Args:
        predict: (N, C, H, W) float32 to (N, K) scores; called in this thread.
        samples: labelled images.
        transforms: from a decoded image to one input. Random ones are seeded by the image's
            index, so the result is the same every time.
        metrics: specs, as in a recipe.
        batch_size: images per call of `predict`; the last call may have fewer.
        labels: label names, K of them.
        threads: threads that read images meanwhile. Default: the number of processors, at most 4.
        task: of the network. Default: classification, or multilabel where labels are (N, K).

    Raises:
        DataError: no image could be read.
        ConfigError: `predict` returns another number of classes, or a metric cannot be computed.
    """
    started = time.perf_counter()
    check = (task or task_of_labels(np.asarray([0]))).check_scores

    def checked(images: np.ndarray) -> np.ndarray:
        return check(predict(images), len(images), labels)

    found = predict_all(checked, samples, transforms, batch_size, threads)
    unreadable = tuple((str(samples[i].path), reason) for i, reason in found.unreadable)
    if not len(found.outputs):
        if not unreadable:
            raise DataError("evaluation", "there are no images to evaluate")
        path, reason = unreadable[0]
        what = f"none of the {len(samples)} images could be read; the first: {reason}"
        raise DataError(path, what, "is data.root right?")
    task = task or task_of_labels(found.targets)
    left_out = [i for i, _ in found.unreadable]
    roles = samples.roles() if isinstance(samples, SampleList) else {}
    roles = {name: np.delete(values, left_out) for name, values in roles.items()}
    values = compute_metrics(metrics, found.outputs, found.targets, roles)
    seconds = time.perf_counter() - started
    return Evaluation(*found[:3], values, unreadable, seconds, task, roles)


def predict_all(
    predict: Predict,
    samples: Sequence[Sample],
    transforms: Compose,
    batch_size: int,
    threads: int | None = None,
) -> Predictions:
    """Call `predict`, of any output (N, ...), for every image; the arguments are those of `evaluate`."""
    outputs: list[np.ndarray] = []
    targets: list[Label] = []
    paths: list[str] = []
    unreadable: list[tuple[int, str]] = []

    def read(i: int) -> tuple[int, np.ndarray | ImageError, Label]:
        sample = samples[i]
        rng = np.random.default_rng((0, i)) if transforms.random else None
        try:
            return i, *read_sample(sample, transforms, rng)
        except ImageError as error:
            return i, error, sample.label

    workers = threads or min(4, os.cpu_count() or 1)
    reading = ordered_map(read, range(len(samples)), workers, 2 * batch_size)
    with ExitStack() as after, closing(reading):
        # Each reading thread works alone: OpenCV's own threads inside them only get in the way.
        after.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(1)
        for batch in grouped(reading, batch_size, lambda r: not isinstance(r[1], ImageError)):
            images = []
            for i, image, label in batch:
                if isinstance(image, ImageError):
                    unreadable.append((i, image.problems[0].what))
                else:
                    images.append(image)
                    targets.append(label)
                    paths.append(str(samples[i].path))
            if images:
                outputs.append(predict(to_batch(images)))
    most = max((part.shape[1] for part in outputs if part.ndim == 3), default=0)
    outputs = [_filled(part, most) if part.ndim == 3 else part for part in outputs]
    found = np.concatenate(outputs) if outputs else np.empty((0, 0), np.float32)
    return Predictions(found, collected_labels(targets), tuple(paths), tuple(unreadable))


def _filled(rows: np.ndarray, most: int) -> np.ndarray:
    """Rows of boxes (N, R, 6) with as many as in the other batches; the new ones are -1."""
    return np.pad(rows, ((0, 0), (0, most - rows.shape[1]), (0, 0)), constant_values=-1)


def compute_metrics(
    specs: Specs,
    scores: np.ndarray,
    labels: np.ndarray,
    roles: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> dict[str, float]:
    """The values of all metrics, in the order of the specs.

    A name that two metrics give (`tpr_at_fpr` at two rates) is numbered from the second on: `tpr`,
    `tpr_2`.

    Args:
        specs: `{name: ..., key: value}`, as in a recipe.
        scores: probabilities, (N, K).
        labels: class ids (N,), or 0 and 1 (N, K).
        roles: what some metrics take besides; see `Evaluation`.

    Raises:
        ConfigError: a metric is unknown, or cannot be computed from these labels.
    """
    values: dict[str, float] = {}
    for i, spec in enumerate(specs):
        where = f"metrics.{i}"
        found = metric_registry.build(spec, where, scores=scores, labels=labels, **roles)
        for key, value in found.items():
            names = (key if n == 1 else f"{key}_{n}" for n in count(1))
            values[next(name for name in names if name not in values)] = float(value)
    return values
