"""What the boxes of photographs show, each as an image of its own."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from tinysight.data.prepare.annotations import Box, Photograph
from tinysight.errors import DataError, ImageError, Problem
from tinysight.files import write_atomic
from tinysight.transforms import decode

_AHEAD = 8  # photographs in memory for each thread


class Crop(NamedTuple):
    """An image that was made: its path below the folder, its class id, and where it came from."""

    path: str
    label: int
    photograph: str


class Cut(NamedTuple):
    """Everything that was made of some photographs, and what was not."""

    crops: list[Crop]
    problems: list[Problem]
    skipped: Counter[str]


def enlarged(box: Box, scale: float, width: int, height: int) -> tuple[int, int, int, int]:
    """The box scaled about its centre and clipped to an image: x0, y0, x1, y1 in whole pixels.

    Args:
        box: in pixels.
        scale: of width and height; 3 makes nine times the area.
        width: of the image.
        height: of the image.
    """
    edges = []
    for low, high, limit in ((box.x0, box.x1, width), (box.y0, box.y1, height)):
        middle, half = (low + high) / 2, (high - low) * scale / 2
        edges.append(
            [min(max(math.floor(e + 0.5), 0), limit) for e in (middle - half, middle + half)]
        )
    (x0, x1), (y0, y1) = edges
    return x0, y0, x1, y1


def cut(
    photographs: Sequence[Photograph],
    images: Path,
    folder: Path,
    classes: Mapping[str, int],
    *,
    scale: float = 1.0,
    min_size: int = 1,
    threads: int = 2,
) -> Cut:
    """Write a crop for every box that counts below `folder`/images; one that is there is kept.

    Args:
        photographs: with their boxes.
        images: their folder, from which a crop's name is made: `a/b.jpg` gives `a_b_1.jpg`.
        folder: where `images` is made.
        classes: class id of each name that counts; boxes of other names are skipped.
        scale: of the boxes, about their centres.
        min_size: of a crop's shorter side, in pixels; smaller ones are skipped.
        threads: that decode and write.
    """
    done = Cut([], [], Counter())
    names = _names(photographs, images)

    def one(job: tuple[Photograph, str]) -> Cut:
        return _cut_one(job[0], job[1], folder, classes, scale, min_size)

    with ThreadPoolExecutor(max(1, threads), "tinysight-crop") as pool:
        step = max(1, threads) * _AHEAD
        for start in range(0, len(photographs), step):
            jobs = zip(photographs[start : start + step], names[start : start + step], strict=True)
            for made in pool.map(one, jobs):
                done.crops.extend(made.crops)
                done.problems.extend(made.problems)
                done.skipped.update(made.skipped)
    return done


def _cut_one(
    photograph: Photograph,
    name: str,
    folder: Path,
    classes: Mapping[str, int],
    scale: float,
    min_size: int,
) -> Cut:
    made = Cut([], [], Counter())
    counted = [box for box in photograph.boxes if box.name in classes]
    others = len(photograph.boxes) - len(counted)
    if others:
        made.skipped["of another class"] += others
    if not counted:
        return made
    where = str(photograph.path)
    try:
        image = decode(photograph.path)
    except ImageError as error:
        made.problems.append(error.problems[0])
        return made
    height, width = image.shape[:2]
    if photograph.size[0] > 0 and photograph.size != (width, height):
        said = "{} x {}".format(*photograph.size)
        what = f"the annotation says {said} pixels, the image has {width} x {height}"
        made.problems.append(Problem(where, what, "is it turned by its EXIF orientation?"))
        return made
    for n, box in enumerate(counted, 1):
        finite = all(map(math.isfinite, box[1:]))
        x0, y0, x1, y1 = enlarged(box, scale, width, height) if finite else (0, 0, 0, 0)
        if not finite or box.x1 <= box.x0 or box.y1 <= box.y0 or x1 <= x0 or y1 <= y0:
            edges = ", ".join(f"{e:g}" for e in box[1:])
            made.problems.append(Problem(where, f"the box {edges} of {box.name} holds nothing"))
            continue
        if min(x1 - x0, y1 - y0) < min_size:
            made.skipped["too small"] += 1
            continue
        path = f"images/{name}_{n}.jpg"
        if not (folder / path).is_file():
            write_atomic(folder / path, _jpeg(image[y0:y1, x0:x1]))
        made.crops.append(Crop(path, classes[box.name], where))
    return made


def _jpeg(pixels: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return bytes(data)


def _names(photographs: Sequence[Photograph], images: Path) -> list[str]:
    """A name for each photograph's crops; no two are the same, also where case does not count."""
    names: list[str] = []
    taken: set[str] = set()
    for photograph in photographs:
        path = photograph.path
        below = path.relative_to(images) if path.is_relative_to(images) else Path(path.name)
        name = re.sub(r'[\\/:*?"<>|\s]+', "_", str(below.with_suffix(""))).strip("._") or "picture"
        unique, n = name, 1
        while unique.casefold() in taken:
            n += 1
            unique = f"{name}-{n}"
        taken.add(unique.casefold())
        names.append(unique)
    return names


class Manifest:
    """`manifest.json` in the folder of a data set that is being made: of what, how, and whether whole.

    Raises:
        DataError: from the constructor: the folder holds something that may not be overwritten.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.path = folder / "manifest.json"
        self._settings = json.loads(json.dumps(settings))
        there = self._there()
        if there is None and folder.is_dir() and any(folder.iterdir()):
            raise DataError(str(folder), "this folder is not empty", "choose another with --out")
        if there is not None:
            if there.get("complete"):
                raise DataError(str(folder), "already made", "choose another folder with --out")
            if not resume:
                raise DataError(str(folder), "begun, not finished", "--resume goes on")
            if there.get("settings") != self._settings:
                hint = "resume with the same arguments, or choose another folder with --out"
                raise DataError(str(folder), "begun with other arguments", hint)
        self._write({"complete": False})

    def finish(self, tree: Mapping[str, Any]) -> None:
        """The data set is whole; `tree` says what is in it."""
        self._write({"complete": True, **tree})

    def _there(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, tree: Mapping[str, Any]) -> None:
        text = json.dumps({"settings": self._settings, **tree}, indent=2, ensure_ascii=False)
        write_atomic(self.path, text + "\n")


def lines(pairs: Sequence[tuple[str, int]]) -> str:
    """A list file."""
    return "".join(f"{path}\t{label}\n" for path, label in pairs)


def by_label(labels: Sequence[int], names: Sequence[str]) -> dict[str, int]:
    """How many there are of each."""
    counts = Counter(labels)
    return {name: counts[i] for i, name in enumerate(names)}


def group_of(path: str, pattern: str | None) -> str:
    """What must stay together with `path`: what the pattern's first brackets hold, or the path."""
    if pattern is None:
        return path
    found = re.search(pattern, path)
    if not found:
        raise DataError(path, f"the pattern {pattern!r} does not match", "correct --group")
    return found[1] if found.re.groups else found[0]


def rooted(paths: Sequence[Path], root: Path) -> Iterator[str]:
    """Paths as a list file writes them: relative to `root` where they are below it."""
    for path in paths:
        yield (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
