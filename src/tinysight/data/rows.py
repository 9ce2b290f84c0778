"""The rows of a list file: lines of text, or of a CSV file with a header; and what is wrong with them."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from tinysight.data.samples import Gathered
from tinysight.data.targets import BadRow, ClassTarget, Form, Row
from tinysight.errors import DataError, Problem, unseen
from tinysight.transforms.base import EXTENSIONS

_Parsed: TypeAlias = "tuple[Iterator[tuple[int, Any]], Callable[[Any], Row]]"  # by line; a parser
_SHOWN = 10  # bad lines that a message names
_PATH = ("path", "image", "image_path", "img", "file", "filename", "file_name", "picture")
_UNLISTED = re.compile("[\r\n\t\0\ud800-\udfff]|^\\s|\\s$")
_BETWEEN = (",", ";", "\t", "|")
_BOXES = (  # columns of a table of boxes
    *({f"{a}min", f"{b}min", f"{a}max", f"{b}max"} for a, b in ("xy", ("x_", "y_"))),
    *({f"x{i}", f"y{i}", f"x{i + 1}", f"y{i + 1}"} for i in (0, 1)),
    *({"left", "top", *rest} for rest in (("right", "bottom"), ("width", "height"))),
    *({"x", "y", *rest} for rest in (("w", "h"), ("width", "height"))),
    *({name} for name in ("bbox", "box", "bounding_box", "segmentation")),
)


class BadLines:
    """The bad lines of one file, those with the same problem together."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.count = 0
        self._groups: dict[tuple[str, str], list[int]] = {}  # what, hint -> count, first lines

    def add(self, line: int, what: str, hint: str) -> None:
        """Line `line`, from 1, is bad."""
        self.count += 1
        if (what, hint) in self._groups or len(self._groups) < _SHOWN:
            group = self._groups.setdefault((what, hint), [0])
            group[0] += 1
            if len(group) <= _SHOWN:
                group.append(line)

    def problems(self) -> list[Problem]:
        """A problem for each kind."""
        problems, explained = [], 0
        for (what, hint), (count, first, *others) in self._groups.items():
            explained += count
            more = [f"and {count - 1 - len(others)} more"] if count - 1 > len(others) else []
            also = f" (also lines {', '.join([*map(str, others), *more])})" if others else ""
            problems.append(Problem(f"{self.source}:{first}", what + also, hint))
        if explained < self.count:
            problems.append(Problem("", f"and {self.count - explained} more bad lines"))
        return problems


def read_rows(path: Path, form: Form, into: Gathered) -> BadLines:
    """Add the images of a list file to `into`, which has begun its section.

    A `.csv` file has a header row that names a column of paths and one of labels: ids or label names. For several
    labels it has `0,1,0` in the column, or a column of 0 and 1 for each label name.

    Args:
        path: list file.
        form: what a line is expected to say.
        into: images so far; nothing is read beyond its limit.

    Returns:
        The rows that cannot be read.

    Raises:
        DataError: the file is an image; a CSV file is not UTF-8, lacks a column, or has quotes that are not closed.
        OSError: the file cannot be read.
    """
    refuse_image(path)
    bad, due, limit = BadLines(path), into.sections[-1].line, into.limit
    with path.open("rb") as file:
        if is_csv(path):
            rows, parse, form = _csv_rows(path, file.read(), form)
        else:
            form = form._replace(names=())  # a line of text has ids
            rows, parse = _text_rows(file, form)
        add = form.kind.reader(form)
        plain = type(form.kind) is ClassTarget and not (is_csv(path) or form.separator)
        ends = form.highest + 1 if plain else 0
        for number, row in rows:
            if limit is not None and len(into) >= limit:
                break
            if number != due:  # a bad row before, a blank row, or a value of several lines
                into.gap(number)
            due = number + 1
            if ends:  # a plain `path label` line, as nearly all are, in a third of the time
                start, *word = row.rsplit(None, 1) or [b""]
                known = word and word[0].isdigit() and len(word[0]) < 10 and start[-1:].isalpha()
                if known and row.isascii() and b"\0" not in row and (label := int(word[0])) < ends:
                    into.add(start.strip(), label)
                    continue
            try:
                image, cells = parse(row)
                if not image or b"\0" in image:
                    raise BadRow("no path in this line")
                add(image, cells, into)
            except BadRow as error:
                hint = error.hint or _unseen_hint(row) or _delimiter_hint(row, form)
                bad.add(number, error.what, hint)
                due = -1
    return bad


