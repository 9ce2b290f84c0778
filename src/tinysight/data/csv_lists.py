"""List files with columns: a CSV file whose header row names them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tinysight.data.lines import BadLines, Form, out_of_range
from tinysight.data.samples import UNLABELLED, Gathered
from tinysight.errors import DataError

_PATH = ("path", "image", "image_path", "img", "file", "filename", "file_name", "picture")
_LABEL = ("label", "class", "class_id", "label_id", "target", "category", "labels", "label_name")
_IDENTITY = ("identity", "id", "pid", *_LABEL)
_CAMERA = ("camera", "cam", "camera_id", "camid")
_BETWEEN = (",", ";", "\t", "|")


def is_csv(path: Path) -> bool:
    """Whether the name says that it is a file with columns."""
    return path.suffix.lower() == ".csv"


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
        header = [name.strip() for name in next(rows, [])]
        columns = _Columns(path, header, form)
        due = 2
        for line, row in _numbered(rows):
            if limit is not None and len(into) >= limit:
                return
            if not any(row):
                continue
            if line != due:  # a blank line, a value of several lines, or a bad row before
                into.gap(line)
            problem = columns.read(row, into)
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


class _Columns:
    """Which column says what."""

    def __init__(self, path: Path, header: Sequence[str], form: Form) -> None:
        folded = {name.lower(): i for i, name in reversed(list(enumerate(header)))}
        exact = {name: i for i, name in enumerate(header)}
        self.form = form
        self.count = len(header)
        self.ids: Mapping[str, int] = {name: i for i, name in enumerate(form.names)}
        self.path = _one(path, folded, _PATH, "paths")
        self.label: int | None = None
        self.camera: int | None = None
        self.several: list[int] = []
        if not form.labelled or form.target == "transform":
            return
        if form.target == "multilabel" and form.names and all(n in exact for n in form.names):
            self.several = [exact[name] for name in form.names]
        elif form.target == "identity":
            self.label = _one(path, folded, _IDENTITY, "identities")
            self.camera = next((folded[name] for name in _CAMERA if name in folded), None)
        else:
            self.label = _one(path, folded, _LABEL, "labels")

    def read(self, row: Sequence[str], into: Gathered) -> tuple[str, str] | None:
        """Add one row, or say what is wrong with it."""
        if len(row) != self.count:
            hint = "put quotes around a value that contains the delimiter"
            return f"expected {self.count} columns, got {len(row)}", hint
        path, form = row[self.path].strip().encode("utf-8"), self.form
        if not path or b"\0" in path:
            return "no path in this row", ""
        if self.several or (form.target == "multilabel" and self.label is not None):
            return self._several(path, row, into)
        if self.label is None:
            into.add(path, UNLABELLED)
            return None
        word = row[self.label].strip()
        label = self.ids.get(word, int(word) if word.isdecimal() and len(word) < 10 else None)
        if label is None:
            what = f"label {word!r} is no id" + (" and no label name" if form.names else "")
            return what, f"known: {', '.join(form.names[:10])}" if form.names else ""
        if label > form.highest:
            return out_of_range(word, form)
        camera = row[self.camera].strip() if self.camera is not None else ""
        if self.camera is not None and not (camera.isdecimal() and len(camera) < 10):
            return f"camera {camera!r} is not a whole number", ""
        into.add(path, label, int(camera) if camera else -1)
        return None

    def _several(self, path: bytes, row: Sequence[str], into: Gathered) -> tuple[str, str] | None:
        values = [row[i].strip() for i in self.several]
        if self.label is not None:
            values = [v.strip() for v in row[self.label].split(",")]
        known = into.num_labels or len(values)
        if len(values) != known:
            hint = "one for each name in data.labels"
            return f"expected {known} labels, got {len(values)}", hint
        if any(value not in ("0", "1") for value in values):
            return f"labels {','.join(values)!r} are not 0 or 1 each", ""
        into.add(path, [value == "1" for value in values])
        return None


def _one(path: Path, folded: Mapping[str, int], names: Sequence[str], what: str) -> int:
    found = next((folded[name] for name in names if name in folded), None)
    if found is None:
        have = ", ".join(map(repr, folded)) or "none"
        hint = f"the first row names the columns; one of them should be {', '.join(names)}"
        raise DataError(f"{path}:1", f"no column of {what} (columns: {have})", hint)
    return found
