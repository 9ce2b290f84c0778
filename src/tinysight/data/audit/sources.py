"""The sides of a split, read for an audit: those of a recipe, or list files and folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinysight.data.folders import folder_names, has_folders, read_folder
from tinysight.data.labels import label_names
from tinysight.data.lists import names_in_lists, read_list, read_split
from tinysight.data.rows import BadLines
from tinysight.data.samples import Gathered, SampleList
from tinysight.data.targets import Form
from tinysight.errors import ConfigError
from tinysight.tasks.base import target_of

if TYPE_CHECKING:
    from tinysight.config.schema import Data


class SplitSide(NamedTuple):
    """One side of a split.

    Attributes:
        name: name in the report.
        samples: images that the lists name.
        bad: lines that could not be read.
    """

    name: str
    samples: SampleList
    bad: Sequence[BadLines] = ()


def sides_of_recipe(data: Data) -> tuple[list[SplitSide], tuple[str, ...]]:
    """The training and the evaluation images of a recipe, and the label names."""
    sides = []
    for name, split in [("train", data.train), *data.eval_splits.items()]:
        bad: list[BadLines] = []
        sides.append(SplitSide(name or "eval", read_split(data, split, bad), bad))
    return sides, label_names(data)


def sides_of_lists(
    sources: Sequence[Path],
    labels: tuple[str, ...] = (),
    root: str | None = None,
    target: str | None = None,
    delimiter: str | None = None,
) -> tuple[list[SplitSide], tuple[str, ...]]:
    """One side for each list file, folder of classes, or folder of images, and the label names.

    Args:
        sources: list files and folders.
        labels: label names by class id; default: those of the folders, if any.
        root: folder of the images; default: that of each list.
        target: what a line says after the path; default: "class", or nothing for a folder of images.
        delimiter: text between path and label; default: the last run of blanks or tabs.
    """
    if len(set(sources)) < len(sources):
        raise ConfigError("SOURCE", "the same list twice", "name each side of the split once")
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        names = list(map(str, sources))
    tables = [source for source in sources if not source.is_dir()]
    labels = labels or names_in_lists(tables, target or "class", delimiter)
    sides = []
    for name, source in zip(names, sources, strict=True):
        bad: list[BadLines] = []
        if source.is_dir():
            kind = target or ("class" if labels or has_folders(source) else "transform")
            labels = labels or (folder_names(source) if target_of(kind).by_folder else ())
            into = Gathered()
            read_folder(source, Form(kind, len(labels), names=labels), into)
            sides.append(SplitSide(name, into.done()))
        else:
            folder, count = root or source.parent, len(labels) or None
            of, kind = (source, folder, count, delimiter), target or "class"
            sides.append(SplitSide(name, read_list(*of, target=kind, names=labels, bad=bad), bad))
    return sides, labels
