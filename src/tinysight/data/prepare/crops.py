"""Crops the boxes of photographs."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tinysight.concurrency import ordered_map
from tinysight.data.prepare.annotations import Box, Photograph
from tinysight.errors import ImageError, Problem
from tinysight.files import write_atomic
from tinysight.transforms import decode

_AHEAD = 8  # photographs in memory for each thread


class Crop(NamedTuple):
    """An image that was made: its path below the folder, its class id, its photograph's path."""

    path: str
    label: int
    photograph: Path


class Cut(NamedTuple):
    """Everything that was made of some photographs, and what was not and why."""

    crops: list[Crop]
    problems: list[Problem]
    skipped: Counter[str]


def enlarged(box: Box, scale: float, width: int, height: int) -> tuple[int, int, int, int]:
    """The box scaled about its centre and clipped to an image: x0, y0, x1, y1 in whole pixels.

    Args:
        box: edges, pixels.
        scale: factor of width and height; 3 makes nine times the area.
        width: width of the image, pixels.
        height: height of the image, pixels.
    """

    def edges(low: float, high: float, limit: int) -> list[int]:
        middle, half = (low + high) / 2, (high - low) * scale / 2
        return [min(max(math.floor(e + 0.5), 0), limit) for e in (middle - half, middle + half)]

    (x0, x1), (y0, y1) = edges(box.x0, box.x1, width), edges(box.y0, box.y1, height)
    return x0, y0, x1, y1


def cut(
    photographs: Sequence[Photograph],
    images: Path,
    folder: Path,
    classes: Mapping[str, int],
    scale: float,
    min_size: int,
    *,
    threads: int,
) -> Cut:
    """Write a crop for every box that counts below `folder`/images; one that is there is kept.

    Args:
        photographs: photographs with their boxes.
        images: folder of the photographs, from which a crop's name is made: `a/b.jpg` gives `a_b_1.jpg`.
        folder: data set, in which the folder `images` is made.
        classes: class id of each name that counts; boxes of other names are skipped.
        scale: factor of the boxes' sides, about their centres.
        min_size: least shorter side of a crop, pixels; smaller ones are skipped.
        threads: number of threads that decode and write, >= 1.
    """
    done = Cut([], [], Counter())

    def one(job: tuple[Photograph, str]) -> Cut:
        return _cut_one(*job, folder, classes, scale, min_size)

    jobs = zip(photographs, _names(photographs, images), strict=True)
    for made in ordered_map(one, jobs, threads, threads * _AHEAD):
        done.crops.extend(made.crops)
        done.problems.extend(made.problems)
        done.skipped.update(made.skipped)
    return done


def _cut_one(
    photo: Photograph, name: str, folder: Path, classes: Mapping[str, int], scale: float, least: int
) -> Cut:
    made = Cut([], [], Counter())
    counted = [box for box in photo.boxes if box.name in classes]
    if others := len(photo.boxes) - len(counted):
        made.skipped["of another class"] += others
    if not counted:
        return made
    where = str(photo.path)
    try:
        image = decode(photo.path)
    except ImageError as error:
        made.problems.append(error.problems[0])
        return made
    height, width = image.shape[:2]
    if photo.size[0] > 0 and photo.size != (width, height):
        given = "{} x {}".format(*photo.size)
        what = f"the annotation says {given} pixels, the image has {width} x {height}"
        made.problems.append(Problem(where, what, "is it turned by its EXIF orientation?"))
        return made
    for n, box in enumerate(counted, 1):
        valid = all(map(math.isfinite, box[1:5])) and box.x0 < box.x1 and box.y0 < box.y1
        x0, y0, x1, y1 = enlarged(box, scale, width, height) if valid else (0, 0, 0, 0)
        shares = valid and max(box.x1, box.y1) <= 1
        if x1 <= x0 or y1 <= y0 or shares:
            edges = ", ".join(f"{e:g}" for e in box[1:5])
            what = "lies in the first pixel: shares of the image?" if shares else "holds nothing"
            made.problems.append(Problem(where, f"the box {edges} of {box.name} {what}"))
            continue
        if min(x1 - x0, y1 - y0) < least:
            made.skipped["too small"] += 1
            continue
        path = f"images/{name}_{n}.jpg"
        if not (folder / path).is_file():
            bgr = np.ascontiguousarray(image[y0:y1, x0:x1, ::-1])
            _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
            write_atomic(folder / path, bytes(data))
        made.crops.append(Crop(path, classes[box.name], photo.path))
    return made


def _names(photographs: Sequence[Photograph], images: Path) -> list[str]:
    """A name for each photograph's crops; no two are the same, also where case does not count."""
    names: dict[str, str] = {}  # by what is compared
    for path in (photograph.path for photograph in photographs):
        below = path.relative_to(images) if path.is_relative_to(images) else Path(path.name)
        name = re.sub(r'[\\/:*?"<>|\s]+', "_", str(below.with_suffix(""))).strip("._") or "picture"
        tries = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
        unique = next(t for t in tries if t.casefold() not in names)
        names[unique.casefold()] = unique
    return list(names.values())
