"""The same files through every engine that is installed here, and how far the answers lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.errors import ConfigError, MissingDependency, Problem
from tinysight.manifest import NO_CLASSES, Manifest
from tinysight.pipelines.classify import Classifier
from tinysight.pipelines.sources import Picture
from tinysight.registry import postprocesses, sessions

LIMIT = 1e-3  # how far a score may move between engines that calculate in 32 bits
_BATCH = 16
_PACKAGES = {  # where a form's engine is called otherwise
    "litert": "ai-edge-litert", "onnx": "onnxruntime", "pt2": "torch", "torchscript": "torch",
}  # fmt: skip


class Row(NamedTuple):
    """What became of the files of one kind: how many were compared, and what differed."""

    pictures: int
    label_flips: int
    max_score_difference: float

    def plus(self, other: Row) -> Row:
        """Both together."""
        # Not `max`, which would let the second of two numbers hide a first that is none.
        worst = float(np.fmax(self.max_score_difference, other.max_score_difference))
        if np.isnan([self.max_score_difference, other.max_score_difference]).any():
            worst = float("nan")
        return Row(self.pictures + other.pictures, self.label_flips + other.label_flips, worst)


class Compared(NamedTuple):
    """One engine.

    Attributes:
        engine: its name.
        version: of its package.
        rows: one for each kind of file.
        read_otherwise: files that only one of the two sides read.
        precision: of its numbers. Only "fp32" has to keep the limits; others are listed with what
            they change, which is judged where they are made.
    """

    engine: str
    version: str
    rows: dict[str, Row]
    read_otherwise: tuple[str, ...] = ()
    precision: str = "fp32"

    @property
    def total(self) -> Row:
        """All kinds together."""
        whole = Row(0, 0, 0.0)
        for row in self.rows.values():
            whole = whole.plus(row)
        return whole

    def problems(self, limit: float = LIMIT) -> list[Problem]:
        """Every breach, by kind of file; none is a pass."""
        found = [
            Problem(
                f"{self.engine}, {kind}",
                f"{row.label_flips} of {row.pictures} labels change, scores differ by up to "
                f"{row.max_score_difference:.3g}; accepted are 0 and {limit:g}",
            )
            for kind, row in self.rows.items()
            if self._breaks(row, limit)
        ]
        if names := self.read_otherwise:
            what = f"{len(names)} files are read by one side and refused by the other: "
            found.append(Problem(self.engine, what + ", ".join(names[:5])))
        return found

    def _breaks(self, row: Row, limit: float) -> bool:
        if self.precision != "fp32":
            return bool(np.isnan(row.max_score_difference))
        return row.label_flips > 0 or not row.max_score_difference <= limit  # nan is no number


class Answers(NamedTuple):
    """Scores (K,) of each file that was read, by its name; where they are `partial`, NaN is a score nobody kept."""

    scores: dict[str, np.ndarray]
    partial: bool = False

    def of(self, names: Iterable[str]) -> np.ndarray:
        """(N, K)."""
        return np.stack([self.scores[name] for name in names])


def check_kind(manifest: Manifest, where: str) -> None:
    """Refuse a bundle whose answers are no classes.

    Raises:
        ConfigError: it finds boxes, or describes pictures by numbers.
    """
    if (kind := manifest.postprocess["name"]) in NO_CLASSES:
        what = f"the answers of this bundle are its {kind}; the certificate compares labels"
        raise ConfigError(where, what)


def installed_engines(bundle: Bundle) -> tuple[dict[str, Classifier], dict[str, str]]:
    """Every engine that runs this bundle here, in 32 bits, and why the others do not.

    ONNX Runtime comes first: it has to run.
    """
    ready: dict[str, Classifier] = {}
    absent: dict[str, str] = {}
    engines = sorted(sessions.names(), key=lambda n: (n != "onnxruntime", n))
    for name in [*engines, *map(form, sorted(bundle.manifest.targets))]:
        try:
            ready[name] = Classifier(bundle, engine=name, batch_size=_BATCH, exact=True)
            ready[name].on_unreadable = lambda picture: None  # what is refused is compared, too
        except MissingDependency:
            absent[name] = "not installed"
    return ready, absent


def form(name: str) -> str:
    """How a form of the network that lies in the bundle is called among the engines."""
    return f"target/{name}"


def answers(classifier: Classifier, pictures: Iterable[Picture | str]) -> Answers:
    """What a bundle says about each picture, from the bytes of its file on."""
    found: dict[str, np.ndarray] = {}
    for names, scores in classifier.scores(pictures):
        found.update(zip(names, scores, strict=True))
    return Answers(found)


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
    rows: dict[str, Row] = {}
    for kind, names in kinds.items():
        both = [n for n in names if n in expected.scores and n in found.scores]
        if not both:
            continue
        a, b = expected.of(both), found.of(both)
        apart = np.abs(a.astype(np.float64) - b)
        if expected.partial:
            apart, a = apart[~np.isnan(a)], np.nan_to_num(a, nan=0.0)
        flips = sum(x != y for x, y in zip(labels(manifest, a), labels(manifest, b), strict=True))
        rows[kind] = Row(len(both), flips, float(apart.max()))
    other = expected.scores.keys() ^ found.scores.keys()
    return rows, tuple(name for names in kinds.values() for name in names if name in other)


def labels(manifest: Manifest, scores: np.ndarray) -> list[Any]:
    """What the bundle's post-processing makes of each row, without how sure it is.

    Of the best of many classes only the first counts: whether two that are as good as equal come
    fourth or fifth is no answer that anybody acts on.
    """
    spec = manifest.postprocess
    if only_the_best(manifest):
        return [int(best) for best in scores.argmax(axis=1)]
    answer = postprocesses.build(spec, labels=manifest.labels)
    return [{k: v for k, v in said.items() if k != "scores"} for said in answer(scores)]


def only_the_best(manifest: Manifest) -> bool:
    """Whether a picture's label is its best class and nothing else."""
    return manifest.postprocess["name"] in ("topk", "scores")


def version(engine: str) -> str:
    """Of the installed package of this name, else "unknown"."""
    package = engine.removeprefix("target/").partition("-")[0]
    try:
        return metadata.version(_PACKAGES.get(package, package))
    except metadata.PackageNotFoundError:
        return "unknown"
