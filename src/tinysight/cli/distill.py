"""Train the best student that is fast enough on this machine.

    tinysight distill flowers/ --teacher teacher_bundle --budget-ms 2
    tinysight distill any_photos/ --teacher clarity_assessment --budget-ms 0.5 --minutes 30

The folder has a folder for each class, with the teacher's names; or it holds any images, which the teacher
labels. Network, width and image size are chosen by the latency that is measured here and kept in the cache.
"""

from __future__ import annotations

import argparse
import json
from shlex import quote

from tinysight.cli.arguments import add_override, log_to_stderr, print_broken

_MARGIN = 1.05  # times the budget, that a measurement may differ


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add = parser.add_argument
    add(
        "source", metavar="DATA", help="folder of images, with or without classes; list or CSV file"
    )
    add("--teacher", required=True, metavar="NAME|FOLDER", help="bundle of a classifier")
    text = "longest time of the network for one image, on one thread here"
    add("--budget-ms", type=float, required=True, metavar="MS", help=text)
    add("--minutes", type=float, default=10.0, metavar="M", help="time at hand for training (10)")
    add("--out", metavar="DIR", help="run folder (default: runs/<DATA>_student)")
    add("--json", action="store_true", help="print JSON")
    add_override(parser)


def run(args: argparse.Namespace) -> int:
    """Choose, train, export; 1 if nothing is exported, or an image was left out."""
    from tinysight.cli.progress import Working
    from tinysight.distill.run import distill

    with log_to_stderr(), Working() as tell:
        done = distill(
            args.source, args.teacher, args.budget_ms, args.out,
            minutes=args.minutes, overrides=args.override, tell=tell,
        )  # fmt: skip
    code = int(done.bundle is None or bool(done.broken))
    if args.json:
        rows = [{**row.student._asdict(), "ms": row.ms} for row in done.front]
        plain = {"run": str(done.out), "student": done.student.student._asdict(), "ms": done.ms}
        plain |= {"right": done.right, "total": done.total, "problem": done.problem, "front": rows}
        plain |= {"broken": dict(done.broken)}
        print(json.dumps(plain, ensure_ascii=False))
        return code
    print(f"{'network':<16}  {'size':>4}  {'ms':>7}  ImageNet top-1, expected")
    for student, ms in done.front:
        mark = "  <- chosen" * (student == done.student.student)
        print(f"{student.backbone:<16}  {student.size:>4}  {ms:>7.3f}  {student.points:.1f}{mark}")
    what = "accuracy" if done.labelled else "agreement with the teacher"
    ends = "{:.3f} to {:.3f}".format(*done.interval)
    print(f"{what} {done.right / done.total:.3f} (95 %: {ends}) of {done.total} validation images")
    print(f"run      {done.out}")
    if done.bundle is None:
        print(f"bundle   none, for something went wrong: {done.problem}")
        print_broken(done.broken)
        return code
    print(f"bundle   {done.bundle.folder}: {done.ms:.3f} ms, budget {args.budget_ms:g} ms")
    if done.ms > _MARGIN * args.budget_ms:
        print("warning  it is slower than that: distill again while the machine does nothing else")
    print(f"next     tinysight predict IMAGE --model {quote(str(done.bundle.folder))}")
    print_broken(done.broken)
    return code
