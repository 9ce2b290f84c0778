"""What a line, a CSV row or a folder says of an image: one class per form of label."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from tinysight.data.samples import UNLABELLED, Gathered
from tinysight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tinysight.config.schema import Data
    from tinysight.data.lines import Form

Trouble: TypeAlias = "tuple[str, str] | None"  # what is wrong and what to do; None: nothing
LineReader: TypeAlias = Callable[[bytes, Gathered], Trouble]
CellReader: TypeAlias = Callable[[bytes, Sequence[str], Gathered], Trouble]
_LABEL = ("label", "class", "class_id", "label_id", "target", "category", "labels", "label_name")
_IDENTITY = ("identity", "id", "pid", *_LABEL)
_CAMERA = ("camera", "cam", "camera_id", "camid")


class Header:
    """The first row of a CSV file.

    Args:
        path: the file.
        names: of its columns, in order.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self.count = len(names)
        self.places = {name: i for i, name in enumerate(names)}
        self._folded = {name.lower(): i for i, name in reversed(list(enumerate(names)))}

    def find(self, names: Sequence[str]) -> int | None:
        """Place of the first of these columns that is there, whatever its case; None without any."""
        return next((self._folded[name] for name in names if name in self._folded), None)

    def one(self, names: Sequence[str], what: str) -> int:
        """As `find`.

        Raises:
            DataError: none of them is there.
        """
        place = self.find(names)
        if place is None:
            have = ", ".join(map(repr, self._folded)) or "none"
            hint = f"the first row names the columns; one of them should be {', '.join(names)}"
            raise DataError(f"{self.path}:1", f"no column of {what} (columns: {have})", hint)
        return place


class Target:
    """How the text after a path becomes a label. The base: one number, kept as it is.

    Attributes:
        typecode: of the labels in an `array`.
        wide: True for K labels of 0 or 1 an image, False for one.
        open_set: True if images that are not trained on may have other labels.
        by_folder: True if a folder of folders, one a class, gives labels.
        least: fewest label names.
    """

    typecode: ClassVar[str] = "f"
    wide: ClassVar[bool] = False
    open_set: ClassVar[bool] = False
    by_folder: ClassVar[bool] = False
    least: ClassVar[int] = 1

    def reader(self, form: Form) -> LineReader:
        """A function that adds one line of a list file, or says what is wrong with it."""
        separator, add = form.separator, self.cells(form)

        def read(line: bytes, into: Gathered) -> Trouble:
            path, *rest = line.rsplit(separator, 1)
            if not rest or not path.strip() or not _is_text(line):
                return "expected a path and a label", "a line is `path label`"
            return add(path, [rest[0].strip().decode("utf-8")], into)

        return read

    def columns(self, header: Header, form: Form) -> list[int]:
        """Places of the columns that a label is in."""
        return [header.one(_LABEL, "labels")]

    def cells(self, form: Form) -> CellReader:
        """A function that adds an image with the label in these cells, or says what is wrong with it."""

        def read(path: bytes, cells: Sequence[str], into: Gathered) -> Trouble:
            try:
                into.add(path, float(cells[0]))
            except ValueError:
                return f"label {_short(cells[0])} is not a number", "a line is `path label`"
            return None

        return read

    def names(self, data: Data) -> tuple[str, ...]:
        """The label names where neither the recipe nor a folder gives them.

        Raises:
            ConfigError: they have to be given.
        """
        return ("value",)


class ClassTarget(Target):
    """One class id."""

    typecode: ClassVar[str] = "i"
    by_folder: ClassVar[bool] = True
    least: ClassVar[int] = 2

    def reader(self, form: Form) -> LineReader:
        return _Class(form)

    def cells(self, form: Form) -> CellReader:
        ids = {name: i for i, name in enumerate(form.names)}

        def read(path: bytes, cells: Sequence[str], into: Gathered) -> Trouble:
            word, *camera = cells
            label = ids.get(word, int(word) if _is_number(word) else None)
            if label is None:
                what = f"label {word!r} is no id" + (" and no label name" if form.names else "")
                return what, f"known: {', '.join(form.names[:10])}" if form.names else ""
            if label > form.highest:
                return out_of_range(word, form)
            if camera and not _is_number(camera[0]):
                return f"camera {camera[0]!r} is not a whole number", ""
            into.add(path, label, int(camera[0]) if camera else -1)
            return None

        return read

    def names(self, data: Data) -> tuple[str, ...]:
        if data.relabel:
            from tinysight.data.lists import occurring_ids  # which imports this module

            return tuple(map(str, occurring_ids(data).tolist()))
        hint = "list them by class id, or name a file with a line `id name` for each"
        raise ConfigError("data.labels", "the label names are missing", hint)


