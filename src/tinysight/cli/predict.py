"""Label pictures with a bundle.

    tinysight predict photo.jpg holiday/ --model clarity_assessment
    tinysight predict 'scans/**/*.png' --model runs/mine/bundle --csv --output answers.csv
    tinysight predict --model_name=clarity_assessment --infer_imgs=photo.jpg
    tinysight predict --model_name=safety_helmet --infer_imgs=photo.jpg
    tinysight predict -c inference_cls.yaml -o Global.inference_model_dir=... -o Global.infer_imgs=...

A name that no bundle has here is looked up among the public models (`tinysight models list`): it is
fetched and translated once, and lies in the cache from then on. TINYSIGHT_OFFLINE=1 forbids that.

Answers appear as they are made. Pictures that cannot be read are named on stderr, and the exit
code is then 1.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tinysight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.pipelines.results import Result, Unreadable

Write = Callable[["Result | Unreadable"], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments; the spellings with underscores are those of the reference."""
    add = parser.add_argument
    add("source", nargs="*", metavar="SOURCE", help="picture, folder, 'pattern*', or list (.txt)")
    add("--infer_imgs", metavar="SOURCE", help="one more source")
    add(
        "--model", "--model_name", "--bundle", metavar="NAME|FOLDER",
        help="a bundle that comes with tinysight, a bundle's folder, or a public model, which is fetched",
    )  # fmt: skip
    add(
        "-c", "--config", metavar="YAML", help="a PaddleClas deploy configuration; prints its lines"
    )
    add(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE",
        help="change one value of it, as often as wanted",
    )  # fmt: skip
    add("--root", metavar="FOLDER", help="paths in lists are relative to it; default: to the list")
    add("--batch-size", "--batch_size", type=int, default=1, metavar="N", help="pictures a batch")
    add("--threads", type=int, default=1, metavar="N", help="threads of the network")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--topk", type=int, metavar="K", help="the K best classes")
    choice.add_argument("--threshold", type=float, metavar="P", help="instead of the bundle's own")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="a table with a heading")
    add("--output", metavar="FILE", help="write the answers there, whole or not at all")


def run(args: argparse.Namespace) -> int:
    """Answer; 1 if a picture could not be read, else 0."""
    from tinysight.background import Background
    from tinysight.bundle import Bundle, is_local, list_bundles
    from tinysight.manifest import NO_CLASSES

    configured = _configured(args)
    named = [*args.source, *([args.infer_imgs] if args.infer_imgs else [])]
    if not named:
        raise DataError("SOURCE", "no picture given", "tinysight predict PICTURE --model NAME")
    if not args.model and not configured:
        known = ", ".join(list_bundles()) or "none came with this installation"
        raise ConfigError("--model", "which bundle?", f"a folder, or one of: {known}")
    loading = None
    if args.model and is_local(args.model):  # read and hashed beside the imports
        loading = Background(lambda: Bundle.load(args.model))
    from tinysight.pipelines.classify import Classifier
    from tinysight.pipelines.sources import pictures

    sources = [pictures(source, root=args.root) for source in named]
    bundle = configured or (loading.result() if loading else Bundle.load(_fetched(args.model)))
    kind = bundle.manifest.postprocess["name"]
    if args.csv and kind in NO_CLASSES:
        raise ConfigError("--csv", f"the answers of this bundle are its {kind}", "use --json")
    if kind == "boxes":
        from tinysight.pipelines.detect import Detector as Classifier  # same arguments, same use
    classifier = Classifier(
        bundle,
        batch_size=args.batch_size,
        threads=args.threads,
        topk=args.topk,
        threshold=args.threshold,
    )
    answered = 0
    with _opened(args.output) as out:
        write = _writer(args, kind, out)

        def report(picture: Unreadable) -> None:
            print(f"{picture.filename}: {picture.reason}", file=sys.stderr)
            write(picture)

        classifier.on_unreadable = report
        for batch in classifier.predict(chain.from_iterable(sources)):
            if not gc.isenabled():
                gc.freeze()  # what is loaded by now is not looked through again, not even at exit
                gc.enable()
            for result in batch:
                write(result)
            out.flush()
            answered += len(batch)
    failed = len(classifier.unreadable)
    if failed:
        print(f"{failed} of {answered + failed} pictures could not be read", file=sys.stderr)
    return 1 if failed else 0


def _configured(args: argparse.Namespace) -> Bundle | None:
    """The network of a deploy configuration, which also says what `args` leaves open."""
    if not args.config:
        if args.override:
            raise ConfigError("-o", "there is no configuration to change", "add -c YAML")
        return None
    if args.model:
        raise ConfigError("--model", "-c names the network", "-o Global.inference_model_dir=...")
    from tinysight.interop.deploy_run import deployed_bundle, read_deploy_run

    run = read_deploy_run(args.config, args.override)
    if not args.source and not args.infer_imgs:
        args.infer_imgs = run.images
    args.batch_size = max(args.batch_size, run.batch_size)
    args.threads = max(args.threads, run.threads)
    return deployed_bundle(run)


def _fetched(name: str) -> str:
    """A public model becomes a bundle in the cache, unless it is there already."""
    from tinysight.cli.progress import download_progress
    from tinysight.interop.named_bundle import fetched_bundle

    with download_progress(name) as report:
        return str(fetched_bundle(name, report=report))


def _writer(args: argparse.Namespace, kind: str, out: TextIO) -> Write:
    """What puts one result on `out` in the form that was asked for."""
    from tinysight.pipelines import results
    from tinysight.pipelines.results import Unreadable, csv_table

    if args.json:
        import json

        def as_json(item: Result | Unreadable) -> None:
            if isinstance(item, Unreadable):
                out.write(json.dumps({"filename": item.filename, "error": item.reason}) + "\n")
            else:
                out.write(json.dumps(item) + "\n")

        return as_json
    if args.csv:
        return csv_table(out)

    special: dict[str, Callable[[Result], str]] = {
        "boxes": results.as_box_lines,
        "embedding": results.as_vector_line,
    }
    line = special.get(kind, results.as_deploy_line if args.config else results.as_line)

    def as_text(item: Result | Unreadable) -> None:
        if not isinstance(item, Unreadable):
            out.write(line(item) + "\n")

    return as_text


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a draft of the file `path` that takes its name at the end."""
    if path is None:
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        yield sys.stdout
        return
    draft = Path(f"{path}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise DataError(path, f"cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
