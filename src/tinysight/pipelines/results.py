"""The answer about one picture, and the ways to write it down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tinysight.postprocess.answers import Answer

CSV_COLUMNS = ("filename", "class_ids", "scores", "label_names", "error")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Result(Answer):
    """An answer and the picture it is about. JSON-ready, with the keys of the reference."""

    filename: str


class Unreadable(NamedTuple):
    """A picture that could not be read, and why."""

    filename: str
    reason: str


def result(answer: Answer, filename: str) -> Result:
    """`answer` about the picture `filename`."""
    return Result(
        class_ids=answer["class_ids"],
        scores=answer["scores"],
        label_names=answer["label_names"],
        filename=filename,
    )


def as_line(result: Result) -> str:
    """The line that the reference's package prints.

    >>> as_line(dict(class_ids=[1], scores=[0.5], label_names=['blured'], filename='a.jpg'))
    "class_ids: [1], scores: [0.5], label_names: ['blured'], filename: a.jpg"
    """
    return ", ".join(f"{key}: {value}" for key, value in result.items())


def as_deploy_line(result: Result) -> str:
    r"""The line that the reference's deployment script prints.

    >>> as_deploy_line(dict(class_ids=[1], scores=[0.99], label_names=['x'], filename='d/a.jpg'))
    "a.jpg:\tclass id(s): [1], score(s): [0.99], label_name(s): ['x']"
    """
    scores = ", ".join(f"{score:.2f}" for score in result["scores"])
    return (
        f"{Path(result['filename']).name}:\tclass id(s): {result['class_ids']}, "
        f"score(s): [{scores}], label_name(s): {result['label_names']}"
    )


def csv_row(result: Result | Unreadable) -> list[str]:
    """Cells for `CSV_COLUMNS`; several classes are separated by semicolons.

    A spreadsheet takes a cell that begins with `=` for a formula. Such a file name is written
    with `./` before it, which names the same file; other such texts get an apostrophe.
    """
    if isinstance(result, Unreadable):
        return [_safe(result.filename, "./"), "", "", "", _safe(result.reason, "'")]
    return [
        _safe(result["filename"], "./"),
        _joined(result["class_ids"]),
        _joined(result["scores"]),
        _safe(_joined(result["label_names"]), "'"),
        "",
    ]


def _joined(values: Sequence[object]) -> str:
    return ";".join(map(str, values))


def _safe(text: str, prefix: str) -> str:
    return prefix + text if text.startswith(_FORMULA) else text
