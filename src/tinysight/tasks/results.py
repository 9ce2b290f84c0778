"""The result for one image: a frozen type for each kind, its output formats and its comparison.

A task of a user's own adds a frozen dataclass that inherits `Result`; what is not said otherwise follows from its
fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO, TypeVar

import numpy as np

from tinysight.errors import DataError

CSV_COLUMNS = ("filename", "class_ids", "scores", "label_names", "error")
Values = Sequence[object]  # of one cell of a table
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ROUNDING = 1e-5  # scores of boxes that differ by less count as equal
_R = TypeVar("_R", bound="Result")


class Difference(NamedTuple):
    """How far two results for one image lie apart.

    Attributes:
        flip: whether the decision differs: a class, a word, the number or a label of boxes; None for a result
            without one.
        score: largest difference of a score; of a vector, as a share of its length. NaN where one is NaN.
        mean: mean difference of a score.
        box: largest difference of a box's corner in x or y; None for a result without boxes.
    """

    flip: bool | None
    score: float = 0.0
    mean: float = 0.0
    box: float | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What a network and its post-processing say about one image. Arrays are read-only.

    Attributes:
        filename: name of the image's source; empty until a pipeline names it.
    """

    filename: str

    table = True  # whether it fits into a row of a CSV table

    def named(self: _R, filename: str) -> _R:
        """The same result under the name of an image."""
        return replace(self, filename=filename)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers under the names of PaddleClas, the file name last."""
        return {**_plain(self._values()), "filename": self.filename}

    def to_text(self) -> str:
        """The line that PaddleClas' package prints."""
        return ", ".join(f"{key}: {value}" for key, value in self.to_json().items())

    def to_deploy_text(self) -> str:
        """The line that PaddleClas' deployment script prints; where it is no row, `to_text`."""
        if not self.table:
            return self.to_text()
        return f"{Path(self.filename).name}:\t {_plain(self._values())}"

    def to_csv(self) -> list[str]:
        """Cells under `CSV_COLUMNS`; several values in one are separated by semicolons."""
        return self._cells(scores=[number for part in self._scores() for number in part.tolist()])

    def difference(self, other: Result) -> Difference:
        """How far `other`, the result of another engine for the same image, lies from this one."""
        flip = self.decision() != other.decision()
        a, b = (np.concatenate([np.empty(0), *of._scores()]) for of in (self, other))
        if a.shape != b.shape:  # what differs is the decision, or all of it
            return Difference(flip, 0.0 if flip else np.inf, 0.0 if flip else np.inf)
        apart = np.abs(a - b)
        return Difference(flip, *((float(apart.max()), float(apart.mean())) if apart.size else ()))

    def decision(self) -> Any:
        """What is said of the image, without how sure it is; comparable by `==`."""
        return _plain({k: v for k, v in self._values().items() if not _is_score(v)})

    def __getitem__(self, key: str) -> Any:
        return self.to_json()[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def _values(self) -> dict[str, Any]:
        names = (field.name for field in fields(self) if field.name != "filename")
        return {name: getattr(self, name) for name in names}

    def _scores(self) -> list[np.ndarray]:
        return [np.ravel(value) for value in self._values().values() if _is_score(value)]

    def _cells(self, ids: Values = (), scores: Values = (), names: Values = ()) -> list[str]:
        first, second, third = (";".join(map(str, values)) for values in (ids, scores, names))
        return [csv_name(self.filename), first, second, _safe(third, "'"), ""]

    def _set(self, name: str, kind: type[np.number], axes: int = 1) -> np.ndarray:
        """The field as a read-only array of integers (`np.int64`) or numbers (`np.floating`)."""
        array: np.ndarray = np.asarray(getattr(self, name))
        known, wide = ("iub", np.int64) if kind is np.int64 else ("iuf", np.float64)
        if array.ndim != axes or (array.size and array.dtype.kind not in known):
            what = f"expected numbers along {axes} axes, got {array.dtype} {array.shape}"
            raise DataError(f"{type(self).__name__}.{name}", what)
        array = array.view() if np.issubdtype(array.dtype, kind) else array.astype(wide)
        array.flags.writeable = False
        object.__setattr__(self, name, array)
        return array

    def _texts(self, name: str) -> tuple[str, ...]:
        texts = getattr(self, name)
        if not (isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts)):
            raise DataError(f"{type(self).__name__}.{name}", f"expected texts, got {texts!r}")
        object.__setattr__(self, name, tuple(texts))
        return tuple(texts)

    def _same_length(self, *lengths: int) -> None:
        if len(set(lengths)) > 1:
            raise DataError(type(self).__name__, f"fields of different lengths: {lengths}")


