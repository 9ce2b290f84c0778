"""The certificate as two files of a bundle: `certificate.json`, which people read, and `reference.bin`.

The second holds what the validated network gave for the files of `certificate.compare`, so that
the comparison can be repeated anywhere without it: the scores of all classes, (N, K) float32 little
endian. Where only the best of more than 128 classes count, only the 16 best are kept: their numbers
(N, 16) uint16, then their scores.
Both are sealed by the manifest like any file of the bundle, and no version of this program needs
them to predict.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinysight.bundle import MANIFEST, Bundle
from tinysight.bundle.manifest import Manifest
from tinysight.bundle.sealed import laid_out
from tinysight.certificate.compare import EDITION, Compared, EngineOutputs, readable
from tinysight.errors import BundleError
from tinysight.evaluation.compare import Comparison
from tinysight.pipelines.comparable import DecidedScores, decide
from tinysight.tasks.postprocess import decides_by_best_class

HEADING = "## The same answers on every engine"
_SECTION = (
    "Files of every kind, from their bytes to the label, compared with {origin}: labels that change "
    "(flips) and the largest difference of a score. `tinysight verify` repeats it."
)
CERTIFICATE = "certificate.json"
REFERENCE = "reference.bin"
_ALL = 128  # classes, up to which every score is kept
_BEST = 16
_AGAIN = "export the bundle again"


class Certificate(NamedTuple):
    """What an export proved.

    Attributes:
        origin: whose results the others are compared with, with its version.
        engines: the comparison with each engine.
        absent: engines that were not there, and why.
    """

    origin: str
    engines: tuple[Compared, ...]
    absent: dict[str, str]


def to_files(manifest: Manifest, found: Certificate, reference: EngineOutputs) -> dict[str, bytes]:
    """The two files by their names.

    Args:
        manifest: of the bundle.
        found: what the export proved.
        reference: results for `readable()`.
    """
    results = [reference[name] for name in readable()]
    scores = np.stack([r.scores for r in results if isinstance(r, DecidedScores)]).astype("<f4")
    classes = scores.shape[1]
    kept = _BEST if decides_by_best_class(manifest.postprocess) and classes > _ALL else classes
    engines: dict[str, Any] = {}
    for one in found.engines:
        rows = {kind: _cells(row) for kind, row in one.rows.items()}
        engines[one.engine] = {"version": one.version, "precision": one.precision, "kinds": rows}
    columns = ["pictures", "label_flips", "max_score_difference"]
    tree: dict[str, Any] = {"edition": EDITION, "reference": found.origin, "classes": classes}
    tree |= {"kept": kept, "columns": columns, "engines": engines, "absent": found.absent}
    return {CERTIFICATE: (laid_out(tree, 0) + "\n").encode(), REFERENCE: _packed(scores, kept)}


def read_certificate(bundle: Bundle) -> tuple[Certificate, EngineOutputs] | None:
    """What the export of `bundle` proved, and the reference results; None for a bundle without.

    Raises:
        BundleError: they cannot be understood, or are about other files than this version makes.
    """
    if not {CERTIFICATE, REFERENCE} <= set(bundle.manifest.files):
        return None
    where = str(bundle.folder / CERTIFICATE)
    try:
        tree = json.loads(bundle.read(CERTIFICATE))
        if tree["edition"] != EDITION:
            what = f"about edition {tree['edition']} of the files; this version makes edition {EDITION}"
            raise BundleError(where, what, f"{_AGAIN}, or verify it with its own version")
        engines = []
        for name, one in tree["engines"].items():
            rows = {kind: Comparison(*row) for kind, row in one["kinds"].items()}
            engines.append(Compared(name, str(one["version"]), rows, (), str(one["precision"])))
        certificate = Certificate(str(tree["reference"]), tuple(engines), dict(tree["absent"]))
        scores = _unpacked(bundle.read(REFERENCE), tree["classes"], tree["kept"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(where, f"not a certificate: {error}", _AGAIN) from None
    labels = len(bundle.manifest.labels)
    if scores.shape[1] != labels:
        what = f"about {scores.shape[1]} classes, but {MANIFEST} lists {labels}"
        raise BundleError(where, what, _AGAIN)
    results = decide(bundle.manifest, scores, partial=tree["kept"] != tree["classes"])
    return certificate, dict(zip(readable(), results, strict=True))


def _cells(row: Comparison) -> list[Any]:
    return [row.images, row.label_flips, float(f"{row.max_score_difference:.3g}")]


def _packed(scores: np.ndarray, keep: int) -> bytes:
    if scores.shape[1] == keep:
        return scores.tobytes()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :keep]
    kept: np.ndarray = np.take_along_axis(scores, best, axis=1)
    return best.astype("<u2").tobytes() + kept.tobytes()


def _unpacked(data: bytes, classes: int, kept: int) -> np.ndarray:
    """Scores (N, K); those that were not kept are NaN."""
    if not (type(classes) is type(kept) is int and 1 <= kept <= classes <= 1 << 16):
        raise ValueError(f"{kept} of {classes} classes")
    count = len(readable())
    numbers = 0 if kept == classes else 2 * count * kept
    if len(data) != numbers + 4 * count * kept:
        raise ValueError(f"{REFERENCE} holds {len(data)} bytes")
    scores = np.frombuffer(data, "<f4", offset=numbers).reshape(count, kept)
    if kept == classes:
        return scores
    best = np.frombuffer(data[:numbers], "<u2").reshape(count, kept).astype(np.int64)
    if best.max() >= classes:
        raise ValueError(f"{REFERENCE} names a class that does not exist")
    whole = np.full((count, classes), np.nan, np.float32)
    np.put_along_axis(whole, best, scores, axis=1)
    return whole


def table(engines: Sequence[Compared]) -> list[list[str]]:
    """Rows of cells: a heading, one row for each kind of file, and all of them together."""
    heading = ["files", "count", *map(_name, engines)]
    rows = []
    for kind in dict.fromkeys(kind for one in engines for kind in one.rows):
        most = max(one.rows[kind].images for one in engines if kind in one.rows)
        cells = [one.rows[kind].cell() if kind in one.rows else "-" for one in engines]
        rows.append([kind, str(most), *cells])
    count = max((one.total.images for one in engines), default=0)
    return [heading, *rows, ["all", str(count), *(one.total.cell() for one in engines)]]


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def section(certificate: Certificate) -> str:
    """What a bundle's card says about the certificate; Markdown."""
    rows = table(certificate.engines)
    heading, *cells = [f"| {' | '.join(row)} |" for row in rows]
    text = _SECTION.format(origin=certificate.origin)
    lines = [HEADING, "", text, "", heading, "|" + "---|" * len(rows[0]), *cells]
    lines += [f"\nNot run: {name}, {why}." for name, why in certificate.absent.items()]
    return "\n".join(lines)


def with_section(card: str, certificate: Certificate) -> str:
    """A card whose section about the certificate is this one; its other sections as they are."""
    before, _, old = card.partition(HEADING)
    _, after, rest = old.partition("\n## ")
    return before.rstrip() + "\n\n" + section(certificate) + "\n" + (after and f"\n## {rest}")


def _name(one: Compared) -> str:
    return " ".join(filter(None, (one.engine, one.version, one.precision.replace("fp32", ""))))
