from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.tiny import make_images
from tinysight.data.lists import SampleList, read_list
from tinysight.data.loader import Share, TrainingBatches, _start_worker, batches
from tinysight.data.samplers import MultiScale, PerIdentity, Shuffle, Weighted, WithUnlabelled
from tinysight.errors import ConfigError
from tinysight.transforms import Compose

SPECS = ({"name": "random_crop", "size": 32}, {"name": "random_flip"}, {"name": "normalize"})


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleList:
    root = make_images(tmp_path_factory.mktemp("pictures"))
    return read_list(root / "train.txt", root, 2)


def dataset(samples: SampleList, **options: Any) -> TrainingBatches:
    return TrainingBatches(samples, Compose.from_specs(SPECS), 4, 2, 0, **options)


def test_an_epoch_has_every_image_once_and_no_batch_of_one(samples: SampleList) -> None:
    found = dataset(samples)
    assert (found.per_epoch, len(found)) == (5, 10)
    sizes = [len(found.indices(i)) for i in range(5)]
    assert sizes == [4, 4, 4, 4, 5]
    epochs = [np.concatenate([found.indices(e * 5 + i) for i in range(5)]) for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(21))
    assert list(epochs[0]) != list(epochs[1])


def test_what_is_left_of_an_epoch_may_be_left_out(samples: SampleList) -> None:
    found = dataset(samples, drop_last=True)
    assert (found.per_epoch, len(found)) == (5, 10)
    assert [len(found.indices(i)) for i in range(10)] == [4] * 10
    few = TrainingBatches(samples, Compose.from_specs(SPECS), 22, 2, 0, drop_last=True)
    with pytest.raises(ConfigError, match="21 images make no full batch of 22"):
        len(few)


def test_batches_of_identities_are_no_remainder(samples: SampleList) -> None:
    """Which of them are short changes from epoch to epoch; their number may not."""
    few = samples.with_labels(np.repeat(np.arange(7, dtype=np.int32), 3))
    found = dataset(few, drop_last=True, sampler=PerIdentity(2))
    kept = dataset(few, sampler=PerIdentity(2))
    assert [list(found.indices(i)) for i in range(len(kept))] == [
        list(kept.indices(i)) for i in range(len(kept))
    ]