@dataclass(frozen=True, eq=False)
class ClassResult(Result):
    """Classes of an image, best first or, of several labels, by class id.

    Attributes:
        class_ids: (C,) integers.
        scores: (C,) probabilities.
        label_names: C names, or none where the labels are not known.
    """

    class_ids: np.ndarray
    scores: np.ndarray
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ids, scores = self._set("class_ids", np.int64), self._set("scores", np.floating)
        self._same_length(len(ids), len(scores), len(self._texts("label_names")) or len(ids))

    def to_deploy_text(self) -> str:
        r"""The line that PaddleClas' deployment script prints.

        >>> ClassResult("d/a.jpg", np.array([1]), np.array([0.99]), ("x",)).to_deploy_text()
        "a.jpg:\tclass id(s): [1], score(s): [0.99], label_name(s): ['x']"
        """
        ids, scores = self.class_ids.tolist(), ", ".join(f"{v:.2f}" for v in self.scores.tolist())
        texts = f"score(s): [{scores}], label_name(s): {list(self.label_names)}"
        return f"{Path(self.filename).name}:\tclass id(s): {ids}, {texts}"

    def to_csv(self) -> list[str]:
        """Cells under `CSV_COLUMNS`."""
        return self._cells(self.class_ids.tolist(), self.scores.tolist(), self.label_names)


@dataclass(frozen=True, eq=False)
class AttributeResult(Result):
    """What an image shows, in words.

    Attributes:
        attributes: words, or one sentence that may hold probabilities.
        output: (K,) of 0 and 1, one for each output of the network.
    """

    attributes: tuple[str, ...] | str
    output: np.ndarray

    def __post_init__(self) -> None:
        self._set("output", np.int64)
        if not isinstance(self.attributes, str):
            self._texts("attributes")

    def to_csv(self) -> list[str]:
        """Cells under `CSV_COLUMNS`: the words as label names, the outputs that are 1 as class ids."""
        words = (self.attributes,) if isinstance(self.attributes, str) else self.attributes
        return self._cells(np.flatnonzero(self.output).tolist(), names=words)

    def decision(self) -> Any:
        """Words and outputs.

        >>> words = "Color: (red, prob: 0.75), Type unknown"
        >>> AttributeResult("a.jpg", words, np.array([0, 1])).decision()
        (['Color: (red', 'Type unknown'], [0, 1])
        """
        words = self.attributes
        parts = words.split(", ") if isinstance(words, str) else words
        return [part for part in parts if not part.startswith("prob: ")], self.output.tolist()


@dataclass(frozen=True, eq=False)
class ScoreResult(Result):
    """The score of every class, (K,), in their order."""

    scores: np.ndarray

    def __post_init__(self) -> None:
        self._set("scores", np.floating)

    def decision(self) -> Any:
        """The best class, of equals the last as in `topk`."""
        return len(self.scores) - 1 - int(self.scores[::-1].argmax()) if self.scores.size else None


@dataclass(frozen=True, eq=False)
class CodeResult(Result):
    """An embedding as bits, eight a number: (D / 8,) integers from 0 to 255."""

    code: np.ndarray

    def __post_init__(self) -> None:
        self._set("code", np.int64)

    def to_csv(self) -> list[str]:
        """Cells under `CSV_COLUMNS`: the numbers as class ids."""
        return self._cells(self.code.tolist())


@dataclass(frozen=True, eq=False)
class EmbeddingResult(Result):
    """An image as a vector, (D,) float32."""

    embedding: np.ndarray

    table = False

    def __post_init__(self) -> None:
        self._set("embedding", np.floating)

    def to_text(self) -> str:
        """The size of the vector and its first numbers; all of them are in the JSON form.

        >>> EmbeddingResult("a.jpg", np.array([0.6, 0.8])).to_text()
        'embedding: 2 numbers, 0.600000 0.800000, filename: a.jpg'
        """
        numbers = self.embedding.tolist()
        first = " ".join(f"{v:.6f}" for v in numbers[:4]) + (" ..." if len(numbers) > 4 else "")
        return f"embedding: {len(numbers)} numbers, {first}, filename: {self.filename}"

    def to_deploy_text(self) -> str:
        r"""The line that PaddleClas' `predict_rec.py` prints.

        >>> EmbeddingResult("d/a.jpg", np.float32([0.6, 0.8])).to_deploy_text()
        'a.jpg:\t[0.6 0.8]'
        """
        return f"{Path(self.filename).name}:\t{self.embedding}"

    def difference(self, other: Result) -> Difference:
        """Differences of the numbers, as shares of this vector's length."""
        _, score, mean, _ = super().difference(other)
        length = max(float(np.linalg.norm(self.embedding.astype(np.float64))), 1e-30)
        return Difference(None, score / length, mean / length)


