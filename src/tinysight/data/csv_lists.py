"""List files with columns: a CSV file whose header row names them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from tinysight.data.lines import BadLines, Form
from tinysight.data.samples import Gathered
from tinysight.data.targets import Header, Trouble
from tinysight.errors import DataError

_PATH = ("path", "image", "image_path", "img", "file", "filename", "file_name", "picture")
_BETWEEN = (",", ";", "\t", "|")


def read_csv(path: Path, form: Form, into: Gathered, bad: BadLines, limit: int | None) -> None:
    """Add the images of a CSV file to `into`, and the rows that cannot be read to `bad`.

    The header row names a column of paths and one of labels: ids or label names. For several labels
    it has `0,1,0` in the column, or a column of 0 and 1 for each label name.

    Raises:
        DataError: not UTF-8, no such columns, or quotes that are not closed.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"not UTF-8 text: {error.reason}", "save it as UTF-8") from None
    first = text.split("\n", 1)[0]
    between = form.delimiter or next((d for d in _BETWEEN if d in first), ",")
    if len(between) > 1:
        raise DataError(str(path), f"data.delimiter {between!r} is more than one character")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    try:
        header = Header(path, [name.strip() for name in next(rows, [])])
        kind, column = form.kind, header.one(_PATH, "paths")
        labels, add = kind.columns(header, form), kind.cells(form)
        due = 2
        for line, row in _numbered(rows):
            if limit is not None and len(into) >= limit:
                return
            if not any(row):
                continue
            if line != due:  # a blank line, a value of several lines, or a bad row before
                into.gap(line)
            image = row[column].strip().encode("utf-8") if len(row) == header.count else b""
            if len(row) != header.count:
                what = f"expected {header.count} columns, got {len(row)}"
                problem: Trouble = (what, "put quotes around a value that contains the delimiter")
            elif not image or b"\0" in image:
                problem = ("no path in this row", "")
            else:
                problem = add(image, [row[i].strip() for i in labels], into)
            if problem:
                bad.add(line, *problem)
            due = line + 1 if problem is None else -1
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}", f"not readable as CSV: {error}") from None


def _numbered(rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    line: int = rows.line_num + 1  # type: ignore[attr-defined]
    for row in rows:
        yield line, row
        line = rows.line_num + 1  # type: ignore[attr-defined]
