"""Labelled images divided for training and validation, with what is broken left out.

What shows the same thing stays on one side: the same image re-encoded or changed, the pictures of a burst, the frames
of one film, the variants of one file. Which these are is told from the pixels and, where files are numbered, from the
names: neighbours of a series that look more alike than images of the class do in general.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tinysight.concurrency import by_key, thread_count
from tinysight.data.audit.duplicates import Duplicate, find_duplicates, groups
from tinysight.data.audit.inspect import ImageInfo, inspect_all
from tinysight.data.prepare.splits import divide
from tinysight.errors import DataError, Problem
from tinysight.starter.sources import LabelledImages

Tell = Callable[[str], None]
"""Takes what is being done, in words; the empty text when it is over."""

_MOST_NEAR = 50_000  # images up to which pixels are compared, which takes 4 KB for each
_MOST_VAL = 10_000  # images that are enough to validate on
_FRACTION = 0.2
_FEW = 4  # files of one name with other numbers: variants, rather than a class numbered through
_ALIKE = 0.8  # least correlation of neighbours in a series
_SIDE = 16  # pixels, of the thumbnails that are correlated
_MOST_BROKEN = 0.5
_SHOWN = 5


class DividedImages(NamedTuple):
    """Which images are for what.

    Attributes:
        train: places of the training images.
        val: places of the validation images.
        broken: path and reason of each image that is left out because it cannot be read.
        leaked: paths of training images that are left out because they are among the validation images, too.
        conflicts: paths of images that are there under two labels, one of each.
        together: images that stay together with others on one side.
        side: median of the shorter sides, pixels.
    """

    train: list[int]
    val: list[int]
    broken: list[tuple[str, str]]
    leaked: list[str]
    conflicts: list[str]
    together: int
    side: int


def divide_images(images: LabelledImages, tell: Tell = lambda text: None) -> DividedImages:
    """Read every image once, and divide them by class and by what belongs together; the same every time.

    Raises:
        DataError: most images cannot be read, or a class has fewer than two different ones.
    """
    paths, count, threads = images.paths, len(images.paths), thread_count(None)
    read = inspect_all(
        paths, threads, lambda n: tell(f"reading images: {n:,} of {count:,}"),
        thumbs=count <= _MOST_NEAR,
    )  # fmt: skip
    infos = [
        info if _listable(path) else _unlistable() for path, info in zip(paths, read, strict=True)
    ]
    broken = [(str(p), info.problem) for p, info in zip(paths, infos, strict=True) if info.problem]
    if len(broken) > _MOST_BROKEN * count:
        listed = [Problem(*problem) for problem in broken[:_SHOWN]]
        raise DataError.of(
            f"{images.source}: {len(broken)} of {count} images cannot be read", listed
        )
    same = find_duplicates(
        paths, infos, threads=threads, near=count <= _MOST_NEAR,
        progress=lambda n: tell(f"comparing images: {n:,} of {count:,}"),
    )  # fmt: skip
    good = np.array([i for i, info in enumerate(infos) if not info.problem], np.int64)
    series = _series(images, infos, good, same) if images.train is None else []
    sets = groups([*same, *series])
    name = {i: str(s[0]) for s in sets for i in s}
    conflicts = [str(paths[s[0]]) for s in groups(same) if len({*images.ids[s].tolist()}) > 1]
    side = int(np.median([min(infos[i].width, infos[i].height) for i in good]))
    if images.train is not None:
        train, val, leaked = _as_given(images.train, good, sets)
        _check_classes(images, [images.ids[train], images.ids[val]])
    else:
        of_group = [name.get(i, str(i)) for i in good.tolist()]
        ids = images.ids[good]
        kinds = [
            ids[i] for of in by_key((g, i) for i, g in enumerate(of_group)).values() for i in of[:1]
        ]
        _check_classes(images, [np.array(kinds)], 2)
        found = divide(ids.tolist(), of_group, fraction=min(_FRACTION, _MOST_VAL / len(good)))
        train, val, leaked = good[found.train].tolist(), good[found.test].tolist(), []
    return DividedImages(
        train, val, broken, [str(paths[i]) for i in leaked], conflicts, sum(map(len, sets)), side
    )


def _as_given(
    first: int, good: np.ndarray, sets: Sequence[Sequence[int]]
) -> tuple[list[int], list[int], list[int]]:
    """The sides that the source has, without the training images that are validated on, too."""
    leaked = [i for s in sets if s[-1] >= first for i in s if i < first]
    kept = np.setdiff1d(good, leaked)
    return kept[kept < first].tolist(), kept[kept >= first].tolist(), leaked


def _check_classes(images: LabelledImages, sides: Sequence[np.ndarray], least: int = 1) -> None:
    counts = np.min([np.bincount(ids, minlength=len(images.labels)) for ids in sides], axis=0)
    if len(few := np.flatnonzero(counts < least)):
        what = f"{', '.join(images.labels[i] for i in few[:_SHOWN])}: too few different images that can be read"
        hint = "each class needs one to train on and another one to validate on; add some, or remove the class"
        raise DataError(str(images.source), what, hint)


def _listable(path: Path) -> bool:
    """Whether a line of a list file can name it."""
    try:
        text = str(path).encode("utf-8").decode()
    except UnicodeEncodeError:
        return False
    return text == text.strip() and not set(text) & set("\r\n\t\0")


def _unlistable() -> ImageInfo:
    return ImageInfo("its name is no text, or has a line break or tab in it; rename it")


def _series(
    images: LabelledImages, infos: Sequence[ImageInfo], good: np.ndarray, same: Sequence[Duplicate]
) -> list[Duplicate]:
    """Pairs of images of one class that are of one file, film or burst."""
    found = []
    for c in range(len(images.labels)):
        own = good[images.ids[good] == c].tolist()
        keys = {i: _numbered(images.paths[i]) for i in own}
        own.sort(key=lambda i: (keys[i], i))
        thumbs = [_row(infos[i].thumb) for i in own]
        if len(own) < 3:
            continue
        rows, order = np.stack(thumbs), np.random.default_rng(0).permutation(len(own))
        usual = float(np.quantile((rows[order] * rows[np.roll(order, 1)]).sum(axis=1), 0.95))
        stems = by_key((keys[i][0], place) for place, i in enumerate(own))
        pairs = []
        for places in stems.values():
            a, b = np.array(places[:-1], np.int64), np.array(places[1:], np.int64)
            alike = (rows[a] * rows[b]).sum(axis=1) > max(_ALIKE, usual)
            one_file = len(stems) > 1 and (len(places) <= _FEW or alike.mean() > 0.5)
            pairs += [Duplicate(own[i], own[j], "series", 1.0) for i, j in zip(a, b, strict=True)] if one_file else [
                Duplicate(own[i], own[j], "series", 1.0) for i, j in zip(a[alike], b[alike], strict=True)
            ]  # fmt: skip
        if any(len(s) == len(own) for s in groups([*same, *pairs])):
            continue  # one film is the whole class: it could not be divided
        found += pairs
    return found


def _numbered(path: Path) -> tuple[str, int]:
    """The file that an image is of, as its name has it, and its number there."""
    whole = re.sub(
        r"\.rf\.[0-9a-f]{16,}$", "", path.stem
    )  # copies that a labelling service augments
    stem, number = re.fullmatch(r"(.*?)[-_. ]*\(?(\d*)\)?", whole, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{path.parent}/{stem if whole == path.stem else whole}", int(number[-18:] or 0)


def _row(thumb: np.ndarray | None) -> np.ndarray:
    """A thumbnail as a vector of length 1, whose products are correlations; zeros where it shows nothing."""
    if thumb is None:
        return np.zeros(_SIDE * _SIDE, np.float32)
    small = (
        cv2.resize(thumb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel().astype(np.float32)
    )
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > _SIDE else np.zeros_like(small)
