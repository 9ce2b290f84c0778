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
from tinysight.data.rows import unlisted
from tinysight.errors import DataError, Problem
from tinysight.starter.sources import LabelledImages

Tell = Callable[[str], None]
"""Takes what is being done, in words; the empty text when it is over."""

_MOST_NEAR = 50_000  # images up to which pixels are compared, which takes 4 KB for each
_FRACTION = 0.2
_FEW = 4  # files of one name with other numbers: variants, rather than a class numbered through
_ALIKE = 0.8  # least correlation of neighbours in a series
_SIDE = 16  # pixels, of the thumbnails that are correlated
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
    near, words = count <= _MOST_NEAR, f"of {count:,}"
    read, compare = (
        lambda n, w=w: tell(f"{w} images: {n:,} {words}") for w in ("reading", "comparing")
    )
    named = zip(paths, inspect_all(paths, threads, read, thumbs=near), strict=True)
    infos = [ImageInfo(why) if (why := unlisted(str(p))) else info for p, info in named]
    broken = [(str(p), info.problem) for p, info in zip(paths, infos, strict=True) if info.problem]
    if 2 * len(broken) > count:
        what = f"{images.root}: {len(broken)} {words} images cannot be read"
        raise DataError.of(what, [Problem(*problem) for problem in broken[:_SHOWN]])
    same = find_duplicates(paths, infos, threads=threads, near=near, progress=compare)
    good = np.array([i for i, info in enumerate(infos) if not info.problem], np.int64)
    more = _series(images, infos, good, same) if images.train is None else []
    sets = groups([*same, *more])
    group = np.arange(count)
    for members in sets:
        group[members] = members[0]
    if (first := images.train) is not None:
        leaked = [i for s in sets if s[-1] >= first for i in s if i < first]
        kept = np.setdiff1d(good, leaked)
        for places in (train := kept[kept < first], val := kept[kept >= first]):
            _check_classes(images, places, 1)
    else:
        _check_classes(images, np.unique(group[good]), 2)
        names = list(map(str, group[good]))
        found = divide(images.ids[good].tolist(), names, fraction=_FRACTION)
        train, val, leaked = good[found.train], good[found.test], []
    side = int(np.median([min(infos[i].width, infos[i].height) for i in good]))
    conflicts = [str(paths[s[0]]) for s in groups(same) if np.ptp(images.ids[s])]
    away, together = [str(paths[i]) for i in leaked], sum(map(len, sets))
    return DividedImages(train.tolist(), val.tolist(), broken, away, conflicts, together, side)


def _check_classes(images: LabelledImages, places: np.ndarray, least: int) -> None:
    counts = np.bincount(images.ids[places], minlength=len(images.labels))
    if few := [images.labels[i] for i in np.flatnonzero(counts < least)[:_SHOWN]]:
        what = f"{', '.join(few)}: too few different images that can be read"
        hint = "one is needed to train on and another to validate on; add some, or remove the class"
        raise DataError(str(images.root), what, hint)


def _series(
    images: LabelledImages, infos: Sequence[ImageInfo], good: np.ndarray, same: Sequence[Duplicate]
) -> list[Duplicate]:
    """Pairs of images of one class that are of one file, film or burst."""
    found = []
    for c in range(len(images.labels)):
        keys = {i: _numbered(images.paths[i]) for i in good[images.ids[good] == c].tolist()}
        own = sorted(keys, key=lambda i: (keys[i], i))
        rows = np.stack([_row(infos[i].thumb) for i in own]) if len(own) > 2 else np.zeros((0, 1))
        mixed = np.random.default_rng(0).permutation(len(rows))
        products = (rows[mixed] * rows[np.roll(mixed, 1)]).sum(axis=1)
        least = max(_ALIKE, *np.quantile(products, [0.95]).tolist()) if len(rows) else _ALIKE
        stems = by_key((keys[i][0], place) for place, i in enumerate(own[: len(rows)]))
        pairs = []
        for places in map(np.array, stems.values()):
            a, b = places[:-1], places[1:]
            alike = (rows[a] * rows[b]).sum(axis=1) > least
            if len(stems) > 1 and (len(places) <= _FEW or alike.mean() > 0.5):
                alike[:] = True  # one file, or one film
            of = zip(a[alike], b[alike], strict=True)
            pairs += [Duplicate(own[i], own[j], "series", 1.0) for i, j in of]
        if all(len(s) < len(own) for s in groups([*same, *pairs])):  # else nothing could be divided
            found += pairs
    return found


def _numbered(path: Path) -> tuple[str, int]:
    """The file that an image is of, as its name has it, and its number there."""
    stem, copies = re.subn(r"\.rf\.[0-9a-f]{16,}$", "", path.stem)  # as labelling services augment
    number = re.findall(r"(\d{0,18})\)?$", stem)[0]
    name = stem if copies else re.sub(r"[-_. (]*\d*\)?$", "", stem)
    return f"{path.parent}/{name}", int(number or 0)


def _row(thumb: np.ndarray | None) -> np.ndarray:
    """A thumbnail as a vector of length 1, whose products are correlations; zeros where it shows nothing."""
    blank = np.zeros((_SIDE, _SIDE), np.uint8)
    small = cv2.resize(blank if thumb is None else thumb, blank.shape, interpolation=cv2.INTER_AREA)
    row = small.ravel() - small.mean(dtype=np.float32)
    length = float(np.linalg.norm(row))
    return row / length if length > _SIDE else np.zeros_like(row)
