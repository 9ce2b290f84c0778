"""The same files through every engine that is installed here, and how far the answers lie apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.bundle.manifest import NO_CLASSES, Manifest
from tinysight.certificate.answers import Answers, answers
from tinysight.engines import onnx_engines, version
from tinysight.errors import MissingDependency, Problem
from tinysight.pipelines.detect import open_bundle
from tinysight.pipelines.sources import ImageInput

LIMIT = 1e-3  # how far a score may move between engines that calculate in 32 bits
_EQUAL = 1e-5  # scores of boxes that are closer are equal but for rounding
_BATCH = 16
_BREACHES = {  # by what the bundle answers with; of classes otherwise
    "boxes": "other boxes in {0.label_flips} of {0.images} images, scores differ by up to "
    "{0.max_score_difference:.3g}, corners by up to {0.max_box_difference:.3g} of the image",
    "embedding": "the vectors of {0.images} images differ by up to {0.max_score_difference:.3g}",
    "": "{0.label_flips} of {0.images} labels change, scores differ by up to "
    "{0.max_score_difference:.3g}",
}


class Row(NamedTuple):
    """What became of the files of one kind.

    Attributes:
        images: how many were compared.
        label_flips: for how many the label differs; of a detector, the number of boxes or a box's
            label; always 0 of vectors, which have none.
        max_score_difference: of a class or a box; of vectors, the largest difference of a number,
            as a share of the vector's length.
        max_box_difference: of a detector, the largest difference of a corner's x or y, as a share of
            the image's width or height; else 0.
    """

    images: int
    label_flips: int
    max_score_difference: float
    max_box_difference: float = 0.0

    def plus(self, other: Row) -> Row:
        """Both together."""
        return Row(
            self.images + other.images,
            self.label_flips + other.label_flips,
            _worst([self.max_score_difference, other.max_score_difference]),
            _worst([self.max_box_difference, other.max_box_difference]),
        )


class Compared(NamedTuple):
    """One engine.

    Attributes:
        engine: its name.
        version: of its package; empty where nobody knows it.
        rows: one for each kind of file.
        read_otherwise: files that only one of the two sides read.
        precision: of its numbers. Only "fp32" has to keep the limits; others are listed with what
            they change, which is judged where they are made.
        answer: "boxes" or "embedding" where the bundle answers with these, empty for classes.
    """

    engine: str
    version: str
    rows: dict[str, Row]
    read_otherwise: tuple[str, ...] = ()
    precision: str = "fp32"
    answer: str = ""

    @property
    def total(self) -> Row:
        """All kinds together."""
        whole = Row(0, 0, 0.0)
        for row in self.rows.values():
            whole = whole.plus(row)
        return whole

    def problems(self, limit: float = LIMIT) -> list[Problem]:
        """Every breach, by kind of file; none is a pass."""
        accepted = f"{limit:g}" if self.answer == "embedding" else f"0 and {limit:g}"
        found = [
            Problem(
                f"{self.engine}, {kind}",
                f"{_BREACHES[self.answer].format(row)}; accepted are {accepted}",
            )
            for kind, row in self.rows.items()
            if self._breaks(row, limit)
        ]
        if names := self.read_otherwise:
            what = f"{len(names)} files are read by one side and refused by the other: "
            found.append(Problem(self.engine, what + ", ".join(names[:5])))
        return found

    def _breaks(self, row: Row, limit: float) -> bool:
        worst = _worst([row.max_score_difference, row.max_box_difference])
        if self.precision != "fp32":
            return bool(np.isnan(worst))
        return row.label_flips > 0 or not worst <= limit  # nan is no number


class Side(NamedTuple):
    """What answers: an engine that runs the bundle, or another program.

    Attributes:
        answers: what it says about each of these images.
        version: of it; empty where nobody knows it.
        precision: of its numbers.
    """

    answers: Callable[[Sequence[ImageInput | str]], Answers]
    version: str = ""
    precision: str = "fp32"


def installed_engines(bundle: Bundle) -> tuple[dict[str, Side], dict[str, str]]:
    """Every engine that runs this bundle here, in 32 bits, and why the others do not.

    ONNX Runtime comes first: it has to run.
    """
    ready: dict[str, Side] = {}
    absent: dict[str, str] = {}
    precisions = dict.fromkeys(onnx_engines(), "fp32") | {
        f"target/{name}": v.precision for name, v in sorted(bundle.manifest.variants.items())
    }
    for name, precision in precisions.items():
        try:
            pipeline = open_bundle(bundle, engine=name, batch_size=_BATCH, exact=True)
        except MissingDependency:
            absent[name] = "not installed"
            continue
        pipeline.on_unreadable = lambda image: None  # what is refused is compared, too
        ready[name] = Side(partial(answers, pipeline), version(name), precision)
    return ready, absent


def compare(
    manifest: Manifest, expected: Answers, found: Answers, kinds: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Row], tuple[str, ...]]:
    """A row for each kind, and the names that only one of the two read.

    Args:
        manifest: of the bundle that answered.
        expected: what should come out.
        found: what came out.
        kinds: names of the files of each kind.
    """
    by_answer = {"boxes": partial(_one_by_one, _boxes), "embedding": partial(_one_by_one, _vector)}
    measure = by_answer.get(answer_of(manifest), _classes)
    rows: dict[str, Row] = {}
    for kind, names in kinds.items():
        if both := [n for n in names if n in expected.scores and n in found.scores]:
            rows[kind] = measure(manifest, expected, found, both)
    other = expected.scores.keys() ^ found.scores.keys()
    return rows, tuple(name for names in kinds.values() for name in names if name in other)


def answer_of(manifest: Manifest) -> str:
    """What the bundle answers with if not with classes: "boxes" or "embedding"; else empty."""
    name: str = manifest.postprocess["name"]
    return name if name in NO_CLASSES else ""


def _classes(manifest: Manifest, expected: Answers, found: Answers, names: list[str]) -> Row:
    a, b = expected.of(names), found.of(names)
    apart = np.abs(a.astype(np.float64) - b)
    if expected.partial:
        apart, a = apart[~np.isnan(a)], np.nan_to_num(a, nan=0.0)
    said: list[list[Any]] = [
        expected.labels(manifest, names, a),
        found.labels(manifest, names, b),
    ]
    flips = sum(x != y for x, y in zip(*said, strict=True))
    return Row(len(names), flips, float(apart.max()))


def _one_by_one(
    measure: Callable[[np.ndarray, np.ndarray], Row],
    manifest: Manifest,
    expected: Answers,
    found: Answers,
    names: list[str],
) -> Row:
    whole = Row(0, 0, 0.0)
    for name in names:
        whole = whole.plus(measure(expected.scores[name], found.scores[name]))
    return whole


def _vector(expected: np.ndarray, found: np.ndarray) -> Row:
    """Vectors (D,) of one image; one of another size is infinitely far away."""
    if expected.shape != found.shape:
        return Row(1, 0, float("inf"))
    length = max(float(np.linalg.norm(expected)), 1e-30)
    return Row(1, 0, float(np.abs(expected - found).max() / length))


def _boxes(expected: np.ndarray, found: np.ndarray) -> Row:
    """Boxes (B, 6) of one image; each is compared with the nearest one of its label that is left.

    Their order is no answer: of two that are as good as equal, either may come first. Networks keep
    only so many boxes, so either may even come alone: where the least sure ones lie is not compared
    if there are surer ones. (On plain images such equals are common, one for each place.)
    """
    if sorted(expected[:, 0]) != sorted(found[:, 0]):
        return Row(1, 1, 0.0)
    left = list(found)
    score = corners = 0.0
    surer = expected[:, 1] > expected[:, 1].min(initial=np.inf) + _EQUAL
    for i in np.argsort(-expected[:, 1], kind="stable"):
        apart = np.abs(np.stack(left)[:, 1:] - expected[i, 1:])
        far = np.where([box[0] == expected[i, 0] for box in left], apart.max(axis=1), np.inf)
        nearest = int(far.argmin())  # a box that is no number is the nearest of all, and shows
        del left[nearest]
        score = _worst([score, apart[nearest, 0]])
        if surer[i] or not surer.any():
            corners = _worst([corners, *apart[nearest, 1:]])
    return Row(1, 0, score, corners)


def _worst(differences: Sequence[float]) -> float:
    """The largest. Not by `max`, which lets the second of two hide a first that is no number."""
    return float(np.max(differences))
