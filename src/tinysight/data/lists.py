"""List files: a line is `path label`; read at once, checked as a whole, kept compactly.

A file is refused with all its bad lines in one message. Whether the pictures exist is not asked
here, which would take minutes on a network disk: a missing one is counted when it is read.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from tinysight.data.labels import label_names, roots
from tinysight.errors import ConfigError, DataError, Problem

if TYPE_CHECKING:
    from tinysight.config.schema import Data, Split

_SHOWN = 10  # bad lines that a message names


class Sample(NamedTuple):
    """One labelled picture and the line of the list that names it."""

    path: Path
    label: int
    line: int


class SampleList(Sequence[Sample]):
    """The pictures of one list file, in its order.

    The paths lie in one block of bytes and the numbers in two arrays: a million entries are three
    objects, which forked loader processes share and spawned ones receive in one piece.

    Attributes:
        source: the list file.
        root: folder that the paths are relative to.
        labels: class ids, (N,) int32.
    """

    def __init__(
        self, source: Path, root: Path, paths: bytes, ends: np.ndarray, labels: np.ndarray
    ) -> None:
        self.source = source
        self.root = root
        self.labels = labels
        self._paths = paths
        self._ends = ends  # (N,) int64: where each path ends in `_paths`

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]  # raises IndexError, counts from the end
        start = self._ends[i - 1] if i else 0
        path = self._paths[start : self._ends[i]].decode("utf-8")
        return Sample(self.root / path, int(self.labels[i]), i + 1)

    def fingerprint(self) -> str:
        """SHA-256 of paths and labels: two lists with the same one train the same."""
        digest = hashlib.sha256(self._paths)
        digest.update(self._ends.astype("<i8").tobytes())
        digest.update(self.labels.astype("<i4").tobytes())
        return digest.hexdigest()


def read_list(
    path: str | Path,
    root: str | Path,
    num_classes: int,
    delimiter: str | None = None,
    limit: int | None = None,
) -> SampleList:
    """Read a list file of `path label` lines in UTF-8.

    Args:
        path: the list file.
        root: folder that the paths in it are relative to; absolute ones stay as they are.
        num_classes: K; a label is one whole number from 0 to K - 1.
        delimiter: text between path and label, its last place in the line counts. Default: the last
            run of blanks or tabs, so that a path may contain blanks.
        limit: read the first lines only.

    Raises:
        DataError: the file is missing, empty, or has bad lines: blank ones (not at the end), ones
            without a label or with several, labels out of range, text that is not UTF-8. Names file
            and lines, the first ten of a kind.
    """
    path, root = Path(path), Path(root)
    try:
        with path.open("rb") as file:
            found = _parse(path, islice(file, limit), num_classes, delimiter)
    except FileNotFoundError:
        raise _missing(path, root) from None
    except OSError as error:
        raise DataError(str(path), f"cannot read this list file: {error.strerror}") from None
    paths, ends, labels = found
    if not labels:
        raise DataError(str(path), "no pictures in this list file", "a line is `path label`")
    return SampleList(
        path, root, bytes(paths), np.array(ends, np.int64), np.array(labels, np.int32)
    )


def read_split(data: Data, split: Split) -> SampleList:
    """The list of one of a recipe's splits; raises as `read_list`."""
    root = roots(data)[0]
    if not isinstance(split.list, str):
        raise ConfigError("data", "several lists and folders are not read yet")
    classes = len(label_names(data))
    return read_list(root / split.list, root, classes, data.delimiter, split.limit)


def _parse(
    source: Path, lines: Iterable[bytes], num_classes: int, delimiter: str | None
) -> tuple[bytearray, array[int], array[int]]:
    paths, ends, labels = bytearray(), array("q"), array("i")
    separator = delimiter.encode("utf-8") if delimiter else None
    bad = _BadLines()
    blank = 0  # the first of the blank lines just read; they are bad only if more text follows
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip(b" \r\n" if separator else None)
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            blank = blank or number
            continue
        for place in range(blank, number) if blank else ():
            bad.add(place, "blank line", "remove it")
        blank = 0
        fields = line.rsplit(separator, 1)
        label = fields[-1].strip()
        plain = len(fields) == 2 and label.isdigit() and len(label) < 10
        if plain and int(label) < num_classes and _is_path(fields[0], separator):
            paths += fields[0]
            ends.append(len(paths))
            labels.append(int(label))
        else:
            bad.add(number, *_explain(line, num_classes, delimiter))
    if bad.count:
        raise bad.error(source)
    return paths, ends, labels


