"""Where `predict` puts its answers: standard output, or a file that appears when it is complete.

With `--json` and `--csv` the answers so far lie in `FILE.<key>.part` beside the file: whole lines,
valid by themselves, added to as images are answered. The key stands for what determines the
answers (bundle, options, sources), so the same command finds them after an interruption and goes
on, and another command does not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TextIO

from tinysight.errors import DataError
from tinysight.tasks.results import (
    Unreadable,
    as_box_lines,
    as_deploy_line,
    as_line,
    as_row,
    as_vector_line,
    csv_name,
    csv_table,
    read_csv_rows,
)

if TYPE_CHECKING:
    from tinysight.pipelines.sources import ImageInput
    from tinysight.tasks.results import Result

_LINES: dict[str, Callable[[Result], str]] = {
    "boxes": as_box_lines,
    "deploy": as_deploy_line,
    "embedding": as_vector_line,
}


class Recorded(NamedTuple):
    """A line that an earlier run wrote: the image, whether it failed, and where the line ends."""

    name: str
    failed: bool
    end: int


class Output:
    """Open answers.

    Args:
        out: what they are written to.
        form: "text", "json" or "csv".
        kind: how text looks: name of the bundle's post-processing, or "deploy" for the lines of the
            reference's deployment script.
        part: the file of an interrupted run that is gone on with, if there is one.

    Attributes:
        answered: images with an answer, those of earlier runs among them.
        failed: images without.
        kept: where the answers stay if the run ends early; None where they do not.
    """

    def __init__(self, out: TextIO, form: str, kind: str, part: Path | None = None) -> None:
        self._line = _LINES.get(kind, as_line)
        self._out, self._form, self.kept = out, form, part
        self.answered = self.failed = 0
        self._row: Callable[[Result | Unreadable], None] | None = None

    def write(self, item: Result | Unreadable) -> None:
        """One image, in the form that was asked for; on its way at once."""
        if isinstance(item, Unreadable):
            self.failed += 1
        else:
            self.answered += 1
        if self._form == "csv":
            if self._row is None:
                self._row = csv_table(
                    self._out, heading=self._out.tell() == 0 if self.kept else True
                )
            self._row(item)
        elif self._form == "json":
            self._out.write(json.dumps(as_row(item)) + "\n")
        elif not isinstance(item, Unreadable):
            self._out.write(self._line(item) + "\n")
        self._out.flush()

    def left(self, found: Iterator[ImageInput]) -> Iterator[ImageInput]:
        """The images that are not answered yet.

        The recorded answers are compared with `found` one by one; from the first that is about
        another image (files came or went) they are cut off and made again.
        """
        if self.kept is None:
            return found
        end = 0
        with self.kept.open("rb") as file:
            for line in _recorded(file, self._form):
                image = next(found, None)
                name = image and (csv_name(image.name) if self._form == "csv" else image.name)
                if image is None or name != line.name:
                    found = chain([image] if image else [], found)
                    break
                end = line.end
                self.failed += line.failed
                self.answered += not line.failed
        self._out.seek(end)
        self._out.truncate(end)
        return found


def _recorded(file: IO[bytes], form: str) -> Iterator[Recorded]:
    """The whole lines of an interrupted run; a line that was cut off ends them."""
    if form == "csv":
        for row, end in read_csv_rows(file):
            yield Recorded(row[0], bool(row[-1]), end)
        return
    end = 0
    for line in file:
        end += len(line)
        try:
            row = json.loads(line)
            yield Recorded(row["filename"], "error" in row, end)
        except (ValueError, KeyError, TypeError):
            return


@contextmanager
def opened(path: str | None, form: str, kind: str, key: str) -> Iterator[Output]:
    """Answers on standard output, or in the file `path`, which appears when the block ends well.

    Args:
        path: the file, or None.
        form: "text", "json" or "csv"; the last two may be gone on with.
        kind: how text looks; see `Output`.
        key: of what determines the answers; short.

    Raises:
        DataError: it cannot be written, or another process is writing the same answers.
    """
    if path is None:
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        yield Output(sys.stdout, form, kind)
        return
    resumable = form in ("json", "csv")
    part = Path(f"{path}.{key if resumable else os.getpid()}.part")
    try:
        with part.open("a+" if resumable else "w", encoding="utf-8",
                       errors="surrogateescape", newline="") as file:  # fmt: skip
            if resumable:
                from tinysight.files import lock_file  # draws in YAML

                lock_file(file, path)
            output = Output(file, form, kind, part if resumable else None)
            yield output
            if form == "csv" and not (output.answered or output.failed):
                csv_table(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(path, f"cannot be written: {error.strerror}") from None
    finally:
        if not resumable or (part.exists() and not part.stat().st_size):
            part.unlink(missing_ok=True)
