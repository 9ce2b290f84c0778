"""`tinysight data prepare`: crops of boxes, and lists divided in two.

voc     a folder of Pascal VOC XML files
coco    a COCO JSON file
boxes   a list of `path x0 y0 x1 y1 name` lines
split   a list of `path label` lines, or a folder of classes, divided in two

Writes a folder with train_list.txt, val_list.txt, labels.txt and manifest.json, which records the
sources and options; voc, coco and boxes also write the crops, in images/.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.data.prepare import Prepared

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tinysight data prepare`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("form", choices=("voc", "coco", "boxes", "split"))
    add("source", type=Path, metavar="SOURCE", help="the annotations, or the list")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    add("--images", type=Path, metavar="DIR", help="folder of the photographs (default: SOURCE's)")
    boxes = "labels by class id, each with the names of its boxes (default: the label)"
    add("--classes", nargs="+", metavar="NAME[=BOX,...]", help=boxes)
    add("--scale", type=float, default=1.0, help="factor of the boxes about their centres (1)")
    add("--min-size", type=int, default=1, metavar="PX", help="least shorter side of a crop")
    how = parser.add_mutually_exclusive_group().add_argument
    share = "evaluation's share of each class (0.2)"
    how("--test-fraction", dest="fraction", type=float, default=0.2, metavar="F", help=share)
    how("--test-per-class", dest="per_class", type=int, metavar="N", help="images of each class")
    together = "pattern of paths that stay on one side, such as '^(cam[0-9]+)/'"
    add("--group", metavar="PATTERN", help=together + " (default: all crops of a photograph)")
    add("--seed", type=int, default=0, help="of the split (0)")
    add("--resume", action="store_true", help="resume a folder that is not finished")
    add("--threads", type=int, metavar="N", help="CPU threads (default: one per processor)")


def run(args: argparse.Namespace) -> int:
    """Make it; 1 if something could not be read."""
    for option, value, high in (("scale", args.scale, 100), ("test-fraction", args.fraction, 1)):
        if not 0 < value < high:
            raise ConfigError(f"--{option}", f"should be between 0 and {high}, got {value:g}")
    if args.per_class is not None and args.per_class < 1:
        raise ConfigError("--test-per-class", f"should be at least 1, got {args.per_class}")
    if args.form == "split" and (args.scale != 1 or args.min_size != 1):
        raise ConfigError("--scale", "split makes no crops")
    try:
        re.compile(args.group or "")
    except re.error as error:
        raise ConfigError("--group", f"not a regular expression: {error}") from None
    from tinysight.data.prepare import Plan, prepare

    plan = Plan(*(getattr(args, name) for name in Plan._fields))
    made = prepare(plan, resume=args.resume, threads=args.threads)
    print("\n".join(_table(made)))
    return 1 if made.problems else 0


def _table(made: Prepared) -> list[str]:
    train, val = made.counts["train"], made.counts["val"]
    width = max(8, *map(len, train))
    lines = [f"{'label':{width}}     train       val"]
    lines += [f"{name:{width}}  {train[name]:8d}  {val[name]:8d}" for name in train]
    if made.left_out:
        lines.append(f"\non neither side, for their group is in the test: {len(made.left_out)}")
    lines += [f"boxes {reason}, skipped: {count}" for reason, count in made.skipped.items()]
    if made.problems:
        lines.append(f"\nleft out, for something is wrong: {len(made.problems)}")
        lines += [f"  {problem}" for problem in made.problems[:_SHOWN]]
        if len(made.problems) > _SHOWN:
            lines.append(f"  and {len(made.problems) - _SHOWN} more (manifest.json names them)")
    return lines
