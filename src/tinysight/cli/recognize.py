"""Recognise what is in images by a gallery: detect, embed, look up.

    tinysight recognize shelf.jpg --system bundles/shelf --gallery galleries/drinks
    tinysight recognize photos/ --model bundles/embedder --no-detector --gallery galleries/drinks --json
    tinysight recognize photos/ --system bundles/shelf --gallery galleries/drinks --draw drawn/

`tinysight export --system` makes a system of a detector and an embedder, `tinysight gallery` a gallery. Results come in
the order of the images. Unreadable images are named on stderr, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from itertools import chain
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tinysight.cli.arguments import add_engine
from tinysight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tinysight.compat.paddle.dialect.shitu import ShituConfig
    from tinysight.pipelines.recognize import Recognizer

_OPTIONS = ("batch_size", "threads", "workers", "engine", "precision")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("source", nargs="+", metavar="SOURCE", help="image, folder, 'pattern*', or list (.txt)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--system", metavar="FOLDER", help="a detector, an embedder and their rules")
    which.add_argument("--model", metavar="FOLDER", help="an embedder alone, with --no-detector")
    add("--gallery", required=True, metavar="FOLDER", help="what is looked up in")
    add("--no-detector", action="store_true", help="look up whole images alone")
    text = "lowest similarity (or largest distance) that is a match"
    add(
        "--threshold",
        type=float,
        metavar="S",
        help=f"{text}; default: what was calibrated for the gallery, else the system's",
    )
    add("--batch-size", type=int, default=1, metavar="N", help="images per batch")
    add("--threads", type=int, default=1, metavar="N", help="CPU threads of a network")
    add("--workers", type=int, metavar="N", help="images in parallel (default: one per processor)")
    add_engine(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object per image")
    form.add_argument("--csv", action="store_true", help="print a table with a header")
    add("--output", metavar="FILE", help="file for the results; renamed when complete")
    add("--draw", metavar="FOLDER", help="folder for copies of the images with their boxes")


def run(args: argparse.Namespace) -> int:
    """Recognise; 1 if an image could not be read, else 0."""
    from tinysight.pipelines.recognize import Recognizer, members_of

    if args.model and not args.no_detector:
        raise ConfigError("--model", "is an embedder alone", "add --no-detector, or give --system")
    rules, system = None, args.system or args.model
    if args.threshold is not None:
        if not isfinite(args.threshold):
            raise ConfigError("--threshold", f"should be a number, got {args.threshold}")
        rules = members_of(system)[2]._replace(score_threshold=args.threshold)
    options: dict[str, Any] = {name: getattr(args, name) for name in _OPTIONS}
    options |= {"rules": rules, "detect": not args.no_detector}
    recognizer = Recognizer(system, args.gallery, **options)
    form = "json" if args.json else "csv" if args.csv else "text"
    return _write_all(recognizer, args.source, form, args.output, args.draw)


def _write_all(
    recognizer: Recognizer, sources: Iterable[str], form: str, output: str | None, draw: str | None
) -> int:
    from tinysight.cli.output import opened
    from tinysight.pipelines.draw import Drawings
    from tinysight.pipelines.sources import iter_images
    from tinysight.tasks.results import Unreadable

    images = chain.from_iterable([iter_images(source) for source in sources])
    drawings = Drawings(draw) if draw else None
    with opened(output, form, None) as out:
        since = perf_counter()
        for item in recognizer.stream(images):
            if isinstance(item, Unreadable):
                print(f"{item.filename}: {item.reason}", file=sys.stderr)
            elif form == "deploy":
                print(f"Inference: {1e3 * (perf_counter() - since)} ms per batch image")
            out.write(item)
            if drawings and not isinstance(item, Unreadable):
                drawings.add(item)
            since = perf_counter()
    if out.failed:
        print(f"{out.failed} of {out.done} images could not be read", file=sys.stderr)
    return int(out.failed > 0)


def run_paddleclas(args: argparse.Namespace, config: ShituConfig, build: bool) -> int:
    """What `predict_system.py` or `build_gallery.py` does with a configuration; `args` are those of `predict`."""
    from tinysight.cli.arguments import log_to_stderr
    from tinysight.compat.paddle.shitu import change, recognizer_of

    if build:
        done = change(config)
        for image in done.unreadable:
            print(f"{image.filename}: {image.reason}", file=sys.stderr)
        print(f"{done.added} images added, {done.removed} removed, {done.total} in the gallery")
        return int(bool(done.unreadable))
    sources = [
        *args.source,
        *filter(None, [args.infer_imgs or (not args.source and config.images)]),
    ]
    if not sources:
        raise DataError("Global.infer_imgs", "no image given", "-o Global.infer_imgs=PATH")
    threads = max(args.threads, config.threads)
    size = max(args.batch_size, config.batch_size)
    recognizer = recognizer_of(config, threads=threads, batch_size=size, workers=args.workers)
    form = "json" if args.json else "csv" if args.csv else "deploy"
    with log_to_stderr():
        draw = args.draw or config.output_dir or "output"
        return _write_all(recognizer, sources, form, args.output, draw)
