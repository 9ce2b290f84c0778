"""A folder with one folder per class, and all images below a folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tinysight.data.samples import UNLABELLED, Gathered
from tinysight.data.targets import Form, NoTarget
from tinysight.errors import DataError, Problem, nearest
from tinysight.transforms.base import EXTENSIONS, is_folder

logger = logging.getLogger(__name__)

_SHOWN = 10


def folder_names(folder: Path) -> tuple[str, ...]:
    """Names of the folders in `folder`, sorted; hidden ones are left out.

    Raises:
        DataError: no such folder, or there is no folder in it.
    """
    try:
        found = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except FileNotFoundError:
        raise DataError(str(folder), "no such folder", "it is relative to data.root") from None
    except OSError as error:
        raise DataError(str(folder), f"cannot be listed: {error.strerror}") from None
    if not found:
        raise DataError(str(folder), "no folder in it", "one folder per class is expected")
    return tuple(sorted(found))


def has_folders(folder: Path) -> bool:
    """Whether there may be classes in `folder`: anything but files, or nothing at all."""
    found = [p for p in folder.iterdir() if not p.name.startswith(".")]
    return not found or any(p.is_dir() for p in found)


def read_folder(folder: Path, form: Form, into: Gathered) -> None:
    """Add the images of every class to `into`, in the order of the names; without labels, all images below the folder.

    A file is an image if it has the suffix of one; so a link that leads nowhere is a missing image. Hidden entries are
    left out, and so are other files and folders that are not entered: these are named in `into`, and in the log.

    Raises:
        DataError: a folder is not named like a label, a class has no image, or nothing is there.
    """
    into.begin(folder, folder, 0)
    others: list[str] = []
    if isinstance(form.kind, NoTarget):
        if not _add(folder, "", UNLABELLED, into, others):
            raise DataError(str(folder), "no image in this folder or below it")
    elif form.kind.by_folder:
        _add_classes(folder, form, into, others)
    else:
        raise DataError(str(folder), f"folders give one label; data.target is {form.target}")
    _pass_over(folder, others, into)


def _pass_over(folder: Path, others: list[str], into: Gathered) -> None:
    if others:
        names = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        into.passed_over += [str(folder / name) for name in others]
        tell = logger.debug if into.quiet else logger.info
        tell("%s: %d files are no images by their names: %s", folder, len(others), names)


def read_named(folder: Path, into: Gathered) -> None:
    """Add images whose names begin with identity and camera, `0001_c2...`, as in data sets of re-identification.

    Identity -1 marks images that are to be passed over, there as here.

    Raises:
        DataError: an image with another name, or none at all.
    """
    into.begin(folder, folder, 0)
    strange, others, junk, before = list[str](), list[str](), 0, len(into)
    for path, is_file in walk(folder, ""):
        found = re.match(r"(-1|\d{1,9})_c(\d{1,9})", Path(path).name)
        if not (is_file and path.lower().endswith(EXTENSIONS)):
            others.append(path)
            continue
        if found is None:
            strange.append(path)
        elif found[1] == "-1":
            junk += 1
        else:
            into.add(os.fsencode(path), int(found[1]), int(found[2]))
    if strange:
        what = f"{len(strange)} images are not named by identity and camera: {strange[0]}"
        raise DataError(str(folder), what, "such a name begins like 0001_c2")
    if len(into) == before:
        raise DataError(str(folder), "no image in this folder")
    _pass_over(folder, others, into)
    if junk:
        logger.info("%s: %d images of identity -1 are passed over", folder, junk)


def _add_classes(folder: Path, form: Form, into: Gathered, others: list[str]) -> None:
    found = folder_names(folder)
    ids = {name: i for i, name in enumerate(form.names or found)}
    what = "this folder is not named like a label"
    problems = [Problem(str(folder / n), what, nearest(n, ids)) for n in found if n not in ids]
    for name in sorted(set(found) & set(ids), key=ids.__getitem__):
        if not _add(folder, name, ids[name], into, others):
            problems.append(Problem(str(folder / name), "no image in this folder"))
    if problems:
        raise DataError.of(str(folder), problems)
    others += sorted(p.name for p in folder.iterdir() if not (p.name.startswith(".") or p.is_dir()))


def _add(folder: Path, below: str, label: int, into: Gathered, others: list[str]) -> int:
    """Add the images in `folder`/`below`, note the other files; returns the number of images."""
    before = len(into)
    for path, is_file in walk(folder, below):
        if is_file and path.lower().endswith(EXTENSIONS):
            into.add(os.fsencode(path), label)
        else:
            others.append(path)
    return len(into) - before


def walk(folder: Path, below: str = "") -> Iterator[tuple[str, bool]]:
    """Paths relative to `folder`, sorted, those of a folder before those below it; False: of a folder that is left."""
    try:
        with os.scandir(folder / below) as entries:
            shown = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(str(folder / below), f"cannot be listed: {error.strerror}") from None
    start = f"{below}/" if below else ""
    # A link to a folder could lead back up; one that is followed once is a class of its own.
    entered = {e.name for e in shown if is_folder(e, follow=not below)}
    others = (entry for entry in shown if entry.name not in entered)
    yield from ((start + e.name, not (e.is_symlink() and is_folder(e))) for e in others)
    for name in sorted(entered):
        yield from walk(folder, start + name)