class _BadLines:
    """The bad lines of one file, those with the same trouble together."""

    def __init__(self) -> None:
        self.count = 0
        self._groups: dict[tuple[str, str], list[int]] = {}  # what, hint -> count, first lines

    def add(self, line: int, what: str, hint: str = "") -> None:
        self.count += 1
        if (what, hint) in self._groups or len(self._groups) < _SHOWN:
            group = self._groups.setdefault((what, hint), [0])
            group[0] += 1
            if len(group) <= _SHOWN:
                group.append(line)

    def error(self, source: Path) -> DataError:
        problems, explained = [], 0
        for (what, hint), (count, first, *others) in self._groups.items():
            explained += count
            more = [f"and {count - 1 - len(others)} more"] if count - 1 > len(others) else []
            also = f" (also lines {', '.join([*map(str, others), *more])})" if others else ""
            problems.append(Problem(f"{source}:{first}", what + also, hint))
        if explained < self.count:
            problems.append(Problem("", f"and {self.count - explained} more bad lines"))
        if len(problems) == 1:
            return DataError(*problems[0])
        return DataError.of(str(source), problems)


def _is_path(text: bytes, separator: bytes | None) -> bool:
    """Whether `text` can be read and does not end in another number, as if in a second label."""
    if b"\0" in text or not (text.isascii() or _is_utf8(text)):
        return False
    if not text[-1:].isdigit():
        return bool(text.strip())
    return len(text.rsplit(separator, 1)) == 1 or not text.rsplit(separator, 1)[1].isdigit()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _explain(line: bytes, num_classes: int, delimiter: str | None) -> tuple[str, str]:
    """What is wrong with a line that was refused, and what to do."""
    if b"\0" in line or not _is_utf8(line):
        return "not UTF-8 text", "save the list file as UTF-8"
    fields = line.rsplit(delimiter.encode("utf-8") if delimiter else None, 1)
    label = fields[-1].strip().decode("utf-8")
    if len(fields) == 1:
        between = repr(delimiter) if delimiter else "blank or tab"
        return f"no {between} between path and label", _delimiter_hint(line)
    if not fields[0].strip():
        return "no path before the label", "a line is `path label`"
    if not label:
        return "no label after the path", "a line is `path label`"
    several = label.replace(",", " ").split()
    if len(several) > 1 and all(word.isdecimal() for word in several):
        return f"expected one label, got {len(several)} ({_short(label)})", "keep one"
    if not label.lstrip("-").isdecimal():
        what = f"label {_short(label)} is not a whole number from 0 to {num_classes - 1}"
        return what, _delimiter_hint(line)
    if not (label.isdecimal() and len(label) < 10 and int(label) < num_classes):
        what = f"label {_short(label, '')} is not one of 0 to {num_classes - 1}"
        return what, f"correct it, or data.labels, which has {num_classes} names"
    hint = "keep one; for a path that ends in a number set data.delimiter to a tab"
    return "expected one label, got 2", hint


def _delimiter_hint(line: bytes) -> str:
    """What to do about a line in which the delimiter is not where it should be."""
    for name, text in (("tab", "\t"), ("comma", ","), ("semicolon", ";"), ("blank", " ")):
        path, found, label = line.rpartition(text.encode())
        if path and found and label.strip().isdigit():
            value = json.dumps(text)
            return f"if the {name} separates path and label, set data.delimiter: {value}"
    return "a line is `path label`"


def _short(text: str, quote: str = "'") -> str:
    return quote + (text if len(text) <= 40 else f"{text[:37]}...") + quote


def _missing(path: Path, root: Path) -> DataError:
    hint = "set data.root to the folder of the pictures"
    if not root.is_dir():
        return DataError(str(root), "no such folder", hint)
    if not any(root.iterdir()):
        return DataError(str(root), "this folder is empty", hint)
    hint = "data.train.list and data.eval.list are relative to data.root"
    return DataError(str(path), "no such list file", hint)