def unlisted(path: str) -> str:
    """Why no line of a list file can hold a path; empty if one can."""
    return "its name is no text, or has a line break or tab in it; rename it" * bool(
        _UNLISTED.search(path)
    )


def refuse_image(path: Path) -> None:
    """Raise DataError if what should be a list of images is one by its name."""
    if path.suffix.lower() in EXTENSIONS:
        hint = "name a folder of images, or a text or CSV file with a line for each"
        raise DataError(str(path), "an image, not a list of images", hint)


def is_csv(path: Path) -> bool:
    """True if the name of a list file says that it has columns."""
    return path.suffix.lower() == ".csv"


def _text_rows(lines: Iterable[bytes], form: Form) -> _Parsed:
    kind, separator, count = form.kind, form.separator, 0

    def rows() -> Iterator[tuple[int, bytes]]:
        blank = 0  # the first of the blank lines just read; they are bad only if more text follows
        for number, raw in enumerate(_ended(lines), 1):
            line = raw.rstrip(b" \r\n" if separator else None)
            line = line.removeprefix(codecs.BOM_UTF8)  # of each file that was joined
            if not line or line.isspace():
                blank = blank or number
                continue
            if blank:
                yield from ((place, b"") for place in range(blank, number))
                blank = 0
            yield number, line

    def parse(line: bytes) -> Row:
        nonlocal count
        if not line:
            raise BadRow("blank line", "remove it")
        try:
            line.replace(b"\0", b"\xff").decode("utf-8")  # a NUL is no text either
        except UnicodeDecodeError:
            raise BadRow("not UTF-8 text", "save the list file as UTF-8") from None
        count = count or kind.count_cells(line, form)
        return kind.split(line, form, count)

    return rows(), parse


