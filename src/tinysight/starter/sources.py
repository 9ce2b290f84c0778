"""What `--data` names: a folder of classes, one with train/ and val/, a list or a CSV file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinysight.data.folders import folder_names, read_folder
from tinysight.data.lists import names_in_lists, read_list
from tinysight.data.samples import Gathered, SampleList
from tinysight.data.targets import Form
from tinysight.errors import DataError

_TRAIN = ("train", "training")
_VAL = (
    "val",
    "valid",
    "validation",
    "dev",
    "eval",
    "evaluation",
    "test",
    "testing",
)  # the first that is there


class LabelledImages(NamedTuple):
    """The images of a source, with their labels.

    Attributes:
        root: folder of the classes, or that of the list.
        labels: K label names.
        paths: absolute paths, N.
        ids: class ids (N,) int64.
        train: number of images in front that the source has for training; None where it says nothing.
        passed_over: what else lies in the folders, and is no image by its name.
    """

    root: Path
    labels: tuple[str, ...]
    paths: list[Path]
    ids: np.ndarray
    train: int | None = None
    passed_over: tuple[str, ...] = ()


def find_images(source: str | os.PathLike[str]) -> LabelledImages:
    """The labelled images of a folder with a folder for each class, of one with such folders in train/ and val/, or of
    a list or CSV file with a path and a label on each line. Nothing is decoded.

    Raises:
        DataError: nothing is there, there is only one class, a class is empty, or a list has bad lines.
    """
    path = Path(os.path.abspath(source))  # noqa: PTH100 - keeps links
    if not (os.fspath(source) and path.exists()):
        raise DataError(str(source) or "''", "no such file or folder")
    found = _of_folder(path) if path.is_dir() else _of_list(path)
    if len(found.labels) < 2:
        what = f"only one class, {found.labels[0]!r}" if found.labels else "no class"
        raise DataError(
            str(source), what, "a classifier needs two: a folder for each, or labels in the list"
        )
    return found


def _of_folder(path: Path) -> LabelledImages:
    names = folder_names(path)
    while len(names) == 1 and _folders(path / names[0]):  # of an archive: its name, twice
        path = path / names[0]
        names = folder_names(path)
    if {"images", "labels"} <= set(names) or (path / "annotations").is_dir():
        what = "holds boxes of objects (images/ beside labels/ or annotations/), not a folder for each class"
        hint = "`tinysight data prepare` makes crops of boxes; docs/detection.md trains detectors"
        raise DataError(str(path), what, hint)
    known = {name.lower(): name for name in reversed(names)}
    train, val = (next((known[n] for n in side if n in known), None) for side in (_TRAIN, _VAL))
    if not (train and _folders(path / train)):
        return _images(path, names, _read((path,), names))
    if not val:
        what = f"has folders in {train}/, as for training, and beside it {', '.join(names)}"
        hint = (
            "name the folder of the validation images val; or give --data the folder of the classes"
        )
        raise DataError(str(path), what, hint)
    labels, folders = folder_names(path / train), (path / train, path / val)
    samples = _read(folders, labels)
    split = int(next(s.start for s in samples.sections if s.source == folders[1]))
    return _images(path, labels, samples)._replace(train=split)


def _of_list(path: Path) -> LabelledImages:
    if path.suffix.lower() in (".yaml", ".yml"):
        raise DataError(str(path), "a recipe names its images itself", f"tinysight train -c {path}")
    labels = names_in_lists([path], "class", None)
    samples = read_list(path, path.parent, len(labels) or None, names=labels)
    if not labels:  # ids, of which some may be missing
        known, ids = np.unique(samples.labels, return_inverse=True)
        labels, samples = tuple(map(str, known.tolist())), samples.with_labels(ids.astype(np.int32))
    return _images(path.parent, labels, samples)


def _folders(path: Path) -> bool:
    return any(p.is_dir() and not p.name.startswith(".") for p in path.iterdir())


def _read(folders: tuple[Path, ...], labels: tuple[str, ...]) -> SampleList:
    into = Gathered()
    into.quiet = True
    for folder in folders:
        read_folder(folder, Form("class", len(labels), names=labels), into)
    return into.done()


def _images(path: Path, labels: tuple[str, ...], samples: SampleList) -> LabelledImages:
    paths, ids = [sample.path for sample in samples], samples.labels.astype(np.int64)
    return LabelledImages(path, labels, paths, ids, None, samples.passed_over)