@dataclass(frozen=True, eq=False)
class BoxResult(Result):
    """Boxes in an image, in the order of the network.

    Attributes:
        label_ids: (B,) integers.
        scores: (B,) probabilities.
        label_names: B names.
        boxes_xyxy: (B, 4) float32, left, top, right and bottom in pixels.
    """

    label_ids: np.ndarray
    scores: np.ndarray
    label_names: tuple[str, ...]
    boxes_xyxy: np.ndarray

    table = False

    def __post_init__(self) -> None:
        if not len(self.boxes_xyxy):
            object.__setattr__(self, "boxes_xyxy", np.empty((0, 4), np.float32))
        ids, scores = self._set("label_ids", np.int64), self._set("scores", np.floating)
        boxes = self._set("boxes_xyxy", np.floating, 2)
        self._same_length(len(ids), len(scores), len(self._texts("label_names")), len(boxes))
        self._same_length(boxes.shape[1], 4)

    def to_text(self) -> str:
        """A line for each box: name, label, score, x1 y1 x2 y2 in pixels.

        >>> box = np.array([[1, 2, 3.25, 4]])
        >>> BoxResult("a.jpg", np.array([0]), np.array([0.5]), ("dog",), box).to_text()
        'a.jpg: dog 0.50000 1.0 2.0 3.2 4.0'
        """
        corners = [" ".join(f"{v:.1f}" for v in box) for box in self.boxes_xyxy.tolist()]
        rows = zip(self.label_names, self.scores.tolist(), corners, strict=True)
        lines = [f"{name} {score:.5f} {box}" for name, score, box in rows]
        return "\n".join(f"{self.filename}: {line}" for line in lines or ["nothing found"])

    def to_deploy_text(self) -> str:
        """The line that PaddleClas' `predict_det.py` prints.

        >>> box = np.float32([[1, 2, 3.25, 4]])
        >>> BoxResult("a.jpg", np.array([0]), np.float32([0.7]), ("dog",), box).to_deploy_text()
        "[{'class_id': 0, 'score': 0.7, 'bbox': [1.0, 2.0, 3.25, 4.0], 'label_name': 'dog'}]"
        """
        rows = zip(
            self.label_ids.tolist(),
            _short(self.scores),
            self.boxes_xyxy,
            self.label_names,
            strict=True,
        )
        names = ("class_id", "score", "bbox", "label_name")
        return str([dict(zip(names, (i, s, _short(b), n), strict=True)) for i, s, b, n in rows])

    def decision(self) -> Any:
        """The labels, whatever their order: of two boxes that are as good as equal, either may come first."""
        return sorted(self.label_ids.tolist())

    def difference(self, other: Result) -> Difference:
        """Each box compared with the nearest one of its label that is left.

        Networks keep only so many boxes, so of equal ones either may come alone: where the least sure ones lie is
        not compared if there are surer ones. (On plain images such equals are common, one for each place.)
        """
        if not isinstance(other, BoxResult) or self.decision() != other.decision():
            return Difference(True, box=0.0)
        rest = np.column_stack([other.label_ids, other.scores, other.boxes_xyxy.astype(np.float64)])
        scores, corners = [0.0], [0.0]
        surer = self.scores > self.scores.min(initial=np.inf) + _ROUNDING
        for i in np.argsort(-self.scores, kind="stable"):
            box = np.array([self.scores[i], *self.boxes_xyxy[i]], np.float64)
            apart = np.abs(rest[:, 1:] - box)
            far = np.where(rest[:, 0] == self.label_ids[i], apart.max(axis=1), np.inf)
            nearest = int(far.argmin())  # a box that is no number is the nearest of all, and shows
            rest = np.delete(rest, nearest, axis=0)
            scores.append(apart[nearest, 0])
            if surer[i] or not surer.any():
                corners += apart[nearest, 1:].tolist()
        # By NumPy: `max` lets a second number hide a first that is no number.
        mean = float(np.mean(scores[1:])) if len(scores) > 1 else 0.0
        return Difference(False, float(np.max(scores)), mean, float(np.max(corners)))


