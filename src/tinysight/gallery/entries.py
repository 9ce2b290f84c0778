"""What is to be in a gallery: images with their labels, from a folder a label, a list, a table, or Python."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias, Union

import numpy as np

from tinysight.errors import DataError
from tinysight.gallery.base import Item, Store
from tinysight.pipelines.sources import ImageInput, ImageSource, iter_images, one_image

_TABLE = ("path", "label", "id")  # columns that are no metadata
_UTF8 = "save it as UTF-8"


class GalleryEntry(NamedTuple):
    """An unread image that is to be in a gallery.

    Attributes:
        id: of the item; "" for one of its content.
        label: of the item.
        image: path, bytes or pixels, under the name that the item has as its source.
        metadata: of the item.
    """

    id: str
    label: str
    image: ImageInput
    metadata: Mapping[str, object] = {}


Labelled: TypeAlias = Union[GalleryEntry, "tuple[ImageSource, str]"]
GallerySource: TypeAlias = Union[str, "os.PathLike[str]", ImageSource, "Iterable[Labelled]"]


def iter_entries(
    source: GallerySource, label: str | None = None, *, root: str | Path | None = None, delimiter: str = "\t"
) -> Iterator[GalleryEntry]:  # fmt: skip
    """Every image of `source` with its label.

    The id of an image is its path as it was written, so that the same command names the same items; of one that a list
    names again, `PATH#2`.

    Args:
        source: one of

            - a folder with a folder a label, whatever lies below that;
            - a table (`.csv`) with the columns `path` and `label`, and perhaps `id`; others are metadata;
            - a list (`.txt`, `.tsv`, any other text), a line a path, `delimiter` and the label, which may have blanks;
            - with `label`: whatever `iter_images` takes, all of which has this label;
            - an iterable of `GalleryEntry` or (image, label).
        label: of every image.
        root: folder that the paths in a list or table are relative to; default: its own.
        delimiter: between path and label of a list.

    Raises:
        DataError: a path does not exist, a list has no line, a line no label, or an image lies in no folder of a label.
    """
    if not delimiter:
        raise DataError("delimiter", "is empty", "give the text between path and label")
    if label is not None:
        check_label(label, "label")
        return (_entry(image, label) for image in iter_images(source, root=root))
    if not isinstance(source, str | os.PathLike):
        if isinstance(source, np.ndarray | bytes | ImageInput) or not isinstance(source, Iterable):
            raise DataError("label", "this image has none", "give label=...")
        return (_of_python(given, i) for i, given in enumerate(source))
    path = Path(source)
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise DataError(str(path), "no such file or folder", "check the path")
    from tinysight.transforms.base import EXTENSIONS

    if path.name.lower().endswith(EXTENSIONS):
        raise DataError(str(path), "this image has no label", "add --label")
    lines = _of_table(path) if path.suffix.lower() == ".csv" else _of_list(path, delimiter)
    return _numbered(lines, Path(root) if root is not None else path.parent)


def all_items(store: Store, label: str | None = None) -> Iterator[Item]:
    """Every item, in the order of the ids, a thousand at a time; of later ones, as they are by then."""
    after = ""
    while items := store.items(label=label, after=after):
        yield from items
        after = items[-1].id


def entries_of(store: Store) -> Iterator[GalleryEntry]:
    """The images that items were made of, to be embedded anew."""
    for item in all_items(store):
        image = ImageInput(item.source, item.source)
        yield GalleryEntry(item.id, item.label, image, item.metadata)


def check_label(label: str, where: str) -> None:
    """Raise `DataError` if a label is no text, or empty: nothing could be told by it."""
    if not isinstance(label, str):
        raise DataError(where, f"a label is a text, got {label!r}")
    if not label.strip():
        raise DataError(where, "the label is empty", "give the name of what is in the image")


def plain(text: str) -> str:
    """A file name as text that can be stored: bytes that are none of UTF-8 with backslashes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _entry(image: ImageInput, label: str) -> GalleryEntry:
    nameless = image.name.startswith("<")  # bytes and pixels
    return GalleryEntry("" if nameless else plain(image.name), label, image)


def _of_python(given: Labelled, index: int) -> GalleryEntry:
    if isinstance(given, GalleryEntry):
        check_label(given.label, f"entry {index}")
        return given
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], str)):
        raise DataError(f"entry {index}", "is no pair of an image and a label", "or give label=...")
    check_label(given[1], f"entry {index}")
    return _entry(one_image(given[0], index), given[1])


def _of_folder(folder: Path) -> Iterator[GalleryEntry]:
    for image in iter_images(folder):
        parts = Path(image.name).relative_to(folder).parts
        if len(parts) < 2:
            hint = "put it into a folder that is named like its label, or add --label"
            raise DataError(image.name, "lies in no folder of a label", hint)
        yield _entry(image, plain(parts[0]))


Line: TypeAlias = "tuple[str, str, str | None, dict[str, object]]"


def _numbered(lines: Iterable[Line], root: Path) -> Iterator[GalleryEntry]:
    seen: Counter[str] = Counter()
    for path, label, given, metadata in lines:
        name = str(root / path)
        one = given or plain(name)
        seen[one] += 1
        one += f"#{seen[one]}" if seen[one] > 1 else ""
        yield GalleryEntry(one, label, ImageInput(name, name), metadata)


def _of_list(path: Path, delimiter: str) -> Iterator[Line]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                name, found, label = line.strip("\r\n").partition(delimiter)
                if not (name.strip() and found and label.strip()):
                    what = f"expected a path, {delimiter!r} and a label, got {line.strip()[:80]!r}"
                    raise DataError(
                        f"{path}:{number}", what, "" if found else "or give --delimiter"
                    )
                yield name, label.strip(), None, {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), f"not readable as a list: {error}", _UTF8) from None
    if not number:
        raise DataError(str(path), "the list is empty", "write a path, a tab and a label a line")


def _of_table(path: Path) -> Iterator[Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            names = rows.fieldnames or []
            if missing := {"path", "label"} - set(names):
                what = f"has no column {' and no column '.join(sorted(missing))}"
                hint = "a table has the columns path and label, divided by commas"
                raise DataError(str(path), what, hint)
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise DataError(str(path), f"has two columns {twice[0]!r}", "rename one of them")
            for row in rows:
                if None in row or None in row.values() or not row["path"] or not row["label"]:
                    what = "expected a cell a column, with a path and a label"
                    raise DataError(f"{path}:{rows.line_num}", what)
                more: dict[str, object] = {k: v for k, v in row.items() if k not in _TABLE}
                yield row["path"], row["label"], row.get("id"), more
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(str(path), f"not readable as a table: {error}", _UTF8) from None
