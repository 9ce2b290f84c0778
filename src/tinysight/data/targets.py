"""Targets: how a line, a CSV row or a folder becomes a label; one class per kind of label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

from tinysight.data.samples import UNLABELLED, Gathered
from tinysight.errors import ConfigError
from tinysight.tasks.base import target_of

if TYPE_CHECKING:
    from tinysight.config.schema import Data

Row: TypeAlias = tuple[bytes, Sequence[str]]  # path; cells of the label
RowReader: TypeAlias = Callable[[bytes, Sequence[str], Gathered], None]
_LABEL = ("label", "class", "class_id", "label_id", "target", "category", "labels", "label_name")
_MOST = 2_147_483_647  # what an int32 holds


class BadRow(ValueError):
    """A line or row that cannot be read: what is wrong, and what to do (empty: not known)."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what, self.hint = what, hint


class Form(NamedTuple):
    """What a line is expected to say.

    Attributes:
        target: name of a target, as in `data.target`.
        num_classes: K; None: not known, any id will do.
        delimiter: text between path and label; None: the last run of blanks or tabs.
        labelled: False: labels, if there are any, are passed over.
        names: the K label names, for a CSV file that uses them.
    """

    target: str = "class"
    num_classes: int | None = None
    delimiter: str | None = None
    labelled: bool = True
    names: Sequence[str] = ()

    @property
    def kind(self) -> Target:
        """What makes labels of lines; raises `UnknownName` for a target of no task."""
        return target_of(self.target) if self.labelled else NoTarget()

    @property
    def separator(self) -> bytes | None:
        """The delimiter as bytes."""
        return self.delimiter.encode("utf-8") if self.delimiter else None

    @property
    def highest(self) -> int:
        """The highest class id."""
        return _MOST if self.num_classes is None else self.num_classes - 1

    def gathered(self, limit: int | None = None) -> Gathered:
        """An empty list for labels of this form, of which `limit` images are kept."""
        kind = target_of(self.target)
        return Gathered((self.num_classes or 0) if kind.wide else None, kind.typecode, limit)


class Target:
    """How the text after a path becomes a label. The base: one number, kept as it is.

    Attributes:
        typecode: type of the labels in an `array`.
        wide: True for K labels of 0 or 1 an image, False for one.
        open_set: True if images that are not trained on may have other labels.
        by_folder: True if a folder of folders, one a class, gives labels.
        least: fewest label names.
        columns: names of the CSV column that a label may be in.
        more_columns: names of a second column, which a CSV file may have.
    """

    typecode: ClassVar[str] = "f"
    wide: ClassVar[bool] = False
    open_set: ClassVar[bool] = False
    by_folder: ClassVar[bool] = False
    least: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = _LABEL
    more_columns: ClassVar[tuple[str, ...]] = ()

    def count_cells(self, line: bytes, form: Form) -> int:
        """Number of cells after a path, by the first line of a list file."""
        return 1

    def split(self, line: bytes, form: Form, count: int) -> Row:
        """Path and `count` cells of a line of a list file; raises `BadRow`."""
        path, *cells = line.rsplit(form.separator, count)
        if len(cells) < count:
            between = repr(form.delimiter) if form.delimiter else "blank or tab"
            raise BadRow(f"no {between} between path and label")
        return _clean(path, form), [cell.strip().decode() for cell in cells]

    def reader(self, form: Form) -> RowReader:
        """A function that adds an image with the label in some cells; it raises `BadRow`."""

        def read(path: bytes, cells: Sequence[str], into: Gathered) -> None:
            try:
                into.add(path, float(cells[0]))
            except ValueError:
                raise BadRow(f"label {_short(cells[0])} is not a number") from None

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

    def split(self, line: bytes, form: Form, count: int) -> Row:
        path, cells = super().split(line, form, count)
        if path[-1:].isdigit() and cells[0].isdecimal():
            second = path.rsplit(form.separator, 1)[1:]
            if second and second[0].isdigit():
                hint = "keep one; for a path that ends in a number set data.delimiter to a tab"
                raise BadRow("expected one label, got 2", hint)
        return path, cells

    def reader(self, form: Form) -> RowReader:
        ids = {name: i for i, name in enumerate(form.names)}
        highest = form.highest

        def read(path: bytes, cells: Sequence[str], into: Gathered) -> None:
            word = cells[0]
            label = ids[word] if word in ids else _number(word)
            if not 0 <= label <= highest:
                raise _bad_label(word, form)
            camera = _number(cells[1]) if len(cells) > 1 else -1
            if camera < 0 and len(cells) > 1:
                raise BadRow(f"camera {cells[1]!r} is not a whole number")
            into.add(path, label, camera)

        return read

    def names(self, data: Data) -> tuple[str, ...]:
        from tinysight.data.lists import occurring_ids  # which imports this module

        if data.relabel:
            return tuple(map(str, occurring_ids(data).tolist()))
        hint = "list them by class id, or name a file with a line `id name` for each"
        raise ConfigError("data.labels", "the label names are missing", hint)


