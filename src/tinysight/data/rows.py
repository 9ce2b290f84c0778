"""The rows of a list file: lines of text, or of a CSV file with a header; and what is wrong with them."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tinysight.data.samples import Gathered
from tinysight.data.targets import BadRow, ClassTarget, Form, Row
from tinysight.errors import DataError, Problem

_Parsed: TypeAlias = "tuple[Iterator[tuple[int, Any]], Callable[[Any], Row]]"  # by line; a parser
_SHOWN = 10  # bad lines that a message names
_PATH = ("path", "image", "image_path", "img", "file", "filename", "file_name", "picture")
_BETWEEN = (",", ";", "\t", "|")


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
        DataError: a CSV file is not UTF-8, lacks a column, or has quotes that are not closed.
        OSError: the file cannot be read.
    """
    bad, due, limit = BadLines(path), into.sections[-1].line, into.limit
    with path.open("rb") as file:
        if is_csv(path):
            rows, parse = _csv_rows(path, file.read(), form)
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
                bad.add(number, error.what, error.hint or _delimiter_hint(row))
                due = -1
    return bad


def is_csv(path: Path) -> bool:
    """True if the name of a list file says that it has columns."""
    return path.suffix.lower() == ".csv"


def _text_rows(lines: Iterable[bytes], form: Form) -> _Parsed:
    kind, separator, count = form.kind, form.separator, 0

    def rows() -> Iterator[tuple[int, bytes]]:
        blank = 0  # the first of the blank lines just read; they are bad only if more text follows
        for number, raw in enumerate(lines, 1):
            line = raw.rstrip(b" \r\n" if separator else None)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
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


def _csv_rows(path: Path, data: bytes, form: Form) -> _Parsed:
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
    return numbered, parse


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
    if kind.wide and form.names and all(name in places for name in form.names):
        return column, [places[name] for name in form.names]
    return column, find(kind.columns, "labels") + find(kind.more_columns)


def _delimiter_hint(line: bytes | list[str]) -> str:
    """What to do about a line of text in which the delimiter is not where it should be."""
    if isinstance(line, list):
        return ""
    for name, text in (("tab", "\t"), ("comma", ","), ("semicolon", ";"), ("blank", " ")):
        path, found, label = line.rpartition(text.encode())
        if path and found and label.strip().isdigit():
            return f"if the {name} separates path and label, set data.delimiter: {json.dumps(text)}"
    return "a line is `path label`"