def _ended(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end with LF, CR LF, or CR alone."""
    for line in lines:
        if b"\r" in line[:-2]:
            yield from line.removesuffix(b"\n").removesuffix(b"\r").split(b"\r")
        else:
            yield line


def _csv_rows(
    path: Path, data: bytes, form: Form
) -> tuple[Iterator[tuple[int, Any]], Callable[[Any], Row], Form]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"not UTF-8 text: {error.reason}", "save it as UTF-8") from None
    first = text.split("\n", 1)[0]
    between = form.delimiter or next((d for d in _BETWEEN if d in first), ",")
    if len(between) > 1:
        raise DataError(str(path), f"data.delimiter {between!r} is more than one character")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)

    def rows() -> Iterator[tuple[int, list[str]]]:
        number = 1
        try:
            for row in reader:
                if number == 1 or any(row):
                    yield number, [cell.strip() for cell in row]
                number = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}", f"not readable as CSV: {error}") from None

    def parse(row: Sequence[str]) -> Row:
        if len(row) != len(header):
            hint = "put quotes around a value that contains the delimiter"
            raise BadRow(f"expected {len(header)} columns, got {len(row)}", hint)
        return row[column].encode("utf-8"), [row[i] for i in labels]

    numbered = rows()
    _, header = next(numbered, (1, []))
    column, labels = _columns(path, header, form)
    if labels and form.names and not form.kind.wide:
        read = list(numbered)
        words = {r[labels[0]]: n for n, r in reversed(read) if len(r) == len(header)}
        return iter(read), parse, form._replace(names=_names_or_none(path, words, form))
    return numbered, parse, form


def names_in(path: Path, form: Form) -> tuple[str, ...]:
    """The label names that a CSV file uses, sorted; none where it has ids, or is no CSV file.

    Raises:
        DataError, OSError: as `read_rows`.
    """
    if not is_csv(path) or form.kind.wide:
        return ()
    rows, parse, _ = _csv_rows(path, path.read_bytes(), form._replace(names=()))
    words: set[str] = set()
    for _, row in rows:
        with suppress(BadRow):
            words.update(parse(row)[1][:1])
    return () if all(word.isdecimal() or not word for word in words) else tuple(sorted(words))


def _names_or_none(path: Path, words: Mapping[str, int], form: Form) -> Sequence[str]:
    """The label names, or nothing where the column has ids: one rule for the whole file.

    Args:
        path: of the file, for messages.
        words: what the column of labels has, each with its first line.
        form: label names and number of classes.

    Raises:
        DataError: the column has both, or a number that is the name of one class and the id of another.
    """
    place = {name: i for i, name in enumerate(form.names)}
    ids = {word: int(word) for word in words if word.isdecimal() and len(word) < 10}
    hint = "write ids alone, or names alone"
    for word in sorted(ids.keys() & place.keys(), key=words.__getitem__):
        if ids[word] != place[word] and ids[word] <= form.highest:
            what = f"label {word} is the id of one class and the name of another"
            names = "use names that are no numbers, or a .txt list of ids"
            raise DataError(f"{path}:{words[word]}", what, names)
    named, numbered = place.keys() & words.keys() - ids.keys(), ids.keys() - place.keys()
    if named and numbered:
        name, number = (min(some, key=words.__getitem__) for some in (named, numbered))
        what = f"labels are names ({name!r}, line {words[name]}) and ids ({number}, line {words[number]})"
        raise DataError(str(path), what, hint)
    return () if numbered else form.names


def _columns(path: Path, header: Sequence[str], form: Form) -> tuple[int, list[int]]:
    """Places of the column of paths, and of those that a label is in."""
    places = {name: i for i, name in enumerate(header)}
    folded = {name.lower(): i for i, name in reversed(list(enumerate(header)))}

    def find(names: Sequence[str], needed: str = "") -> list[int]:
        found = [folded[name] for name in names if name in folded][:1]
        if needed and names and not found:
            have = ", ".join(map(repr, folded)) or "none"
            hint = f"the first row names the columns; one of them should be {', '.join(names)}"
            raise DataError(f"{path}:1", f"no column of {needed} (columns: {have})", hint)
        return found

    kind, (column,) = form.kind, find(_PATH, "paths")
    if kind.columns and (boxes := next((some for some in _BOXES if some <= folded.keys()), None)):
        named = ", ".join(name for name in header if name.lower() in boxes)
        hint = "`tinysight data prepare` makes crops of boxes; else remove these columns"
        raise DataError(f"{path}:1", f"a table of boxes, not of images (columns {named})", hint)
    if kind.wide and form.names and all(name in places for name in form.names):
        return column, [places[name] for name in form.names]
    return column, find(kind.columns, "labels") + find(kind.more_columns)


def _unseen_hint(row: bytes | list[str]) -> str:
    """What a bad line has that is not seen where it is shown."""
    text = row.decode("utf-8", "replace") if isinstance(row, bytes) else "".join(row)
    hidden = unseen(text.replace("\t", " "))
    return f"it has {hidden}, which is not seen" if hidden and "\ufffd" not in text else ""


def _delimiter_hint(line: bytes | list[str], form: Form) -> str:
    """What to do about a line of text in which the delimiter is not where it should be."""
    if isinstance(line, list):
        return ""
    for name, text in (("tab", "\t"), ("comma", ","), ("semicolon", ";"), ("blank", " ")):
        path, found, label = line.rpartition(text.encode())
        if path and found and label.strip().isdigit():
            return f"if the {name} separates path and label, set data.delimiter: {json.dumps(text)}"
    named = type(form.kind) is ClassTarget
    return "a line is `path label`" + ", the label an id; a .csv file may have names" * named
