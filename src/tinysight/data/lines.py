"""A list file: the form of its lines, and what is wrong with them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tinysight.data.samples import Gathered
from tinysight.data.targets import NoTarget, Target
from tinysight.errors import DataError, Problem
from tinysight.tasks.base import target_of

_SHOWN = 10  # bad lines that a message names
_MOST = 2_147_483_647  # what an int32 holds


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

    def gathered(self) -> Gathered:
        """An empty list for labels of this form."""
        kind = target_of(self.target)
        return Gathered((self.num_classes or 0) if kind.wide else None, kind.typecode)

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
    read = form.kind.reader(form)
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
