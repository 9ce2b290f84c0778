"""The answer about one image, and the ways to write it down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO, TypedDict, cast

from tinysight.tasks.answers import AnyAnswer

CSV_COLUMNS = ("filename", "class_ids", "scores", "label_names", "error")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Result(TypedDict, total=False):
    """An answer and the image it is about. JSON-ready, with the keys of PaddleClas.

    Besides `filename` it has the keys of its bundle's post-processing: `class_ids`, `scores` and
    `label_names`; or `attributes` and `output`; or `scores` alone; or `code`.
    """

    class_ids: list[int]
    scores: list[float]
    label_names: list[str]
    attributes: list[str] | str
    output: list[int]
    code: list[int]
    filename: str


class Unreadable(NamedTuple):
    """An image that could not be read, and why."""

    filename: str
    reason: str


def result(answer: AnyAnswer | Mapping[str, Any], filename: str) -> Result:
    """`answer` about the image `filename`; an answer of another kind (boxes, embedding) keeps its own keys."""
    return cast(Result, {**answer, "filename": filename})


def as_row(item: Result | Unreadable) -> dict[str, Any]:
    """The JSON object about one image: its answer, or `error` with why there is none."""
    if isinstance(item, Unreadable):
        return {"filename": item.filename, "error": item.reason}
    return dict(item)


def from_row(row: Mapping[str, Any]) -> Result | Unreadable:
    """What `as_row` was given."""
    if "error" in row:
        return Unreadable(row["filename"], row["error"])
    return cast(Result, row)


def as_line(result: Result) -> str:
    """The line that PaddleClas' package prints.

    >>> as_line(dict(class_ids=[1], scores=[0.5], label_names=['blured'], filename='a.jpg'))
    "class_ids: [1], scores: [0.5], label_names: ['blured'], filename: a.jpg"
    """
    return ", ".join(f"{key}: {value}" for key, value in result.items())


def as_box_lines(found: Mapping[str, Any]) -> str:
    """A line for each box: name, label, score, x1 y1 x2 y2 in pixels.

    >>> as_box_lines(dict(label_names=['dog'], scores=[0.5], boxes_xyxy=[[1, 2, 3.25, 4]], filename='a.jpg'))
    'a.jpg: dog 0.50000 1.0 2.0 3.2 4.0'
    """
    rows = zip(found["label_names"], found["scores"], found["boxes_xyxy"], strict=True)
    lines = [
        f"{name} {score:.5f} " + " ".join(f"{v:.1f}" for v in box) for name, score, box in rows
    ]
    return "\n".join(f"{found['filename']}: {line}" for line in lines or ["nothing found"])


def as_vector_line(vector: Mapping[str, Any]) -> str:
    """The size of an embedding and its first numbers; all of them are in the JSON form.

    >>> as_vector_line(dict(embedding=[0.6, 0.8], filename='a.jpg'))
    'embedding: 2 numbers, 0.600000 0.800000, filename: a.jpg'
    """
    numbers = vector["embedding"]
    first = " ".join(f"{v:.6f}" for v in numbers[:4]) + (" ..." if len(numbers) > 4 else "")
    return f"embedding: {len(numbers)} numbers, {first}, filename: {vector['filename']}"


def as_deploy_line(result: Result) -> str:
    r"""The line that PaddleClas' deployment script prints.

    >>> as_deploy_line(dict(class_ids=[1], scores=[0.99], label_names=['x'], filename='d/a.jpg'))
    "a.jpg:\tclass id(s): [1], score(s): [0.99], label_name(s): ['x']"
    >>> as_deploy_line(dict(attributes=['Male', 'Hat: True'], output=[1, 0], filename='d/a.jpg'))
    "a.jpg:\t {'attributes': ['Male', 'Hat: True'], 'output': [1, 0]}"
    """
    if "class_ids" not in result:
        answer = {key: value for key, value in result.items() if key != "filename"}
        return f"{Path(result['filename']).name}:\t {answer}"
    scores = ", ".join(f"{score:.2f}" for score in result["scores"])
    return (
        f"{Path(result['filename']).name}:\tclass id(s): {result['class_ids']}, "
        f"score(s): [{scores}], label_name(s): {result['label_names']}"
    )


def csv_table(out: TextIO, *, heading: bool = True) -> Callable[[Result | Unreadable], None]:
    """Write the heading to `out`; returns what writes one row. Several classes are separated by
    semicolons. Attributes are written as label names, with the numbers of the outputs that are on.

    Every cell is quoted, so that any text comes back. A spreadsheet takes a cell that begins with
    `=` for a formula: such a file name is written with `./` before it, which names the same file;
    other such texts get an apostrophe.

    Args:
        out: opened with newline="".
        heading: False where a table is gone on with.
    """
    import csv

    table = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    if heading:
        table.writerow(CSV_COLUMNS)

    def write(item: Result | Unreadable) -> None:
        table.writerow(_cells(item))

    return write


def csv_name(filename: str) -> str:
    """How `csv_table` writes a file's name."""
    return _safe(filename, "./")


def read_csv_rows(file: IO[bytes]) -> Iterator[tuple[list[str], int]]:
    """Rows of a table that `csv_table` wrote, without its heading, each with the byte it ends at.

    Ends at the first row that is not whole or has other columns.
    """
    import csv
    import io

    end, held = 0, ""
    for line in file:
        end += len(line)
        held += line.decode("utf-8", "surrogateescape")
        if held.count('"') % 2:  # a line end inside a cell
            continue
        if not held.endswith("\n"):
            return
        row = next(csv.reader(io.StringIO(held, newline="")))
        if len(row) != len(CSV_COLUMNS):
            return
        if tuple(row) != CSV_COLUMNS:
            yield row, end
        held = ""


def _cells(item: Result | Unreadable) -> list[str]:
    if isinstance(item, Unreadable):
        return [csv_name(item.filename), "", "", "", _safe(item.reason, "'")]
    ids, names = item.get("class_ids", item.get("code", [])), item.get("label_names", [])
    if "attributes" in item:
        words = item["attributes"]
        names = [words] if isinstance(words, str) else words
        ids = [i for i, on in enumerate(item["output"]) if on]
    return [
        csv_name(item["filename"]),
        _joined(ids),
        _joined(item.get("scores", [])),
        _safe(_joined(names), "'"),
        "",
    ]


def _joined(values: Sequence[object]) -> str:
    return ";".join(map(str, values))


def _safe(text: str, prefix: str) -> str:
    return prefix + text if text.startswith(_FORMULA) else text
