"""The forms of a line of a list file: what each says after the path, and what is wrong with one."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tinysight.data.samples import UNLABELLED, Gathered
from tinysight.errors import DataError, Problem

Target = Literal["class", "multilabel", "identity", "transform"]
_SHOWN = 10  # bad lines that a message names
_MOST = 2_147_483_647  # what an int32 holds


class Form(NamedTuple):
    """What a line is expected to say.

    Attributes:
        target: `class` (one id), `multilabel` (`0,1,0`), `identity` (an id, perhaps a camera),
            `transform` (nothing).
        num_classes: K; None: not known, any id will do.
        delimiter: text between path and label; None: the last run of blanks or tabs.
        labelled: False: labels, if there are any, are passed over.
        names: the K label names, for a CSV file that uses them.
    """

    target: Target = "class"
    num_classes: int | None = None
    delimiter: str | None = None
    labelled: bool = True
    names: Sequence[str] = ()

    @property
    def separator(self) -> bytes | None:
        """The delimiter as bytes."""
        return self.delimiter.encode("utf-8") if self.delimiter else None

    @property
    def highest(self) -> int:
        """The highest id."""
        return _MOST if self.num_classes is None else self.num_classes - 1


class BadLines:
    """The bad lines of one file, those with the same trouble together."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.count = 0
        self._groups: dict[tuple[str, str], list[int]] = {}  # what, hint -> count, first lines

    def add(self, line: int, what: str, hint: str = "") -> None:
        """Line `line`, from 1, is bad."""
        self.count += 1
        if (what, hint) in self._groups or len(self._groups) < _SHOWN:
            group = self._groups.setdefault((what, hint), [0])
            group[0] += 1
            if len(group) <= _SHOWN:
                group.append(line)

    def problems(self) -> list[Problem]:
        """A problem for each kind of trouble."""
        problems, explained = [], 0
        for (what, hint), (count, first, *others) in self._groups.items():
            explained += count
            more = [f"and {count - 1 - len(others)} more"] if count - 1 > len(others) else []
            also = f" (also lines {', '.join([*map(str, others), *more])})" if others else ""
            problems.append(Problem(f"{self.source}:{first}", what + also, hint))
        if explained < self.count:
            problems.append(Problem("", f"and {self.count - explained} more bad lines"))
        return problems

    def error(self) -> DataError:
        """All of it as one error."""
        problems = self.problems()
        if len(problems) == 1:
            return DataError(*problems[0])
        return DataError.of(str(self.source), problems)


def read_lines(lines: Iterable[bytes], form: Form, into: Gathered, bad: BadLines) -> None:
    """Add the images of a list file to `into`, and the lines that cannot be read to `bad`."""
    read: _Reader = _READERS[form.target if form.labelled else "transform"](form)
    separator = form.separator
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
            into.gap(number)
        blank = 0
        problem = read(line, into)
        if problem:
            bad.add(number, *problem)
            into.gap(number + 1)


class _Class:
    def __init__(self, form: Form) -> None:
        self.form = form
        self.separator = form.separator
        self.highest = form.highest

    def __call__(self, line: bytes, into: Gathered) -> tuple[str, str] | None:
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

    def __call__(self, line: bytes, into: Gathered) -> tuple[str, str] | None:
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

    def __call__(self, line: bytes, into: Gathered) -> tuple[str, str] | None:
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

    def __call__(self, line: bytes, into: Gathered) -> tuple[str, str] | None:
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


_Reader = Callable[[bytes, Gathered], "tuple[str, str] | None"]
_READERS: dict[str, Callable[[Form], _Reader]] = {
    "class": _Class,
    "identity": _Identity,
    "multilabel": _Multilabel,
    "transform": _Alone,
}


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
