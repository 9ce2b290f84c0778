"""From the list files and folders of a recipe to labelled images; read at once, checked whole.

A file is refused with all its bad lines in one message. Whether the images exist is not asked
here, which would take minutes on a network disk: a missing one is counted when it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tinysight.data.folders import read_folder, read_named
from tinysight.data.labels import label_names, roots
from tinysight.data.rows import BadLines, is_csv, names_in, read_rows
from tinysight.data.samples import Gathered, Sample, SampleList
from tinysight.data.targets import Form
from tinysight.errors import ConfigError, DataError
from tinysight.tasks.base import target_of

if TYPE_CHECKING:
    from tinysight.config.schema import Data, Split

Bad: TypeAlias = "list[BadLines] | None"  # takes the bad lines
__all__ = ["Sample", "SampleList", "read_list", "read_split"]


def read_list(
    path: str | Path,
    root: str | Path,
    num_classes: int | None,
    delimiter: str | None = None,
    limit: int | None = None,
    *,
    target: str = "class",
    names: Sequence[str] = (),
    bad: Bad = None,
) -> SampleList:
    """Read one list file in UTF-8: an image a line, or a `.csv` file whose header names columns.

    Args:
        path: list file, or a folder with a folder for each class.
        root: folder that the paths in it are relative to; absolute ones stay as they are.
        num_classes: K; a class id is a whole number from 0 to K - 1. None: any, and K of several
            labels is that of the first line.
        delimiter: text between path and label, its last place in the line counts. Default: the last
            run of blanks or tabs, so that a path may contain blanks.
        limit: number of images to read, the first ones.
        target: name of the target: what a line says after the path.
        names: label names, which a CSV file may use in place of ids.
        bad: takes the bad lines, which are left out then, instead of an error.

    Raises:
        DataError: the file is missing, empty, or has bad lines: blank ones (not at the end), ones
            without a label or with several, labels out of range, text that is not UTF-8. Names file
            and lines, the first ten of a kind.
    """
    form = Form(target, num_classes, delimiter, names=names)
    into = form.gathered(limit)
    if Path(path).is_dir() and not form.kind.open_set:
        read_folder(Path(path), form, into)
    else:
        _read(Path(path), Path(root), form, into, bad)
    return _some(into, bad)


def names_in_lists(paths: Sequence[Path], target: str, delimiter: str | None) -> tuple[str, ...]:
    """The label names that CSV files use, sorted; none where they have ids."""
    found: set[str] = set()
    for path in paths:
        try:
            found.update(names_in(path, Form(target, delimiter=delimiter)))
        except OSError as error:
            raise DataError(str(path), f"cannot read this list file: {error.strerror}") from None
    return tuple(sorted(found))


def read_split(data: Data, split: Split, bad: Bad = None) -> SampleList:
    """The images of one of a recipe's splits: its lists in order, or its folder.

    With several roots, list `i` belongs to root `i`, the unlabelled ones after the others; with one
    root, all do.

    Raises:
        ConfigError: neither lists nor a folder, or more lists than roots.
        DataError: a file or folder is wrong, as `read_list` and `read_folder` say.
    """
    kind = target_of(data.target)
    if read := getattr(kind, "read_split", None):
        found_boxes: SampleList = read(data, split, label_names(data))
        return found_boxes
    if split.coco or split.voc:
        raise ConfigError("data.target", "coco and voc are for boxes", "set data.target: boxes")
    unknown = kind.open_set and split is not data.train  # who is searched for need not be learnt
    raw = data.relabel or unknown
    names = () if unknown else label_names(data)
    count, known = len(names) if kind.wide or not raw else None, () if data.relabel else names
    if getattr(split, "query", None) is not None:
        return _queries_and_gallery(data, split, count, known, bad)
    found = _read_split(data, split, count, known, bad)
    return _relabelled(data, split, found) if data.relabel else found


def _queries_and_gallery(
    data: Data, split: Split, count: int | None, names: Sequence[str], bad: Bad
) -> SampleList:
    """The lists of `query`, and behind them those of `gallery`; `limit` counts in each of the two."""
    if not target_of(data.target).open_set:
        what = "queries and a gallery are of identities"
        raise ConfigError("data.eval", what, "set data.target: identity")
    places, parts = roots(data, split), list[SampleList]()
    for name in ("query", "gallery"):
        lists = getattr(split, name)
        lists = (lists,) if isinstance(lists, str) else lists
        own, places = (
            (places, places) if len(places) == 1 else (places[: len(lists)], places[len(lists) :])
        )
        changes = {"list": lists, "query": None, "gallery": None, "root": tuple(map(str, own))}
        parts.append(_read_split(data, split.model_copy(update=changes), count, names, bad))
    queries, gallery = parts
    if (queries.cameras is None) != (gallery.cameras is None):
        what = "one of the queries and the gallery names cameras, the other does not"
        raise DataError(str(gallery.source), what, "give both a third column, or neither")
    return queries.with_gallery(gallery)


def read_first(data: Data) -> SampleList:
    """The first image of the training lists; raises as `read_split`."""
    return _read_split(data, data.train.model_copy(update={"limit": 1}))


def occurring_ids(data: Data) -> np.ndarray:
    """The class ids or identities that the training lists name, sorted, each once."""
    labels = _read_split(data, data.train).labels
    return np.unique(labels[labels >= 0])


def _read_split(
    data: Data, split: Split, count: int | None = None, names: Sequence[str] = (), bad: Bad = None
) -> SampleList:
    """The images of a split; `count` is the number of classes, as in `read_list`."""
    places = roots(data, split)
    lists = (split.list,) if isinstance(split.list, str) else split.list or ()
    wanted = len(lists) + len(split.unlabelled)
    if not lists and split.folder is None:
        raise ConfigError("data", "a split needs `list` or `folder`")
    form = Form(split.target or data.target, count, data.delimiter, names=names)
    into = form.gathered(split.limit)
    if split.folder is not None:
        read_folder(places[0] / split.folder, form, into)
    if 1 < len(places) < wanted:
        raise ConfigError("data.root", f"{len(places)} roots for {wanted} lists", "name one a list")
    per_list = list(places) if len(places) > 1 else list(places) * wanted
    for i, (name, root) in enumerate(zip((*lists, *split.unlabelled), per_list, strict=False)):
        of_list = form._replace(labelled=i < len(lists))
        if i >= len(lists) and (root / name).is_dir():
            read_folder(root / name, of_list, into)
        else:
            _read(root / name, root, of_list, into, bad)
    return _some(into, bad)


def _some(into: Gathered, bad: Bad = None) -> SampleList:
    if not len(into):
        if bad:
            raise DataError.of(str(bad[0].source), bad[0].problems())
        hint = "a line is `path label`"
        raise DataError(str(into.sections[0].source), "no images in this list file", hint)
    return into.done()


def _read(path: Path, root: Path, form: Form, into: Gathered, bad: Bad) -> None:
    """Add one list file, or a folder of images that are named by identity and camera."""
    if form.labelled and form.kind.open_set and path.is_dir():
        read_named(path, into)
        return
    into.begin(path, root, 2 if is_csv(path) else 1)
    try:
        found = read_rows(path, form, into)
    except FileNotFoundError:
        raise _missing(path, root) from None
    except OSError as error:
        raise DataError(str(path), f"cannot read this list file: {error.strerror}") from None
    if found.count and bad is None:
        problems = found.problems()
        raise DataError.of(str(path), problems) if problems[1:] else DataError(*problems[0])
    if bad is not None and found.count:
        bad.append(found)


def _relabelled(data: Data, split: Split, found: SampleList) -> SampleList:
    """Ids numbered from 0 in their order, as the training lists have them."""
    if target_of(data.target).open_set and split is not data.train:
        return found  # who is searched for need not have been learnt
    ids = np.unique(found.labels[found.labels >= 0]) if split == data.train else occurring_ids(data)
    if len(ids) != len(label_names(data)):
        what = f"{len(label_names(data))} names for the {len(ids)} ids that occur"
        raise ConfigError("data.labels", what, "data.relabel numbers those ids from 0")
    places = np.searchsorted(ids, found.labels).clip(max=len(ids) - 1)
    strange = np.flatnonzero((ids[places] != found.labels) & (found.labels >= 0))
    if len(strange):
        index = int(strange[0])
        where = f"{found.section(index).source}:{found[index].line}"
        what = f"label {found.labels[index]} is not in the training lists"
        more = f" (and {len(strange) - 1} more lines)" if len(strange) > 1 else ""
        raise DataError(where, what + more, "data.relabel numbers the ids that occur there")
    return found.with_labels(np.where(found.labels < 0, found.labels, places).astype(np.int32))


def _missing(path: Path, root: Path) -> DataError:
    if root.is_dir() and any(root.iterdir()):
        hint = "data.train.list and data.eval.list are relative to data.root"
        return DataError(str(path), "no such list file", hint)
    what = "this folder is empty" if root.is_dir() else "no such folder"
    return DataError(str(root), what, "set data.root to the folder of the images")