@pytest.mark.parametrize(("ratio", "size"), [(0.05, 8), (1.5, 7), (2.0, 9), (3.0, 8)])
def test_full_batches_with_unlabelled_images(samples: SampleList, ratio: float, size: int) -> None:
    some = samples.with_labels(np.where(np.arange(21) < 11, 0, -1).astype(np.int32))
    sampler = WithUnlabelled(Shuffle(), ratio)
    found = TrainingBatches(
        some, Compose.from_specs(SPECS), 8, 3, 0, sampler=sampler, drop_last=True
    )
    own = round(8 / (1 + ratio))
    assert found.per_epoch == 11 // own
    assert {len(found.indices(i)) for i in range(len(found))} == {size}
    for i in range(len(found)) if ratio >= 1 else ():  # of two processes each has some of both
        parts = [Share(r, 2).of(found.indices(i)) for r in range(2)]
        assert all({0, -1} == set(some.labels[part].tolist()) for part in parts)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_has_images_of_one_size(samples: SampleList, workers: int) -> None:
    crop = Compose.from_specs([{"name": "random_resized_crop", "size": 48}])
    found = TrainingBatches(samples, crop, 4, 2, 0, sampler=MultiScale((32, (32, 64), 70)))
    shapes = [tuple(b.images.shape[2:]) for b in batches(found, 0, workers)]
    assert len(shapes) == len(found)
    assert set(shapes) == {(32, 32), (64, 32), (64, 64)}  # height first
    assert shapes[: found.per_epoch] == shapes[found.per_epoch :]
    plain = TrainingBatches(
        samples,
        Compose.from_specs([{"name": "resize", "size": 32}]),
        4,
        1,
        0,
        sampler=MultiScale((32,)),
    )
    with pytest.raises(ConfigError, match="no random crop"):
        plain[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_where_one_begins(samples: SampleList, workers: int) -> None:
    whole = list(batches(dataset(samples), 0, 0))
    rest = list(batches(dataset(samples), 3, workers))
    for a, b in zip(whole[3:], rest, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)


@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_all_processes_are_the_batch(samples: SampleList, world: int) -> None:
    whole = dataset(samples)
    parts = [dataset(samples, share=Share(rank, world)) for rank in range(world)]
    for i in (0, 4, 9):
        found = [part[i] for part in parts]
        images = torch.cat([b.images for b in found if len(b.targets)])
        assert torch.equal(images, whole[i].images)
        assert torch.equal(torch.cat([b.targets for b in found]).long(), whole[i].targets)


@given(st.integers(0, 40), st.integers(1, 6))
def test_a_share_is_two_images_at_least_or_none(count: int, world: int) -> None:
    parts = [Share(rank, world).of(np.arange(count)) for rank in range(world)]
    assert np.concatenate(parts).tolist() == list(range(count))
    sizes = [len(part) for part in parts if len(part)]
    assert count < 2 or (min(sizes) >= 2 and max(sizes) - min(sizes) <= 1)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_do_not_divide_an_identity(samples: SampleList, world: int) -> None:
    some = samples.with_labels((np.arange(21) // 3).astype(np.int32))  # 7 identities of 3
    parts = [
        TrainingBatches(
            some, Compose.from_specs(SPECS), 12, 2, 0,
            sampler=PerIdentity(2), share=Share(rank, world),
        )
        for rank in range(world)
    ]  # fmt: skip
    assert parts[0].per_epoch == 1  # six of the seven
    for number in (0, 1):
        found = [part[number].targets.tolist() for part in parts]
        assert sum(found, []) == some.labels[parts[0].indices(number)].tolist()
        assert [len(set(targets)) for targets in found] == [6 // world] * world
    assert not np.array_equal(parts[0].indices(0), parts[0].indices(1))


def test_an_image_that_comes_again_in_an_epoch_looks_different(samples: SampleList) -> None:
    weights = (1.0, 0.0)
    one = samples.with_labels(np.array([0] + [1] * 20, np.int32))  # so that only the first is drawn
    found = dataset(one, sampler=Weighted(weights))
    assert set(found.indices(0)) == {0}
    images = torch.cat([found[i].images for i in range(3)])
    assert len({image.numpy().tobytes() for image in images}) > 6


@dataclass(frozen=True)
class Halve:
    """A batch transform: halves the images, and makes targets distributions."""

    p: float = 1.0

    def __call__(self, images: Any, targets: Any, rng: Any, num_classes: int) -> Any:
        return images / 2, torch.nn.functional.one_hot(targets, num_classes).float()


def test_batch_transforms_are_applied_to_the_batch(samples: SampleList) -> None:
    plain, mixed = dataset(samples)[0], dataset(samples, mix=[Halve()], num_classes=2)[0]
    assert torch.equal(mixed.images, plain.images / 2)
    assert torch.equal(mixed.targets.argmax(1), plain.targets)
    assert mixed.targets.dtype == torch.float32


@pytest.mark.parametrize("workers", [0, 1])
def test_images_lie_as_the_step_wants_them(samples: SampleList, workers: int) -> None:
    plain = next(batches(dataset(samples), 0, 0)).images
    found = next(batches(dataset(samples, channels_last=True), 0, workers)).images
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()
    assert torch.equal(found, plain)


def test_an_unreadable_image_is_left_out(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pictures", train=4)
    (root / "train_2.png").unlink()
    found = dataset(read_list(root / "train.txt", root, 2))[0]
    assert len(found.images) == len(found.targets) == 3
    assert [index for index, _ in found.unreadable] == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="loader processes are forked")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_loader_process_whose_run_is_gone_ends() -> None:
    """The run was killed before PyTorch's loop began to watch for that."""
    context = multiprocessing.get_context("fork")
    for main, code in ((os.getpid(), 0), (0, 1)):
        worker = context.Process(target=_start_worker, args=(main, 0))
        worker.start()
        worker.join(30)
        assert worker.exitcode == code