class IdentityTarget(ClassTarget):
    """An id, perhaps a camera: which of the two, the first line decides."""

    open_set: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("identity", "id", "pid", *_LABEL)
    more_columns: ClassVar[tuple[str, ...]] = ("camera", "cam", "camera_id", "camid")

    def count_cells(self, line: bytes, form: Form) -> int:
        fields = line.rsplit(form.separator, 2)
        return 1 + (len(fields) == 3 and fields[1].strip().isdigit())

    def split(self, line: bytes, form: Form, count: int) -> Row:
        path, *cells = line.rsplit(form.separator, count)
        if len(cells) < count or not all(cell.strip().isdigit() for cell in cells):
            words = "a path, an identity" + (" and a camera" if count == 2 else "")
            raise BadRow(f"expected {words}, as the first line has", "a line is `path id [camera]`")
        return _clean(path, form), [cell.strip().decode() for cell in cells]

    def names(self, data: Data) -> tuple[str, ...]:
        from tinysight.data.lists import occurring_ids

        ids = occurring_ids(data).tolist()
        return tuple(map(str, ids if data.relabel else range(ids[-1] + 1)))


class MultilabelTarget(Target):
    """0 or 1 for every label: `0,1,0`, or a column for each."""

    typecode: ClassVar[str] = "b"
    wide: ClassVar[bool] = True

    def split(self, line: bytes, form: Form, count: int) -> Row:
        if len(line.rsplit(form.separator, 1)) < 2:
            raise BadRow("no labels after the path", "a line is `path<tab>0,1,0`")
        return super().split(line, form, count)

    def reader(self, form: Form) -> RowReader:
        def read(path: bytes, cells: Sequence[str], into: Gathered) -> None:
            values = cells if len(cells) > 1 else [v.strip() for v in cells[0].split(",")]
            known = into.num_labels or len(values)
            if len(values) != known:
                hint = "one for each name in data.labels"
                raise BadRow(f"expected {known} labels, got {len(values)}", hint)
            if any(value not in ("0", "1") for value in values):
                what = f"labels {_short(','.join(values))} are not 0 or 1 each"
                raise BadRow(what, "a line is `path<tab>0,1,0`")
            into.add(path, [value == "1" for value in values])

        return read

    def names(self, data: Data) -> tuple[str, ...]:
        from tinysight.data.lists import read_first

        return tuple(map(str, range(read_first(data).labels.shape[1])))


class NoTarget(ClassTarget):
    """Nothing: a transform sets the label, or labels are not used."""

    by_folder: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ()

    def split(self, line: bytes, form: Form, count: int) -> Row:
        """The path; what follows it is passed over: after a tab or the delimiter, or a number."""
        path, *rest = line.split(form.separator or b"\t", 1)
        if not (form.labelled or form.separator or rest):
            head, *last = path.strip().rsplit(None, 1)
            path = head if last and last[0].replace(b",", b"").isdigit() else path
        return _clean(path, form), ()

    def reader(self, form: Form) -> RowReader:
        return lambda path, _, into: into.add(path, UNLABELLED)


def _clean(path: bytes, form: Form) -> bytes:
    """The path of a line; a comma before the blank belongs to the delimiter."""
    path = path.strip()
    if not form.separator:
        path = path.removesuffix(b",").removesuffix(b";")
    if path[:1] in (b'"', b"'") and path[-1:] == path[:1] and path[1:]:
        raise BadRow(f"quotes around the path {path.decode()}", "remove them")
    return path


def _number(text: str) -> int:
    """A whole number of up to nine digits; -1 for other text."""
    return int(text) if text.isdecimal() and len(text) < 10 else -1


def _bad_label(text: str, form: Form) -> BadRow:
    """What is wrong with a class id or an identity, and what to do."""
    if not (several := text.replace(",", " ").split()):
        return BadRow("no label after the path")
    if len(several) > 1 and all(word.isdecimal() for word in several):
        hint = "keep one, or set data.target: multilabel"
        return BadRow(f"expected one label, got {len(several)} ({_short(text)})", hint)
    if form.names and not text.lstrip("-").isdecimal():
        hint = f"known: {', '.join(form.names[:10])}"
        return BadRow(f"label {_short(text)} is no id and no label name", hint)
    if not text.lstrip("-").isdecimal():
        upto = "" if form.num_classes is None else f" from 0 to {form.highest}"
        return BadRow(f"label {_short(text)} is not a whole number{upto}")
    hint = f"correct it, or data.labels, which has {form.num_classes} names"
    if form.kind.open_set:
        hint = "set data.relabel: true to number those that occur"
    return BadRow(f"label {_short(text, '')} is not one of 0 to {form.highest}", hint)


def _short(text: str, quote: str = "'") -> str:
    return quote + (text if len(text) <= 40 else f"{text[:37]}...") + quote
