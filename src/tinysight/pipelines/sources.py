"""Where images come from: a file, a folder, a pattern, a list, bytes, an array, or many of these.

Nothing is decoded here; a source is a stream of named, unread images.
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias, Union

import numpy as np

from tinysight.errors import DataError

_NUMBERS = re.compile("([0-9]+)")
_SHOWN = 10  # names in a message


class ImageInput(NamedTuple):
    """An unread image: its name in results, and a path, a file's bytes, or pixels."""

    name: str
    data: str | bytes | np.ndarray


ImageSource: TypeAlias = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, np.ndarray, IO[bytes], ImageInput
]
Source: TypeAlias = Union[ImageSource, "Iterable[Source]"]


def one_image(source: object, index: int | None = None) -> ImageInput:
    """`source` as one image with a name.

    Args:
        source: one of

            - the path of an image, under the name it was given;
            - bytes of an image file, named `<bytes>`;
            - a file opened for reading bytes, under its own name if it has one, else `<file>`;
            - pixels, uint8 RGB (H, W, 3), named `<array>`;
            - an `ImageInput`, which says its own name.
        index: position among others, for the name of what has none.

    Raises:
        DataError: it is none of these.
    """
    at = "" if index is None else f" {index}"
    if isinstance(source, ImageInput):
        return source
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return ImageInput(path, path)
    if isinstance(source, bytes | bytearray | memoryview):
        return ImageInput(f"<bytes{at}>", bytes(source))
    if isinstance(source, np.ndarray):
        return ImageInput(f"<array{at}>", source)
    if callable(read := getattr(source, "read", None)):
        name = getattr(source, "name", None)
        named = name if isinstance(name, str) else f"<file{at}>"
        try:
            data = read()
        except (OSError, ValueError) as error:  # closed, or text: not to be decoded
            raise DataError(
                named, f"cannot be read: {error}", "open it for reading bytes"
            ) from None
        if isinstance(data, bytes):
            return ImageInput(named, data)
        raise DataError(named, f"gives {type(data).__name__}", "open it for reading bytes")
    hint = "give a path, a pattern, bytes, a file opened for reading bytes, an array (H, W, 3), or an iterable of these"
    if hasattr(source, "getexif"):  # of Pillow: turned or not, nobody knows
        hint = "give its file, or numpy.asarray(image.convert('RGB')), upright"
    raise DataError(type(source).__name__, "is no source of images", hint)


def iter_images(source: Source, *, root: str | Path | None = None) -> Iterator[ImageInput]:
    """Every image of `source`, in order, one at a time.

    Args:
        source: one of

            - what `one_image` takes;
            - a folder: every image in it and below, in natural order (2 before 10), whatever the
              case of the extension; hidden files and folders are left out, and the log says
              how many others;
            - a pattern with `*`, `?` or `[]`, `**` for any depth, in natural order;
            - the path of a list (`.txt`), one path a line, a label after it is ignored;
            - an iterable of these, read as the images are asked for.
        root: folder that the paths in a list are relative to; default: that of the list.

    Raises:
        DataError: a path does not exist, a folder, pattern or list has no image in it, or
            `source` is something else. For a path, raised by this call, not by the iteration.
    """
    if isinstance(source, str | os.PathLike):
        return _of_path(os.fspath(source), root)
    if (items := _items(source)) is not None:
        return _of_many(items, root)
    return iter([one_image(source)])


def stamp(path: str) -> bytes:
    """24 bytes that are others once a file is replaced or written to: its size, its time of change, its number."""
    try:
        about = os.stat(path)  # noqa: PTH116 - many times
        return struct.pack("<qqQ", about.st_size, about.st_mtime_ns, about.st_ino)
    except (OSError, ValueError):
        return bytes(24)


def count(source: Source, *, root: str | Path | None = None) -> int | None:
    """The number of images that `iter_images` would give, without reading them.

    None where only reading the stream tells, or a path is wrong: `iter_images` says how.
    """
    if not isinstance(source, str | os.PathLike):
        return 1 if _items(source) is None else None
    with suppress(DataError):
        return sum(1 for _ in _of_path(os.fspath(source), root, quiet=True))
    return None


def several(images: Iterable[ImageSource]) -> Iterator[ImageInput]:
    """Each of `images` as `one_image` gives it.

    Raises:
        DataError: `images` is one image, or none at all.
    """
    if not isinstance(images, np.ndarray) and _items(images) is None:
        raise DataError(type(images).__name__, "is not several images", "give a list of them")
    return (one_image(image, i) for i, image in enumerate(images))


def _items(source: Source) -> Iterable[Source] | None:
    """`source` if it is several; files and arrays can be iterated over, too, and are one."""
    one = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, ImageInput)
    several = isinstance(source, Iterable) and not isinstance(source, (*one, Mapping, array))
    # A tensor or a table is no list of images, nor is a file.
    single = any(hasattr(source, name) for name in ("read", "__array__", "__dlpack__"))
    return source if several and not single else None  # type: ignore[return-value]


