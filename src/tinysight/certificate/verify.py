"""Repeats a bundle's certificate on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.bundle import CARD, Bundle
from tinysight.bundle.manifest import ReducedDecode
from tinysight.bundle.sealed import as_tree
from tinysight.certificate import compare, record
from tinysight.certificate.compare import Compared, EngineOutputs, Side, edge_case_inputs
from tinysight.certificate.external import ExternalPredictor
from tinysight.errors import Problem
from tinysight.pipelines import reduced_decode
from tinysight.pipelines.pipeline import pipeline_for

OWN = "your images"


class VerificationReport(NamedTuple):
    """What the comparisons here found.

    Attributes:
        origin: whose recorded results it is about; empty where the bundle carries none, and its own
            ONNX Runtime's results here took their place.
        engines: one for each that is installed, ONNX Runtime first, and the program.
        absent: the other engines, and why they are not there.
        reduced: what reduced decoding changes on the user's images, where the bundle allows it.
        problems: every breach; none is a pass.
    """

    origin: str
    engines: tuple[Compared, ...]
    absent: dict[str, str]
    reduced: ReducedDecode | None
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """The table as plain data."""
        reduced = as_tree(self.reduced) if self.reduced else None
        engines = {one.engine: one.to_json() for one in self.engines}
        return {
            "reference": self.origin or None, "pass": not self.problems, "engines": engines,
            "absent": self.absent, "reduced": reduced, "problems": list(map(str, self.problems)),
        }  # fmt: skip


def verify(
    bundle: Bundle, images: Sequence[str] = (), program: str | Path | None = None
) -> VerificationReport:
    """Every installed engine against the results that the bundle carries.

    Args:
        bundle: of a classifier, a detector, or a network that describes images by vectors.
        images: images of the user, compared between the engines only, and with reduced decoding
            where the bundle allows it.
        program: another program that answers with the bundle, as `tinysight predict --json` does.

    Raises:
        BundleError: its certificate cannot be read, or its network cannot be run.
        ConfigError: the program is missing, crashes, or prints something else.
    """
    other = ExternalPredictor.find(program, bundle) if program is not None else None
    recorded = record.read_certificate(bundle)
    ready, absent = compare.installed_engines(bundle)
    if other:
        name = str(other.path) if other.path.name in ready else other.path.name
        ready[name] = Side(other.outputs)
    engines, problems = compare_all(ready, recorded[1] if recorded else None, images)
    reduced = None
    decode = bundle.manifest.decode
    if images and decode and not pipeline_for(bundle.manifest).network.gives_boxes:
        reduced = reduced_decode.measure(bundle, images, decode.margin)
        if reduced.label_flips > reduced_decode.MAX_FLIPS * reduced.images:  # as when allowed
            what = f"{reduced.label_flips} of {reduced.images} labels change"
            hint = "predict with --exact, or decide again: tinysight bench --admit"
            problems.append(Problem("reduced decoding", what, hint))
    origin = recorded[0].origin if recorded else ""
    return VerificationReport(origin, tuple(engines), absent, reduced, tuple(problems))


def renewed(bundle: Bundle) -> tuple[dict[str, bytes], tuple[Problem, ...]]:
    """A certified bundle's files with the table made again, of every engine and variant that is here now.

    The reference results stay what they were. A bundle without a certificate gets none.
    """
    files = {name: (bundle.folder / name).read_bytes() for name in bundle.manifest.files}
    if (recorded := record.read_certificate(bundle)) is None:
        return files, ()
    certificate, reference = recorded
    ready, absent = compare.installed_engines(bundle)
    engines, problems = compare_all(ready, reference)
    new = record.Certificate(certificate.origin, tuple(engines), absent)
    files[record.CERTIFICATE] = record.to_files(bundle.manifest, new, reference)[record.CERTIFICATE]
    if CARD in files:
        files[CARD] = record.with_section(files[CARD].decode(), new).encode()
    return files, tuple(problems)


def compare_all(
    ready: dict[str, Side], reference: EngineOutputs | None, images: Sequence[str] = ()
) -> tuple[list[Compared], list[Problem]]:
    """Each engine on the certificate's files and on `images`, and every breach.

    Args:
        ready: engines of a bundle, and what else runs it.
        reference: results for the files; by default those of the first engine. The first engine is the
            reference for `images`.
        images: more images, on disk.
    """
    files = edge_case_inputs()
    refused = {f.name for f in compare.edge_case_files() if f.kind == compare.REFUSED}
    engines: list[Compared] = []
    own: EngineOutputs | None = None
    for name, side in ready.items():
        found = side.outputs(files)
        reference = reference or found
        rows, apart = compare.compare_kinds(reference, found, compare.kinds())
        apart += tuple(sorted(refused & found.keys()))
        if images:
            theirs = side.outputs(list(images))
            own = own or theirs
            more, other = compare.compare_kinds(own, theirs, {OWN: list(images)})
            rows, apart = rows | more, apart + other
        engines.append(Compared(name, side.version, rows, apart, side.precision))
    problems = [problem for one in engines for problem in one.problems()]
    if missing := [name for name in compare.readable() if reference and name not in reference]:
        what = f"{len(missing)} files that have to be read are refused: {', '.join(missing[:5])}"
        problems.append(Problem("reference", what))
    return engines, problems
