"""Training batches as a function of their number alone.

Everything random follows from (seed, epoch, index): the order of an epoch, and what the transforms
do to an image. So the batches are the same whatever the number of loader processes, and a run goes
on from any batch without reading what came before it.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import warnings
from collections.abc import Generator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tinysight.data.lists import SampleList
from tinysight.data.mix import BatchTransform, apply_one
from tinysight.data.samplers import Sampler, Shuffle
from tinysight.data.samples import read_sample, stacked_labels
from tinysight.errors import ConfigError, DataError, ImageError, Problem, TinysightError
from tinysight.transforms import Compose, to_batch

# Streams of randomness; a seed sequence ignores trailing zeros, so these come first.
_ORDER, _PIXELS, _MIX, _SHARED_DRAWS = 1, 2, 5, 6
_SHARED = Path("/dev/shm")  # where PyTorch hands batches over on Linux
_IN_FLIGHT = 3  # batches per process that may lie there: two read ahead, one in use


class Batch(NamedTuple):
    """The images of one forward and backward pass.

    `images` (N, 3, H, W) float32; `targets` (N,) int64, (N, K) float32, or boxes (N, G, 5) float32, rows of class id
    (-1: no box) and x1, y1, x2, y2 in pixels of `images`; N may be 0. `unreadable` holds
    (index in the list, reason). `failure` is set when something other than an image is wrong.
    `places`, of a run with a number of views: image (its index in the list) and view, (N, 2) int64; -1 for an
    image that comes twice in an epoch, and then looks different.
    """

    images: Tensor
    targets: Tensor
    unreadable: tuple[tuple[int, str], ...]
    failure: Problem | None = None
    places: Tensor | None = None


class Share(NamedTuple):
    """The part of every batch that is for one of several training processes."""

    rank: int = 0
    world: int = 1

    def of(self, places: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Neighbours in the batch. A part has two images at least, which batch normalisation needs, or none.

        Args:
            places: of the images of the batch, (N,).
            labels: their labels (N,), where neighbours with the same one stay together; a part then has two labels at
                least, or none.
        """
        cuts = np.arange(1, len(places)) if labels is None else np.flatnonzero(np.diff(labels)) + 1
        units = np.split(places, cuts)
        parts = max(1, min(self.world, len(units) // 2))
        if self.rank >= parts:
            return places[:0]
        own = np.array_split(np.arange(len(units)), parts)[self.rank]
        return np.concatenate([units[i] for i in own])


@dataclass(eq=False)
class TrainingBatches(Dataset[Batch]):
    """Batch `number` of a run, from 0 to epochs * per_epoch - 1.

    The sampler divides an epoch into batches. An unreadable image is left out of its batch.

    Args:
        samples: the training images.
        transforms: from each decoded image to an input of the network.
        batch_size: images in a batch of all processes together.
        epochs: number of epochs of the run.
        seed: what everything random follows from.
        sampler: divides an epoch into batches; default: each image once, shuffled.
        mix: batch transforms, at most one of which is applied to a batch.
        num_classes: number of classes K, for `mix`.
        share: the part of every batch that this process takes.
        channels_last: lay the images out channels last in the loader process, which saves the step the work.
        views: what is random in an image comes again after so many epochs; None: never.
        drop_last: leave out what is left of an epoch behind its full batches.
    """

    samples: SampleList
    transforms: Compose
    batch_size: int
    epochs: int
    seed: int
    _: KW_ONLY
    sampler: Sampler = Shuffle()
    mix: Sequence[BatchTransform] = ()
    num_classes: int = 0
    share: Share = Share()
    channels_last: bool = False
    views: int | None = None
    drop_last: bool = False
    _cached: tuple[int, list[np.ndarray], list[np.ndarray]] | None = field(default=None, init=False)

    def __len__(self) -> int:
        return self.epochs * self.per_epoch

    @cached_property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return len(self._epoch(0)[0])

    @cached_property
    def _sizes(self) -> list[tuple[int, int]] | None:
        return self.sampler.image_sizes(len(self.samples), self.batch_size)

    @cached_property
    def _sized(self) -> dict[tuple[int, int], Compose]:
        return {size: self.transforms.with_size(size) for size in sorted(set(self._sizes or ()))}

    def indices(self, number: int) -> np.ndarray:
        """Places in the list of the images of one batch, of all processes together."""
        epoch, k = divmod(number, self.per_epoch)
        return self._epoch(epoch)[0][k]

    def __getitem__(self, number: int) -> Batch:
        epoch, k = divmod(number, self.per_epoch)
        indices, repeats = (part[k] for part in self._epoch(epoch))
        labels = self.samples.labels[indices] if self.sampler.whole_identities else None
        transforms = self._sized[self._sizes[k]] if self._sizes else self.transforms
        images, targets, unreadable, places = [], [], [], []
        view = epoch % self.views if self.views else epoch
        shared = (_SHARED_DRAWS, self.seed, number, self.share.rank)
        try:
            for place in self.share.of(np.arange(len(indices)), labels):
                index, repeat = int(indices[place]), int(repeats[place])
                rng = np.random.default_rng((_PIXELS, self.seed, view, index, repeat))
                try:
                    image, label = read_sample(self.samples[index], transforms, rng, shared)
                except ImageError as error:
                    unreadable.append((index, error.problems[0].what))
                    continue
                images.append(image)
                targets.append(label)
                places.append((-1 if repeat else index, view))
            if not images:
                return Batch(torch.empty(0), torch.empty(0), tuple(unreadable))
            pixels, truth = self._mixed(number, torch.from_numpy(to_batch(images)), targets)
        except TinysightError as error:  # not an image's fault; raised anew by the main process
            return Batch(torch.empty(0), torch.empty(0), (), error.problems[0])
        seen = torch.tensor(places) if self.views else None
        return Batch(pixels, truth, tuple(unreadable), places=seen)

    def _mixed(self, number: int, images: Tensor, labels: Sequence[Any]) -> tuple[Tensor, Tensor]:
        targets = torch.from_numpy(stacked_labels(labels))
        rng = np.random.default_rng((_MIX, self.seed, number, self.share.rank))
        images, targets = apply_one(self.mix, images, targets, rng, self.num_classes)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=layout), targets

    def _epoch(self, epoch: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The batches of an epoch; and how often each image came before its place, so that it looks different then."""
        if self._cached is None or self._cached[0] != epoch:
            rng = np.random.default_rng((_ORDER, self.seed, epoch))
            parts = self.sampler.batches(self.samples.labels, self.batch_size, rng)
            if self.drop_last and (full := self.sampler.full(self.batch_size)):
                parts = [part[:full] for part in parts if len(part) >= full]
                if not parts:
                    what = f"{len(self.samples)} images make no full batch of {full}"
                    raise ConfigError("data.drop_last", what, "lower data.batch_size")
            order = np.concatenate(parts).astype(np.int32)
            ends = np.cumsum([len(part) for part in parts])[:-1]
            self._cached = (epoch, np.split(order, ends), np.split(_repeats(order), ends))
        return self._cached[1:]


def batches(
    data: TrainingBatches, start: int, workers: int, pin: bool = False
) -> Generator[Batch, None, None]:
    """The batches from number `start` to the end, read ahead by `workers` processes (0: none).

    Raises:
        DataError: something other than an image is wrong, or a loader process was killed.
    """
    if not (numbers := range(start, len(data))):
        return
    by_memory = workers == 0 or _fits_shared_memory(data, workers)
    # Forks share the list of images and start at once.
    context = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with warnings.catch_warnings():
        # More processes than processors are the user's choice: they hide a slow disk.
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        # Python 3.12 warns of forks in a process with threads. A loader process starts no thread
        # pool: PyTorch gives it one thread, `_start_worker` does the same to OpenCV.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        loader: DataLoader[Any] = DataLoader(
            data,
            batch_size=None,  # an item is a batch
            sampler=numbers,
            num_workers=workers,
            collate_fn=_as_it_is if by_memory else _through_pipe,
            worker_init_fn=partial(_start_worker, os.getpid()),
            multiprocessing_context=context if workers else None,
            pin_memory=pin,
            generator=torch.Generator(),  # of its own: it would draw from the global one
        )
        iterator = iter(loader)
    try:
        for batch in iterator:
            if not by_memory:
                pixels, targets = torch.from_numpy(batch.images), torch.from_numpy(batch.targets)
                places = batch.places if batch.places is None else torch.from_numpy(batch.places)
                batch = batch._replace(images=pixels, targets=targets, places=places)
            if batch.failure:
                raise DataError(*batch.failure)
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        what = f"a loader process was killed: {str(error).splitlines()[0]}"
        hint = "out of memory? lower it or data.batch_size"
        raise DataError("data.workers", what, hint) from None


def _repeats(order: np.ndarray) -> np.ndarray:
    """How often `order[i]` is among `order[:i]`, (N,)."""
    by_value = np.argsort(order, kind="stable")
    values = order[by_value]
    first = np.searchsorted(values, values, side="left")
    found = np.empty_like(by_value)
    found[by_value] = np.arange(len(order)) - first
    return found


def _start_worker(main: int, _: int) -> None:
    """Begin a loader process of process `main`.

    PyTorch's loop ends when the parent is another process than at its start. A run that was killed before
    that left processes that never ended: they took the one that had adopted them for their parent.
    """
    if os.getppid() != main:
        os._exit(1)
    cv2.setNumThreads(0)


def _fits_shared_memory(dataset: TrainingBatches, workers: int) -> bool:
    """Whether batches can lie in shared memory: containers often have 64 MB, then a bus error."""
    if not _SHARED.is_dir():
        return True
    try:
        one = (dataset.batch_size + 1) * math.prod(dataset.transforms.output_shape()) * 4
    except ConfigError:  # it depends on the images
        return False
    return shutil.disk_usage(_SHARED).free > workers * _IN_FLIGHT * one


def _as_it_is(batch: Any) -> Any:
    return batch


def _through_pipe(batch: Any) -> Any:
    """A batch whose arrays go through a pipe byte by byte."""
    arrays = {k: v.numpy() for k, v in batch._asdict().items() if isinstance(v, Tensor)}
    return batch._replace(**arrays)
