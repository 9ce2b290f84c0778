"""Prove again, on this machine, that a bundle answers as the network that was validated.

    tinysight verify clarity_assessment
    tinysight verify runs/mine/bundle --images holiday/ --json
    tinysight verify clarity_assessment --program build/cpp/tinysight-cpp

Some 330 files of every kind (turned, progressive, for printing, 16 bits, tiny, huge ...) go from
their bytes to a label through every installed engine; the scores are compared with those that the
validated network gave at the export, which the bundle carries. 35 files that nobody may answer have
to be refused. Of a detector the boxes are compared, and of a recognition network the vectors, both
with ONNX Runtime's. Needs neither PyTorch nor the network's maker. Exit code 1: something differs.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.certificate.compare import Compared, Row
    from tinysight.certificate.verify import Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="a bundle that comes with tinysight, or a bundle's folder")
    add("--images", metavar="SOURCE", help="your images, too, compared between the engines")
    add(
        "--program", metavar="PATH",
        help="one more column: a program that answers as `tinysight predict --json` does",
    )  # fmt: skip
    add("--json", action="store_true", help="the table as JSON")
    add("--files", metavar="FOLDER", help="write the certificate's files there, for other programs")


def run(args: argparse.Namespace) -> int:
    """Compare; 1 if anything differs, else 0."""
    from tinysight.bundle import Bundle
    from tinysight.certificate.files import write_edge_case_files
    from tinysight.certificate.verify import verify
    from tinysight.pipelines.sources import iter_images

    bundle = Bundle.load(args.bundle)
    images = [str(image.data) for image in iter_images(args.images)] if args.images else []
    if args.files:
        write_edge_case_files(args.files)
    verdict = verify(bundle, images, args.program)
    if args.json:
        import json

        print(json.dumps(_tree(args.bundle, verdict)))
    else:
        _show(bundle, verdict)
    return 1 if verdict.problems else 0


def _show(bundle: Bundle, verdict: Verdict) -> None:
    from tinysight.certificate.table import as_text, table

    print(f"bundle     {bundle.folder}")
    print(f"reference  {verdict.origin or 'none in this bundle: compared with onnxruntime here'}")
    for name, why in verdict.absent.items():
        print(f"not run    {name}: {why}")
    print(f"\n{as_text(table(verdict.engines))}\n")
    if decode := bundle.manifest.decode:
        print(
            f"reduced decoding, when it was allowed: {decode.label_flips} of {decode.images} labels "
            f"changed, scores by up to {decode.max_score_difference:.2g}"
        )
    if reduced := verdict.reduced:
        print(
            f"reduced decoding, your images: {reduced.label_flips} of {reduced.images} labels "
            f"change, scores by up to {reduced.max_score_difference:.2g}"
        )
    for problem in verdict.problems:
        print(problem)
    print("differs" if verdict.problems else "the same answers")


def _tree(name: str, verdict: Verdict) -> dict[str, Any]:
    from tinysight.bundle.sealed import as_tree

    return {
        "bundle": name,
        "reference": verdict.origin or None,
        "pass": not verdict.problems,
        "engines": {
            one.engine: {
                "version": one.version,
                "precision": one.precision,
                "read_otherwise": list(one.read_otherwise),
                "total": _row(one, one.total),
                "kinds": {kind: _row(one, row) for kind, row in one.rows.items()},
            }
            for one in verdict.engines
        },
        "absent": verdict.absent,
        "reduced": as_tree(verdict.reduced) if verdict.reduced else None,
        "problems": [str(problem) for problem in verdict.problems],
    }


def _row(one: Compared, row: Row) -> dict[str, Any]:
    from tinysight.bundle.sealed import as_tree

    found: dict[str, Any] = as_tree(row)
    if one.answer != "boxes":
        del found["max_box_difference"]
    return found
