"""Check on this machine that a bundle gives the results of the network that was validated.

    tinysight verify clarity_assessment
    tinysight verify runs/mine/bundle --images holiday/ --json
    tinysight verify clarity_assessment --program build/cpp/tinysight-cpp

335 files of every kind (EXIF orientations, progressive, CMYK, 16 bits, tiny, huge ...) go from their
bytes to a label through every installed engine; the scores are compared with those of the validated
network, which the bundle carries. 35 invalid files must be rejected. Boxes of detectors and
embeddings are compared with ONNX Runtime's. Needs no PyTorch. Exit code 1: something differs.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from tinysight.cli.arguments import add_plugin

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.certificate.verify import VerificationReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="bundle folder, or shipped bundle's name")
    add("--images", metavar="SOURCE", help="compare the engines on these images too")
    text = "also check a program that prints what `tinysight predict --json` does"
    add("--program", metavar="PATH", help=text)
    add_plugin(parser)
    add("--json", action="store_true", help="print JSON")
    add("--files", metavar="FOLDER", help="write the certificate's files there, for other programs")


def run(args: argparse.Namespace) -> int:
    """Compare; 1 if anything differs, else 0."""
    from tinysight.bundle import Bundle
    from tinysight.certificate.compare import write_edge_case_files
    from tinysight.certificate.verify import verify
    from tinysight.pipelines.sources import iter_images

    bundle = Bundle.load(args.bundle)
    images = [str(image.data) for image in iter_images(args.images)] if args.images else []
    if args.files:
        write_edge_case_files(args.files)
    report = verify(bundle, images, args.program)
    if args.json:
        print(json.dumps({"bundle": args.bundle, **report.to_json()}))
    else:
        _show(bundle, report)
    return 1 if report.problems else 0


def _show(bundle: Bundle, report: VerificationReport) -> None:
    from tinysight.certificate.record import as_text, table

    print(f"bundle     {bundle.folder}")
    print(f"reference  {report.origin or 'none in this bundle: compared with onnxruntime here'}")
    for name, why in report.absent.items():
        print(f"not run    {name}: {why}")
    print(f"\n{as_text(table(report.engines))}\n")
    allowed = (bundle.manifest.decode, "when it was allowed", "changed")
    for decode, when, verb in (allowed, (report.reduced, "your images", "change")):
        if decode:
            labels = f"{decode.label_flips} of {decode.images} labels {verb}"
            most = f"scores by up to {decode.max_score_difference:.2g}"
            print(f"reduced decoding, {when}: {labels}, {most}")
    for problem in report.problems:
        print(problem)
    print("differs" if report.problems else "the same answers")