class IdentityTarget(ClassTarget):
    """An id, perhaps a camera."""

    open_set: ClassVar[bool] = True

    def reader(self, form: Form) -> LineReader:
        return _Identity(form)

    def columns(self, header: Header, form: Form) -> list[int]:
        camera = header.find(_CAMERA)
        identity = header.one(_IDENTITY, "identities")
        return [identity] if camera is None else [identity, camera]

    def names(self, data: Data) -> tuple[str, ...]:
        from tinysight.data.lists import occurring_ids

        ids = occurring_ids(data).tolist()
        return tuple(map(str, ids if data.relabel else range(ids[-1] + 1)))


class MultilabelTarget(Target):
    """0 or 1 for every label: `0,1,0`, or a column for each."""

    typecode: ClassVar[str] = "b"
    wide: ClassVar[bool] = True

    def reader(self, form: Form) -> LineReader:
        return _Multilabel(form)

    def columns(self, header: Header, form: Form) -> list[int]:
        if form.names and all(name in header.places for name in form.names):
            return [header.places[name] for name in form.names]
        return super().columns(header, form)

    def cells(self, form: Form) -> CellReader:
        def read(path: bytes, cells: Sequence[str], into: Gathered) -> Trouble:
            values = cells if len(cells) > 1 else [v.strip() for v in cells[0].split(",")]
            known = into.num_labels or len(values)
            if len(values) != known:
                hint = "one for each name in data.labels"
                return f"expected {known} labels, got {len(values)}", hint
            if any(value not in ("0", "1") for value in values):
                return f"labels {','.join(values)!r} are not 0 or 1 each", ""
            into.add(path, [value == "1" for value in values])
            return None

        return read

    def names(self, data: Data) -> tuple[str, ...]:
        from tinysight.data.lists import read_first

        return tuple(map(str, range(read_first(data).labels.shape[1])))


class NoTarget(ClassTarget):
    """Nothing: a transform sets the label, or labels are not used."""

    by_folder: ClassVar[bool] = False

    def reader(self, form: Form) -> LineReader:
        return _Alone(form)

    def columns(self, header: Header, form: Form) -> list[int]:
        return []

    def cells(self, form: Form) -> CellReader:
        def read(path: bytes, cells: Sequence[str], into: Gathered) -> Trouble:
            into.add(path, UNLABELLED)
            return None

        return read


class _Class:
    def __init__(self, form: Form) -> None:
        self.form = form
        self.separator = form.separator
        self.highest = form.highest

    def __call__(self, line: bytes, into: Gathered) -> Trouble:
        fields = line.rsplit(self.separator, 1)
        label = fields[-1].strip()
        plain = len(fields) == 2 and label.isdigit() and len(label) < 10
        if plain and int(label) <= self.highest and _is_path(fields[0], self.separator):
            into.add(fields[0], int(label))
            return None
        return _explain(line, self.form)