@dataclass(frozen=True, eq=False)
class RecognitionResult(Result):
    """What a gallery says about parts of an image, best first.

    Attributes:
        label_names: R labels of the gallery.
        scores: (R,) similarities, or distances where the gallery has them.
        ids: R ids of the items that matched.
        boxes_xyxy: (R, 4) integers, left, top, right and bottom in pixels.
    """

    label_names: tuple[str, ...]
    scores: np.ndarray
    ids: tuple[str, ...]
    boxes_xyxy: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.boxes_xyxy):
            object.__setattr__(self, "boxes_xyxy", np.empty((0, 4), np.int64))
        whole = np.asarray(self.scores).dtype.kind == "i"
        scores = self._set("scores", np.int64 if whole else np.floating)
        boxes = self._set("boxes_xyxy", np.int64, 2)
        names, ids = self._texts("label_names"), self._texts("ids")
        self._same_length(len(names), len(scores), len(ids), len(boxes))
        self._same_length(boxes.shape[1], 4)

    def to_text(self) -> str:
        """A line for each box: name, label, score, x1 y1 x2 y2 in pixels.

        >>> box = np.array([[1, 2, 3, 4]])
        >>> RecognitionResult("a.jpg", ("cola",), np.array([0.5]), ("7",), box).to_text()
        'a.jpg: cola 0.50000 1 2 3 4'
        """
        rows = zip(self.label_names, self.scores.tolist(), self.boxes_xyxy.tolist(), strict=True)
        lines = [f"{name} {score:.5f} {' '.join(map(str, box))}" for name, score, box in rows]
        return "\n".join(f"{self.filename}: {line}" for line in lines or ["nothing recognised"])

    def to_deploy_text(self) -> str:
        """The line that PaddleClas' `predict_system.py` prints.

        >>> box = np.array([[1, 2, 3, 4]])
        >>> RecognitionResult("a.jpg", ("cola",), np.float32([0.7]), ("7",), box).to_deploy_text()
        "[{'bbox': [1, 2, 3, 4], 'rec_docs': 'cola', 'rec_scores': 0.7}]"
        """
        return str(self.to_deploy())

    def to_deploy(self) -> list[dict[str, Any]]:
        """What PaddleClas' system returns: `bbox`, `rec_docs` and `rec_scores` of each box."""
        rows = zip(self.boxes_xyxy.tolist(), self.label_names, _short(self.scores), strict=True)
        return [{"bbox": b, "rec_docs": name, "rec_scores": v} for b, name, v in rows]

    def to_csv(self) -> list[str]:
        """Cells under `CSV_COLUMNS`: the ids of the items as class ids."""
        return self._cells(self.ids, self.scores.tolist(), self.label_names)

    def decision(self) -> Any:
        """The labels, whatever their order."""
        return sorted(self.label_names)


class Unreadable(NamedTuple):
    """An image that could not be read, and why."""

    filename: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The name, and the reason under `error`."""
        return {"filename": self.filename, "error": self.reason}

    def to_csv(self) -> list[str]:
        """Cells under `CSV_COLUMNS`."""
        return [csv_name(self.filename), "", "", "", _safe(self.reason, "'")]


def result_from_json(row: Mapping[str, Any]) -> Result | Unreadable:
    """What `to_json` was called on; the kind is the one with these keys.

    Raises:
        DataError: no kind has them, or a value is none of its kind.
    """
    if not isinstance(row, Mapping) or not isinstance(row.get("filename"), str):
        raise DataError("result", "expected a mapping with a filename")
    if isinstance(row.get("error"), str):
        return Unreadable(row["filename"], row["error"])
    for kind in _kinds(Result):
        if {field.name for field in fields(kind)} == row.keys():
            try:
                return kind(**row)
            except (TypeError, ValueError) as error:  # of a user's own kind
                raise DataError(kind.__name__, str(error)) from None
    raise DataError("result", f"no kind of result has the keys {', '.join(row)}")


def json_lines(out: TextIO) -> Callable[[Result | Unreadable], None]:
    """What writes one JSON object a line."""
    import json

    return lambda item: print(json.dumps(item.to_json()), file=out)


def csv_table(out: TextIO, *, heading: bool = True) -> Callable[[Result | Unreadable], None]:
    """Write the heading to `out`; returns what writes one row.

    Every cell is quoted, so that any text comes back. A spreadsheet takes a cell that begins with
    `=` for a formula: such a file name is written with `./` before it, which names the same file;
    other such texts get an apostrophe.

    Args:
        out: opened with newline="".
        heading: False where a table is continued.
    """
    import csv

    table = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    if heading:
        table.writerow(CSV_COLUMNS)
    return lambda item: table.writerow(item.to_csv())


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
        row = next(csv.reader(io.StringIO(held, newline="")))
        if len(row) != len(CSV_COLUMNS) or not held.endswith("\n"):
            return
        if tuple(row) != CSV_COLUMNS:
            yield row, end
        held = ""


def _kinds(base: type[Result]) -> Iterator[type[Result]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _short(values: np.ndarray) -> list[float]:
    """The numbers with as many digits as their precision has."""
    return [float(str(v)) if v.dtype.kind == "f" else v.item() for v in values]


def _is_score(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float | np.floating) for item in value)
    return isinstance(value, float) or getattr(value, "dtype", np.dtype(bool)).kind == "f"


def _safe(text: str, prefix: str) -> str:
    return prefix + text if text.startswith(_FORMULA) else text
