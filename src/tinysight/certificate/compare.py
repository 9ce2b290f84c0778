"""Runs the certificate's files through every installed engine and measures the differences of their results.

The certificate's edge-case files are every kind of image that reaches a classifier, and some that must not. They are
shipped as `edge_cases.zip`, so results that were recorded at an export can be compared anywhere.
`tools/edge_case_files` makes them. `EDITION` changes whenever a file does.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tinysight.bundle import Bundle
from tinysight.bundle.manifest import Manifest
from tinysight.concurrency import by_key
from tinysight.disk import write_atomic
from tinysight.engines import onnx_engines, version
from tinysight.errors import MissingDependency, Problem
from tinysight.evaluation.compare import Comparison, compare, total
from tinysight.pipelines.comparable import comparable, decide
from tinysight.pipelines.pipeline import Pipeline, open_bundle
from tinysight.pipelines.sources import ImageInput
from tinysight.tasks.postprocess import has_scores
from tinysight.tasks.results import Result, Unreadable

EDITION = 1
REFUSED = "refused"  # the kind of invalid files, which every engine must reject
_ARCHIVE = Path(__file__).with_name("edge_cases.zip")
LIMIT = 1e-3  # how far a score may move between engines that calculate in 32 bits
BATCH = 16

# The result for each file that was read, by the file's name; see `pipelines.comparable`.
EngineOutputs: TypeAlias = Mapping[str, Result]


class EdgeCaseFile(NamedTuple):
    """One file; those of the kind `REFUSED` hold no readable image.

    Attributes:
        name: unique name that says what is special, after the kind and an underscore.
        kind: group in the certificate's table, such as "16 bits".
        data: content.
    """

    name: str
    kind: str
    data: bytes


@cache
def edge_case_files() -> tuple[EdgeCaseFile, ...]:
    """All files, always in the same order."""
    with zipfile.ZipFile(_ARCHIVE) as archive:
        return tuple(EdgeCaseFile(n, _kind(n), archive.read(n)) for n in archive.namelist())


def edge_case_inputs() -> list[ImageInput]:
    """All files as images that are not yet read."""
    return [ImageInput(file.name, file.data) for file in edge_case_files()]


def kinds() -> dict[str, list[str]]:
    """Names of the certificate's files by their kind, those that must be rejected left out."""
    return by_key((_kind(name), name) for name in readable())


def readable() -> list[str]:
    """Names of the files that every engine must read, in their order."""
    return [file.name for file in edge_case_files() if file.kind != REFUSED]


def write_edge_case_files(folder: str | Path) -> list[Path]:
    """Write the files to `folder`, which is made, for other programs to read."""
    for file in edge_case_files():
        write_atomic(Path(folder, file.name), file.data)
    return [Path(folder, file.name) for file in edge_case_files()]


def _kind(name: str) -> str:
    return name.split("_", 1)[0].replace("-", " ")


class Compared(NamedTuple):
    """One engine.

    Attributes:
        engine: its name.
        version: of its package; empty where nobody knows it.
        rows: one comparison for each kind of file.
        read_otherwise: files that only one of the two sides read.
        precision: of its numbers. Only "fp32" has to keep the limits; others are listed with what
            they change, which is judged where they are made.
    """

    engine: str
    version: str
    rows: dict[str, Comparison]
    read_otherwise: tuple[str, ...] = ()
    precision: str = "fp32"

    @property
    def total(self) -> Comparison:
        """All kinds together."""
        return total(list(self.rows.values()))

    def to_json(self) -> dict[str, Any]:
        """The comparisons as plain data."""
        kinds = {kind: row.to_json() for kind, row in self.rows.items()}
        about = {"version": self.version, "precision": self.precision}
        read = {"read_otherwise": list(self.read_otherwise)}
        return {**about, **read, "total": self.total.to_json(), "kinds": kinds}

    def problems(self) -> list[Problem]:
        """Every breach, by kind of file; none is a pass."""
        found = []
        for kind, row in self.rows.items():
            breaks = bool(row.label_flips) or not row.worst <= LIMIT  # nan is no number
            if breaks if self.precision == "fp32" else np.isnan(row.worst):
                accepted = f"{LIMIT:g}" if row.label_flips is None else f"0 and {LIMIT:g}"
                found.append(Problem(f"{self.engine}, {kind}", f"{row}; accepted are {accepted}"))
        if names := self.read_otherwise:
            what = f"{len(names)} files are read by one side and refused by the other: "
            found.append(Problem(self.engine, what + ", ".join(names[:5])))
        return found


class Side(NamedTuple):
    """What gives results: an engine that runs the bundle, or another program.

    Attributes:
        outputs: its results for these images.
        version: of it; empty where nobody knows it.
        precision: of its numbers.
    """

    outputs: Callable[[Sequence[ImageInput | str]], EngineOutputs]
    version: str = ""
    precision: str = "fp32"


def engine_outputs(
    pipeline: Pipeline[Any], manifest: Manifest, images: Sequence[ImageInput | str]
) -> EngineOutputs:
    """The results for the images that the pipeline reads, decided as the bundle decides."""
    steps = pipeline.steps
    if has_scores(manifest.postprocess):
        steps = steps._replace(decide=partial(decide, manifest))
    same: Pipeline[Result] = Pipeline(steps, pipeline.batch_size, pipeline.workers)
    results = zip(images, same.stream(images), strict=True)
    least = manifest.threshold.value if manifest.threshold else 0.0
    read = ((i, r) for i, r in results if not isinstance(r, Unreadable))
    return {result.filename: comparable(result, image, least) for image, result in read}


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
            made = open_bundle(bundle, engine=name, batch_size=BATCH, exact=True)
        except MissingDependency:
            absent[name] = "not installed"
            continue
        ready[name] = Side(partial(engine_outputs, made, bundle.manifest), version(name), precision)
    return ready, absent


def compare_kinds(
    expected: EngineOutputs, found: EngineOutputs, kinds: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Comparison], tuple[str, ...]]:
    """A comparison for each kind, and the names that only one of the two read.

    Args:
        expected: what should come out.
        found: what came out.
        kinds: names of the files of each kind.
    """
    rows: dict[str, Comparison] = {}
    for kind, names in kinds.items():
        if both := [n for n in names if n in expected and n in found]:
            rows[kind] = compare([expected[n] for n in both], [found[n] for n in both])
    other = expected.keys() ^ found.keys()
    return rows, tuple(name for names in kinds.values() for name in names if name in other)
