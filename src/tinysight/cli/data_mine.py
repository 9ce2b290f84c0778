"""`tinysight data mine`: from a large pool the images that a teacher is surest of.

    tinysight data mine POOL --teacher runs/teacher/bundle --against val_list.txt --per-class 1000 --out mined

Writes `mined.txt` (`path class-id`, the surest of each class first), `mined.yaml` (counts, and what was dropped and
why) and `scores.jsonl`. Give `mined.txt` as `data.train.unlabelled`. After an interruption the same command resumes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.distill.mine import Mined


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tinysight data mine`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("pool", type=Path, metavar="POOL", help="folder of images")
    add("--teacher", required=True, metavar="NAME|FOLDER", help="bundle of a classifier")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    text = "images of the evaluation set, which are left out: a folder or a list; may be repeated"
    add("--against", type=Path, action="append", default=[], metavar="SOURCE", help=text)
    add("--per-class", type=int, default=1000, metavar="K", help="most images of a class (1000)")
    add("--min-score", type=float, default=0.0, metavar="P", help="least score of an image (0)")
    add("--no-near", action="store_true", help="compare files byte by byte only")
    text = "bundle that gives vectors: images whose cosine is high are left out, too"
    add("--embedder", metavar="NAME|FOLDER", help=text)
    add("--similarity", type=float, default=0.95, metavar="COS", help="of --embedder (0.95)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: one per processor)")


def run(args: argparse.Namespace) -> int:
    """Mine; 1 if an image of the pool cannot be read."""
    for option, value in (("min-score", args.min_score), ("similarity", args.similarity)):
        if not 0 <= value <= 1:
            raise ConfigError(f"--{option}", f"should be from 0 to 1, got {value:g}")
    from tinysight.bundle import Bundle
    from tinysight.cli.progress import ProgressLine
    from tinysight.distill.mine import MINED, Mining, mine
    from tinysight.pipelines.sources import count

    embedder = Bundle.load(args.embedder) if args.embedder else None
    plan = Mining(
        args.pool, Bundle.load(args.teacher), args.out, args.against, args.per_class, args.min_score,
        not args.no_near, embedder, args.similarity, args.threads,
    )  # fmt: skip
    line = ProgressLine(lambda: count(args.pool), sys.stderr) if sys.stderr.isatty() else None
    mined = mine(plan, line.step if line else lambda: None)
    if line:
        line.clear()
    print("\n".join([*_table(mined), f"wrote {args.out / MINED}"]))
    return 1 if mined.unreadable else 0


def _table(mined: Mined) -> list[str]:
    width = max(12, *map(len, mined.counts))
    lines = [f"{name:{width}}  {count:8d}" for name, count in mined.counts.items()]
    for what, count in (
        ("left out, for the evaluation set has them", len(mined.leaked)),
        ("left out, for another name of them is chosen", len(mined.repeated)),
        ("cannot be read", mined.unreadable),
    ):
        lines += [f"{what}: {count}"] if count else []
    return lines