def _of_many(items: Iterable[Source], root: str | Path | None) -> Iterator[ImageInput]:
    for i, item in enumerate(items):
        # A file that is not there is one unreadable image, not the end of the stream.
        if isinstance(item, str | os.PathLike) and not _is_one(os.fspath(item)):
            yield from _of_path(os.fspath(item), root)
        elif (items_of := _items(item)) is not None:
            yield from _of_many(items_of, root)
        else:
            yield one_image(item, i)


def _of_path(path: str, root: str | Path | None, quiet: bool = False) -> Iterator[ImageInput]:
    if Path(path).is_dir():
        return _of_folder(path, quiet)
    if Path(path).is_file():
        if not _is_list(path):
            return iter([ImageInput(path, path)])
        folder = Path(path).parent if root is None else Path(root)
        return _some(_of_list(path, folder), path, "this list is empty")
    if _is_pattern(path):
        import glob

        matches = glob.iglob(path, recursive=True)  # noqa: PTH207 - pathlib takes no absolute ones
        found = sorted((m for m in matches if not Path(m).is_dir()), key=_natural)
        return _some((ImageInput(m, m) for m in found), path, "no file matches this pattern")
    if path.startswith(("http://", "https://")):
        raise DataError(path, "addresses are not fetched", "download the image first")
    raise DataError(path, "no such file or folder", "check the path; quote one with spaces")


def _is_one(path: str) -> bool:
    return not (Path(path).is_dir() or _is_list(path) or _is_pattern(path))


def _is_list(path: str) -> bool:
    return path.lower().endswith(".txt")


def _is_pattern(path: str) -> bool:
    return any(c in path for c in "*?[") and not Path(path).exists()


def _some(found: Iterator[ImageInput], where: str, problem: str) -> Iterator[ImageInput]:
    """`found` again; an error if there is nothing in it."""
    if (first := next(found, None)) is None:
        raise DataError(where, problem)
    return chain([first], found)


def _of_folder(path: str, quiet: bool) -> Iterator[ImageInput]:
    """The images of a folder; at the end the log says what else there was."""
    others: list[str] = []

    def images() -> Iterator[ImageInput]:
        yield from _walk(path, set(), others)
        if others and not quiet:
            import logging

            names = ", ".join(sorted(others)[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
            text = "%s: %d files are no images by their names: %s"
            logging.getLogger(__name__).warning(text, path, len(others), names)

    return _some(images(), path, "no image in this folder or below it")


def _walk(folder: str, above: set[str], others: list[str]) -> Iterator[ImageInput]:
    """Images of `folder`, then those of its folders; links back to a folder above are left.

    What has the suffix of an image is one, so a link that leads nowhere is reported; the rest is noted in `others`.
    """
    from tinysight.transforms.base import EXTENSIONS, is_folder  # a single image needs no walk

    here = str(Path(folder).resolve())
    if here in above:
        return
    names: list[str] = []  # not the entries: a hundred thousand of these take 50 MB
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if is_folder(entry):
                    folders.append(entry.name)
                elif entry.name.lower().endswith(EXTENSIONS):
                    names.append(entry.name)
                else:
                    others.append(entry.name)
    except OSError as error:
        raise DataError(folder, f"cannot be listed: {error.strerror}") from None
    for name in sorted(names, key=_natural):
        path = os.path.join(folder, name)  # noqa: PTH118 - a text, many times
        yield ImageInput(path, path)
    del names
    for name in sorted(folders, key=_natural):
        yield from _walk(os.path.join(folder, name), above | {here}, others)  # noqa: PTH118


def _of_list(path: str, folder: Path) -> Iterator[ImageInput]:
    try:
        with Path(path).open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if text := line.strip().lstrip("\ufeff"):  # a mark of each file that was joined
                    if quoted := re.match("([\"']).+\\1", text):
                        what = f"quotes around the path {quoted[0]}"
                        raise DataError(f"{path}:{number}", what, "remove them")
                    name = str(folder / _listed(text, folder))
                    yield ImageInput(name, name)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"not readable as a list of paths: {error}") from None


def _listed(line: str, folder: Path) -> str:
    """The path in a line: up to a tab, else all if that is a file, else to the last blank."""
    if "\t" in line:
        return line.split("\t", 1)[0]
    if " " not in line or (folder / line).exists():
        return line
    return line.rsplit(None, 1)[0].removesuffix(",").removesuffix(";")


def _natural(name: str) -> str:
    """Sort key: numbers by value, words without case, equal ones by their code points.

    One short text, for folders of a hundred thousand. A number stands as the count of its digits
    (itself in digits that sort by value) and the digits; before it comes a sign that sorts before
    every letter, so that `a1.jpg` comes before `a.jpg`.
    """
    parts = _NUMBERS.split(name.lower())
    for i in range(1, len(parts), 2):
        digits = parts[i].lstrip("0")
        nines, rest = divmod(len(digits), 9)
        parts[i] = f"\1{'9' * nines}{rest}{digits}"
    return "".join(parts) + "\0" + name
