"""The output of `predict`: standard output, or a file that is renamed when it is complete.

With `--json` and `--csv` the results so far lie in `FILE.<key>.part` beside the file: whole lines,
valid by themselves, added to as images are done. The key stands for what determines the results
(bundle, options, sources), so the same command finds them after an interruption and resumes, and
another command does not. `FILE.<key>.part.seen` holds a stamp of each image: one that has changed
since is done again.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

from tinysight import disk
from tinysight.pipelines.sources import stamp
from tinysight.tasks.results import Unreadable, csv_name, csv_table, json_lines, read_csv_rows

if TYPE_CHECKING:
    from tinysight.pipelines.sources import ImageInput
    from tinysight.tasks.results import Result

_Write = Callable[["Result | Unreadable"], None]
# By an earlier run: the image, whether it failed, where its line ends.
_Recorded = tuple[str, bool, int]


class Output:
    """Open results.

    Args:
        out: what they are written to.
        form: "text", "json", "csv", or "deploy" for the lines of PaddleClas' deployment script.
        part: the file of an interrupted run that is resumed, if there is one.
        seen: the stamps of its images.

    Attributes:
        done: images of which something was written, those of earlier runs among them.
        failed: those of them that could not be read.
        part: where the results stay if the run ends early; None where they do not.
    """

    def __init__(
        self, out: TextIO, form: str, part: Path | None = None, seen: IO[bytes] | None = None
    ) -> None:
        self._out, self._form, self.part, self._seen = out, form, part, seen
        self._stamps: deque[bytes] = deque()  # of the images under way
        self.done = self.failed = 0
        self._row: _Write | None = None

    def write(self, item: Result | Unreadable) -> None:
        """One image, in the form that was asked for; on its way at once."""
        self.done += 1
        self.failed += isinstance(item, Unreadable)
        self._row = self._row or self._begin()
        if self._seen:
            self._seen.write(self._stamps.popleft())
            self._seen.flush()
        self._row(item)
        self._out.flush()

    def pending(self, images: Iterator[ImageInput]) -> Iterator[ImageInput]:
        """The images of which nothing is written yet.

        The recorded results are compared with `images` one by one; from the first that is about
        another image (files came, went or changed) they are cut off and made again.
        """
        if self.part is None or self._seen is None:
            return images
        end = self._seen.seek(0)
        with self.part.open("rb") as file:
            for recorded, failed, line_end in _recorded(file, self._form):
                image = next(images, None)
                name = image and (csv_name(image.name) if self._form == "csv" else image.name)
                seen = self._seen.read(24)
                if image is None or name != recorded or seen != stamp(image.name):
                    images = chain([image] if image else [], images)
                    break
                end = line_end
                self.done += 1
                self.failed += failed
        self._out.seek(end)
        self._out.truncate(end)
        self._seen.truncate(self._seen.seek(24 * self.done))
        return self._stamped(images)

    def _stamped(self, images: Iterator[ImageInput]) -> Iterator[ImageInput]:
        for image in images:
            self._stamps.append(stamp(image.name))  # before it is read
            yield image

    def finish(self) -> None:
        """Write what is there without any image."""
        if self._row is None and not self.done:
            self._begin()

    def _begin(self) -> _Write:
        if self._form == "csv":
            return csv_table(self._out, heading=not (self.part and self._out.tell()))
        return json_lines(self._out) if self._form == "json" else self._line

    def _line(self, item: Result | Unreadable) -> None:
        if not isinstance(item, Unreadable):
            text = item.to_deploy_text() if self._form == "deploy" else item.to_text()
            self._out.write(text + "\n")


def _recorded(file: IO[bytes], form: str) -> Iterator[_Recorded]:
    """The whole lines of an interrupted run; a line that was cut off ends them."""
    if form == "csv":
        yield from ((row[0], bool(row[-1]), end) for row, end in read_csv_rows(file))
        return
    end = 0
    for line in file:
        end += len(line)
        try:
            row = json.loads(line)
            if not line.endswith(b"\n"):
                return
            yield row["filename"], "error" in row, end
        except (ValueError, KeyError, TypeError):
            return


@contextmanager
def opened(path: str | None, form: str, key: Callable[[], str] | None) -> Iterator[Output]:
    """Results on standard output, or in the file `path`, which appears when the block ends well.

    Args:
        path: the file; None and "-" are standard output. Devices and pipes are written through.
        form: see `Output`; "json" and "csv" may be resumed.
        key: makes a short text for what determines the results; None: they are not resumed.

    Raises:
        DataError: it cannot be written, or another process is writing it.
    """
    if path is None or disk.is_stdout(path):
        yield Output(sys.stdout, form)
        return
    how: Any = {"encoding": "utf-8", "errors": disk.ENCODABLE, "newline": ""}
    with disk.writing(path):
        if device := disk.open_device(path):
            with TextIOWrapper(device, **how) as file:
                yield Output(file, form)
            return
        target, resumable = disk.resolved(path), key if form in ("json", "csv") else None
        with disk.reserved(target, wait=False) as hidden, ExitStack() as stack:
            part = Path(f"{target}.{resumable()}.part") if resumable else hidden
            stamps = Path(f"{part}.seen")
            try:
                seen = stack.enter_context(stamps.open("a+b")) if resumable else None
                with part.open("a+" if resumable else "w", **how) as file:
                    output = Output(file, form, part if resumable else None, seen)
                    yield output
                    output.finish()
                    disk.move(file, part, target)
            finally:
                if resumable and part.exists() and not part.stat().st_size:
                    part.unlink()
                if not part.exists():
                    stamps.unlink(missing_ok=True)