class _Identity:
    """`path id` or `path id camera`: which of the two, the first line decides."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.separator = form.separator
        self.numbers = 0

    def __call__(self, line: bytes, into: Gathered) -> Trouble:
        fields = [f.strip() for f in line.rsplit(self.separator, 2)]
        self.numbers = self.numbers or (1 + (len(fields) == 3 and _is_id(fields[1])))
        path, *numbers = (
            fields if self.numbers == 2 else [f.strip() for f in line.rsplit(self.separator, 1)]
        )
        count = len(numbers)
        if count != self.numbers or not all(map(_is_id, numbers)) or not _is_text(path):
            words = "an identity" + (" and a camera" if self.numbers == 2 else "")
            what = f"expected a path, {words}, as the first line has"
            return (what if _is_text(line) else "not UTF-8 text"), "a line is `path id [camera]`"
        if int(numbers[0]) > self.form.highest:
            what = f"identity {int(numbers[0])} is not one of 0 to {self.form.highest}"
            return what, "set data.relabel: true to number those that occur"
        into.add(path, int(numbers[0]), int(numbers[1]) if count == 2 else -1)
        return None


class _Multilabel:
    def __init__(self, form: Form) -> None:
        self.form = form
        self.separator = form.separator

    def __call__(self, line: bytes, into: Gathered) -> Trouble:
        path, *rest = line.rsplit(self.separator, 1)
        values = rest[0].strip().split(b",") if rest else []
        known = into.num_labels or len(values)
        if not values or not path.strip() or not _is_text(line):
            what = "no labels after the path" if _is_text(line) else "not UTF-8 text"
            return what, "a line is `path<tab>0,1,0`"
        if len(values) != known:
            hint = "one for each name in data.labels"
            return f"expected {known} labels, got {len(values)}", hint
        if any(value not in (b"0", b"1") for value in values):
            text = rest[0].strip().decode("utf-8")
            return f"labels {_short(text)} are not 0 or 1 each", "a line is `path<tab>0,1,0`"
        into.add(path, [value == b"1" for value in values])
        return None


class _Alone:
    """A path; what follows it is passed over: after a tab or the delimiter, or a number."""

    def __init__(self, form: Form) -> None:
        self.separator = form.separator
        self.labels_follow = not form.labelled

    def __call__(self, line: bytes, into: Gathered) -> Trouble:
        path = line.split(self.separator or b"\t", 1)[0].strip()
        if self.labels_follow and self.separator is None and b"\t" not in line:
            head, *last = path.rsplit(None, 1)
            path = head if last and last[0].replace(b",", b"").isdigit() else path
        if not _is_text(line):
            return "not UTF-8 text", "save the list file as UTF-8"
        if not path:
            return "no path in this line", ""
        into.add(path, UNLABELLED)
        return None


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def _is_id(text: bytes) -> bool:
    return text.isdigit() and len(text) < 10


def _is_path(text: bytes, separator: bytes | None) -> bool:
    """Whether `text` can be read and does not end in another number, as if in a second label."""
    if not _is_text(text):
        return False
    if not text[-1:].isdigit():
        return bool(text.strip())
    return len(text.rsplit(separator, 1)) == 1 or not text.rsplit(separator, 1)[1].isdigit()


def _is_text(text: bytes) -> bool:
    if b"\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _explain(line: bytes, form: Form) -> tuple[str, str]:
    """What is wrong with a `path label` line that was refused, and what to do."""
    if not _is_text(line):
        return "not UTF-8 text", "save the list file as UTF-8"
    fields = line.rsplit(form.separator, 1)
    label = fields[-1].strip().decode("utf-8")
    if len(fields) == 1:
        between = repr(form.delimiter) if form.delimiter else "blank or tab"
        return f"no {between} between path and label", _delimiter_hint(line)
    if not fields[0].strip():
        return "no path before the label", "a line is `path label`"
    if not label:
        return "no label after the path", "a line is `path label`"
    several = label.replace(",", " ").split()
    if len(several) > 1 and all(word.isdecimal() for word in several):
        hint = "keep one, or set data.target: multilabel"
        return f"expected one label, got {len(several)} ({_short(label)})", hint
    upto = "" if form.num_classes is None else f" from 0 to {form.highest}"
    if not label.lstrip("-").isdecimal():
        return f"label {_short(label)} is not a whole number{upto}", _delimiter_hint(line)
    if not (label.isdecimal() and len(label) < 10 and int(label) <= form.highest):
        return out_of_range(label, form)
    hint = "keep one; for a path that ends in a number set data.delimiter to a tab"
    return "expected one label, got 2", hint


def out_of_range(label: str, form: Form) -> tuple[str, str]:
    """The problem of a class id that is none."""
    what = f"label {_short(label, '')} is not one of 0 to {form.highest}"
    return what, f"correct it, or data.labels, which has {form.num_classes} names"


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
