"""A predict callable and labelled images in, numbers out; one code for checkpoint and bundle.

What is measured is what is shipped: the transforms are those of the bundle, the callable takes the
batch that a bundle takes. An unreadable image is left out and reported, never replaced.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from tinysight.data.lists import Sample
from tinysight.data.read import read_sample
from tinysight.errors import ConfigError, DataError, ImageError
from tinysight.metrics import confusion_matrix
from tinysight.registry import metrics as metric_registry
from tinysight.transforms import Compose, to_batch
from tinysight.transforms.base import Label

Predict = Callable[[np.ndarray], np.ndarray]  # (N, C, H, W) float32 -> (N, K) probabilities


@dataclass(frozen=True)
class Evaluation:
    """What a network answered for a list of labelled images, and how good that is.

    Attributes:
        scores: probabilities, (N, K) float32, in the order of the list.
        labels: class ids, (N,) int64; of several labels at once (N, K) int64 of 0 and 1, below 0
            where it is not known.
        paths: of the N images that were read.
        metrics: each value under its name.
        unreadable: (path, reason) of each image that was left out.
        seconds: wall-clock time of the whole.
    """

    scores: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]
    metrics: dict[str, float]
    unreadable: tuple[tuple[str, str], ...]
    seconds: float

    def confusion(self) -> np.ndarray:
        """Counts (K, K): row = label, column = class with the highest score; for class ids only."""
        return confusion_matrix(self.labels, self.scores.argmax(axis=1), self.scores.shape[1])


def evaluate(
    predict: Predict,
    samples: Sequence[Sample],
    transforms: Compose,
    metrics: Sequence[Mapping[str, Any]],
    *,
    batch_size: int,
    labels: Sequence[str],
    threads: int | None = None,
) -> Evaluation:
    """Predict every image of `samples` and compute the metrics.

    Args:
        predict: (N, C, H, W) float32 to (N, K) probabilities; called in this thread.
        samples: labelled images.
        transforms: from a decoded image to one input. Random ones are seeded by the image's
            index, so the result is the same every time.
        metrics: specs, as in a recipe.
        batch_size: images per call of `predict`; the last call may have fewer.
        labels: label names, K of them.
        threads: that read images meanwhile. Default: the number of processors, at most 4.

    Raises:
        DataError: no image could be read.
        ConfigError: `predict` answers another number of classes, or a metric cannot be computed.
    """
    started = time.perf_counter()

    def checked(images: np.ndarray) -> np.ndarray:
        return _checked(predict(images), len(images), labels)

    found = answers(checked, samples, transforms, batch_size, threads)
    unreadable = tuple((str(samples[i].path), reason) for i, reason in found.unreadable)
    if not len(found.outputs):
        raise _nothing_read(samples, unreadable)
    values = compute_metrics(metrics, found.outputs, found.labels)
    seconds = time.perf_counter() - started
    return Evaluation(found.outputs, found.labels, found.paths, values, unreadable, seconds)


class Answers(NamedTuple):
    """What a network answers for images, in their order.

    `outputs` (N, ...), `labels` and `paths` are of the images that were read, as in `Evaluation`; `unreadable` has
    (place, reason) of the others.
    """

    outputs: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]
    unreadable: tuple[tuple[int, str], ...]


def answers(
    predict: Predict,
    samples: Sequence[Sample],
    transforms: Compose,
    batch_size: int,
    threads: int | None = None,
) -> Answers:
    """Call `predict`, of any output (N, ...), for every image; the arguments are those of `evaluate`."""
    outputs: list[np.ndarray] = []
    labels: list[Label] = []
    paths: list[str] = []
    unreadable: list[tuple[int, str]] = []
    images: list[np.ndarray] = []
    for i, (image, label) in enumerate(_read_ahead(samples, transforms, batch_size, threads)):
        if isinstance(image, ImageError):
            unreadable.append((i, image.problems[0].what))
            continue
        images.append(image)
        labels.append(label)
        paths.append(str(samples[i].path))
        if len(images) == batch_size:
            outputs.append(predict(to_batch(images)))
            images = []
    if images:
        outputs.append(predict(to_batch(images)))
    found = np.concatenate(outputs) if outputs else np.empty((0, 0), np.float32)
    return Answers(found, np.array(labels, np.int64), tuple(paths), tuple(unreadable))


def compute_metrics(
    specs: Sequence[Mapping[str, Any]], scores: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """The values of all metrics, in the order of the specs.

    A name that two metrics give (`tpr_at_fpr` at two rates) is numbered from the second on: `tpr`,
    `tpr_2`.

    Args:
        specs: `{name: ..., key: value}`, as in a recipe.
        scores: probabilities, (N, K).
        labels: class ids (N,), or 0 and 1 (N, K).

    Raises:
        ConfigError: a metric is unknown, or cannot be computed from these labels.
    """
    values: dict[str, float] = {}
    for i, spec in enumerate(specs):
        found = metric_registry.build(spec, f"metrics.{i}", scores=scores, labels=labels)
        for key, value in found.items():
            name, n = key, 1
            while name in values:
                n += 1
                name = f"{key}_{n}"
            values[name] = float(value)
    return values


def _read_ahead(
    samples: Sequence[Sample], transforms: Compose, batch_size: int, threads: int | None
) -> Iterator[tuple[np.ndarray | ImageError, Label]]:
    """The images in order, each with its label, or what is wrong in its place, read two batches ahead."""
    workers = threads or min(4, os.cpu_count() or 1)
    pending: deque[Future[tuple[np.ndarray | ImageError, Label]]] = deque()
    with _one_opencv_thread(), ThreadPoolExecutor(workers, "tinysight-read") as pool:
        try:
            for i in range(len(samples)):
                pending.append(pool.submit(_read, samples, transforms, i))
                if len(pending) >= 2 * batch_size:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _read(
    samples: Sequence[Sample], transforms: Compose, i: int
) -> tuple[np.ndarray | ImageError, Label]:
    sample = samples[i]
    rng = np.random.default_rng((0, i)) if transforms.random else None
    try:
        return read_sample(sample, transforms, rng)
    except ImageError as error:
        return error, sample.label


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Each reading thread works alone: OpenCV's own threads inside them only get in the way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _checked(scores: np.ndarray, rows: int, labels: Sequence[str]) -> np.ndarray:
    if scores.shape != (rows, len(labels)):
        raise ConfigError(
            "data.labels",
            f"{len(labels)} labels, but the model answers {scores.shape} for {rows} images",
            "use the labels the model was trained with",
        )
    return scores


def _nothing_read(samples: Sequence[Sample], unreadable: Sequence[tuple[str, str]]) -> DataError:
    if not unreadable:
        return DataError("evaluation", "there are no images to evaluate")
    path, reason = unreadable[0]
    what = f"none of the {len(samples)} images could be read; the first: {reason}"
    return DataError(path, what, "is data.root right?")
