"""A bundle's certificate, made again here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tinysight.bundle import CARD, Bundle
from tinysight.bundle.manifest import ReducedDecode
from tinysight.certificate.answers import Answers
from tinysight.certificate.compare import (
    Compared,
    Side,
    answer_of,
    compare,
    installed_engines,
)
from tinysight.certificate.files import REFUSED, edge_case_files
from tinysight.certificate.program import Program
from tinysight.certificate.record import (
    CERTIFICATE,
    Certificate,
    kinds,
    read_certificate,
    readable,
    to_files,
)
from tinysight.certificate.table import with_section
from tinysight.errors import Problem
from tinysight.pipelines import admit
from tinysight.pipelines.sources import ImageInput

OWN = "your images"


class Verdict(NamedTuple):
    """What a comparison here found.

    Attributes:
        origin: whose recorded answers it is about; empty where the bundle carries none, and its own
            ONNX Runtime's answers here took their place.
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


def verify(
    bundle: Bundle, images: Sequence[str] = (), program: str | Path | None = None
) -> Verdict:
    """Every installed engine against the answers that the bundle carries.

    Args:
        bundle: of a classifier, a detector, or a network that describes images by vectors.
        images: images of the user, compared between the engines only, and with reduced decoding
            where the bundle allows it.
        program: another program that answers with the bundle, as `tinysight predict --json` does.

    Raises:
        BundleError: its certificate cannot be read, or its network cannot be run.
        ConfigError: the program is missing, crashes, or prints something else.
    """
    other = Program.find(program, bundle) if program is not None else None
    recorded = read_certificate(bundle)
    ready, absent = installed_engines(bundle)
    if other:
        name = other.path.name if other.path.name not in ready else str(other.path)
        ready[name] = Side(other.answers)
    engines, problems = compare_all(bundle, ready, recorded[1] if recorded else None, images)
    reduced = None
    if images and bundle.manifest.decode and answer_of(bundle.manifest) != "boxes":
        reduced = admit.compare(bundle, images, bundle.manifest.decode.margin)
        if reduced.label_flips > admit.MAX_FLIPS * reduced.images:  # as when it was allowed
            what = f"{reduced.label_flips} of {reduced.images} labels change"
            problems.append(
                Problem(
                    "reduced decoding",
                    what,
                    "predict with --exact, or decide again: tinysight bench --admit",
                )
            )
    origin = recorded[0].origin if recorded else ""
    return Verdict(origin, tuple(engines), absent, reduced, tuple(problems))


def renewed(bundle: Bundle) -> tuple[dict[str, bytes], tuple[Problem, ...]]:
    """A certified bundle's files with the table made again, of every engine and form that is here now.

    The reference answers stay what they were. A bundle without a certificate gets none.
    """
    files = {name: (bundle.folder / name).read_bytes() for name in bundle.manifest.files}
    recorded = read_certificate(bundle)
    if recorded is None:
        return files, ()
    certificate, reference = recorded
    ready, absent = installed_engines(bundle)
    engines, problems = compare_all(bundle, ready, reference)
    certificate = Certificate(certificate.origin, tuple(engines), absent)
    made = to_files(bundle.manifest, certificate, reference)
    files[CERTIFICATE] = made[CERTIFICATE]
    if CARD in files:
        files[CARD] = with_section(files[CARD].decode(), certificate).encode()
    return files, tuple(problems)


def compare_all(
    bundle: Bundle,
    ready: dict[str, Side],
    reference: Answers | None,
    images: Sequence[str] = (),
) -> tuple[list[Compared], list[Problem]]:
    """Each engine on the certificate's files and on `images`, and every breach.

    Args:
        bundle: where the answers come from.
        ready: its engines, and what else answers with it.
        reference: for the files; by default what the first engine says. The first engine is the
            reference for `images`.
        images: more images, on disk.
    """
    manifest = bundle.manifest
    files = [ImageInput(file.name, file.data) for file in edge_case_files()]
    refused = {file.name for file in edge_case_files() if file.kind == REFUSED}
    engines: list[Compared] = []
    problems: list[Problem] = []
    own: Answers | None = None
    for name, side in ready.items():
        found = side.answers(files)
        reference = reference or found
        rows, apart = compare(manifest, reference, found, kinds())
        apart += tuple(sorted(refused & found.scores.keys()))
        if images:
            theirs = side.answers(list(images))
            own = own or theirs
            more, other = compare(manifest, own, theirs, {OWN: list(images)})
            rows, apart = rows | more, apart + other
        one = Compared(name, side.version, rows, apart, side.precision, answer_of(manifest))
        engines.append(one)
        problems += one.problems()
    missing = [name for name in readable() if reference and name not in reference.scores]
    if missing:
        what = f"{len(missing)} files that have to be read are refused: {', '.join(missing[:5])}"
        problems.append(Problem("reference", what))
    return engines, problems
