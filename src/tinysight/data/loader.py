"""Training batches as a function of the step alone.

Everything random follows from (seed, epoch, index): the order of an epoch, and what the transforms
do to a picture. So the batches are the same whatever the number of loader processes, and a run goes
on from any step without reading what came before it.
"""

from __future__ import annotations

import math
import multiprocessing
import shutil
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tinysight.data.lists import SampleList
from tinysight.data.read import read_sample
from tinysight.errors import DataError, ImageError, Problem, TinysightError
from tinysight.transforms import Compose, to_batch

_ORDER, _PIXELS = (
    1,
    2,
)  # streams of randomness; a seed sequence ignores trailing zeros, so these come first
_SHARED = Path("/dev/shm")  # where PyTorch hands batches over on Linux
_IN_FLIGHT = 3  # batches per process that may lie there: two read ahead, one in use


class Batch(NamedTuple):
    """The pictures of one training step.

    `images` (N, 3, H, W) float32 and `targets` (N,) int64; N may be 0. `unreadable` holds (index in
    the list, reason). `failure` is set when something other than a picture is wrong.
    """

    images: torch.Tensor
    targets: torch.Tensor
    unreadable: tuple[tuple[int, str], ...]
    failure: Problem | None = None


class _Piped(NamedTuple):
    """A batch as it goes through a pipe."""

    images: np.ndarray
    targets: np.ndarray
    unreadable: tuple[tuple[int, str], ...]
    failure: Problem | None


class TrainingSteps(Dataset[Batch]):
    """Batch `step` of a run, from 0 to epochs * steps_per_epoch - 1.

    Each epoch takes every picture once, in an order of its own. The last batch of an epoch may be
    smaller than the others; if it would hold a single picture, which batch normalisation cannot
    learn from, that picture joins the batch before. An unreadable picture is left out of its batch.
    """

    def __init__(
        self, samples: SampleList, transforms: Compose, batch_size: int, epochs: int, seed: int
    ) -> None:
        self.samples = samples
        self.transforms = transforms
        self.batch_size = batch_size
        self.seed = seed
        full, rest = divmod(len(samples), batch_size)
        self.steps_per_epoch = full + (rest > 1 or not full)
        self.epochs = epochs

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch

    def indices(self, step: int) -> np.ndarray:
        """Places in the list of the pictures of one step."""
        epoch, k = divmod(step, self.steps_per_epoch)
        last = k == self.steps_per_epoch - 1
        start = k * self.batch_size
        order = _shuffled(len(self.samples), self.seed, epoch)
        return order[start : None if last else start + self.batch_size]

    def __getitem__(self, step: int) -> Batch:
        epoch = step // self.steps_per_epoch
        images, targets, unreadable = [], [], []
        try:
            for index in map(int, self.indices(step)):
                rng = np.random.default_rng((_PIXELS, self.seed, epoch, index))
                try:
                    image, label = read_sample(self.samples[index], self.transforms, rng)
                except ImageError as error:
                    unreadable.append((index, error.problems[0].what))
                    continue
                images.append(image)
                targets.append(label)
            pixels = torch.from_numpy(to_batch(images)) if images else torch.empty(0)
        except TinysightError as error:  # not a picture's fault; raised anew by the main process
            return Batch(torch.empty(0), torch.empty(0), (), error.problems[0])
        return Batch(pixels, torch.tensor(targets, dtype=torch.int64), tuple(unreadable))


def batches(dataset: TrainingSteps, start: int, workers: int, pin: bool = False) -> Iterator[Batch]:
    """The batches from step `start` to the end, read ahead by `workers` processes (0: none).

    Raises:
        DataError: something other than a picture is wrong, or a loader process was killed.
    """
    steps = range(start, len(dataset))
    if not steps:
        return
    by_memory = workers == 0 or _fits_shared_memory(dataset, workers)
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_size=None,  # an item is a batch
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_it_is if by_memory else _through_pipe,
        worker_init_fn=_start_worker,
        multiprocessing_context=_context() if workers else None,
        pin_memory=pin,
        generator=torch.Generator(),  # of its own: it would draw from the global one
    )
    with warnings.catch_warnings():
        # Python 3.12 warns of forks in a process with threads. A loader process starts no thread
        # pool: PyTorch gives it one thread, `_start_worker` does the same to OpenCV.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        iterator = iter(loader)
    try:
        for item in iterator:
            batch = item if by_memory else _from_pipe(item)
            if batch.failure:
                raise DataError(*batch.failure)
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        what = f"a loader process was killed: {str(error).splitlines()[0]}"
        raise DataError(
            "data.workers", what, "out of memory? lower it or data.batch_size"
        ) from None


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(count)."""
    order = np.arange(count, dtype=np.int32)
    np.random.default_rng((_ORDER, seed, epoch)).shuffle(order)
    return order


def _context() -> str:
    """Fork where it exists: it shares the list of pictures and starts at once."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)


def _fits_shared_memory(dataset: TrainingSteps, workers: int) -> bool:
    """Whether batches can lie in shared memory: containers often have 64 MB, then a bus error."""
    if not _SHARED.is_dir():
        return True
    one = (dataset.batch_size + 1) * math.prod(dataset.transforms.output_shape()) * 4
    return shutil.disk_usage(_SHARED).free > workers * _IN_FLIGHT * one


def _as_it_is(batch: Any) -> Any:
    return batch


def _through_pipe(batch: Any) -> _Piped:
    return _Piped(batch.images.numpy(), batch.targets.numpy(), batch.unreadable, batch.failure)


def _from_pipe(item: _Piped) -> Batch:
    images, targets = torch.from_numpy(item.images), torch.from_numpy(item.targets)
    return Batch(images, targets, item.unreadable, item.failure)
