"""Keep a gallery: images that are known by their embeddings.

    tinysight gallery build products photos/ --model BUNDLE
    tinysight gallery add products new.jpg --label "Oolong tea"
    tinysight gallery query products photo.jpg

A SOURCE is a folder with a folder a label, a list (`path<TAB>label` a line), a table (.csv: path,
label, id, metadata), or with --label any images. Every change is on the disk when the command ends,
seen at once by programs that have the gallery open, and taken back by `undo`. Exit code 1: images
could not be read, or the gallery is not whole.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tinysight.cli.arguments import add_plugin
from tinysight.errors import ConfigError

ACTIONS = {
    "build": ("SOURCE", "make a gallery of images, or continue to"),
    "add": ("SOURCE", "add images, or replace those of the same names"),
    "remove": ("ID*", "remove items by their ids, or all of --label"),
    "update": ("ID*", "give items another --label, or metadata with --set"),
    "list": ("", "list items"),
    "query": ("SOURCE", "find the items nearest to images"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (takes, text) in ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        add = action.add_argument
        add("gallery", metavar="GALLERY", help="folder of the gallery")
        if takes:
            add("given", metavar=takes.strip("*"), nargs="*" if "*" in takes else "+")
        add("--json", action="store_true", help="print JSON")
        if name in ("build", "add", "remove", "update", "list"):
            add("--label", metavar="TEXT", help="of these items")
        if name in ("build", "add"):
            add("--root", metavar="FOLDER", help="images' folder (default: the list's)")
            add("--delimiter", default="\t", metavar="TEXT", help="between path and label (a tab)")
        if name == "build":
            add("--metric", help="cosine (default), inner_product, l2, hamming (for codes)")
        if name in ("build", "add", "query"):
            add("--model", metavar="FOLDER", help="bundle of embeddings (default: the gallery's)")
            add("--engine", default="onnxruntime", metavar="NAME", help="what runs the network")
            add_plugin(action)
        if name == "query":
            add("-k", type=int, default=5, metavar="N", help="number of items (5)")
        if name == "update":
            add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 if an image could not be read."""
    actions = {"build": _build, "query": _query, "list": _list, "update": _update}
    actions |= {"add": _add, "remove": _remove}
    return actions[args.action](args)


def _gallery(args: argparse.Namespace) -> Any:
    from tinysight.gallery.gallery import Gallery

    options = {"engine": args.engine} if hasattr(args, "engine") else {}
    return Gallery(args.gallery, model=getattr(args, "model", None), **options)


def _build(args: argparse.Namespace) -> int:
    from pathlib import Path

    from tinysight.gallery.database import FILE
    from tinysight.gallery.gallery import Gallery

    if not (Path(args.gallery) / FILE).exists():
        if not args.model:
            raise ConfigError("--model", "which bundle?", "give the folder of one of embeddings")
        Gallery.create(
            args.gallery, model=args.model, metric=args.metric, engine=args.engine
        ).close()
    return _add(args)


def _add(args: argparse.Namespace) -> int:
    from tinysight.cli.progress import ProgressLine

    gallery = _gallery(args)
    bar = ProgressLine(lambda: None, sys.stderr) if sys.stderr.isatty() else None
    failed, total = [], dict.fromkeys(("written", "embedded", "reused", "unchanged"), 0)
    for source in args.given:
        done = gallery.add(
            source, args.label, what=args.action, root=args.root, delimiter=args.delimiter,
            progress=bar.reach if bar else None,
        )  # fmt: skip
        failed += done.unreadable
        total = {name: count + getattr(done, name) for name, count in total.items()}
    if bar:
        bar.clear()
    for image in failed:
        print(f"{image.filename}: {image.reason}", file=sys.stderr)
    total["items"] = gallery.store.count()
    text = f"{args.gallery}: " + ", ".join(f"{count} {name}" for name, count in total.items())
    _say(args, {**total, "unreadable": [image.to_json() for image in failed]}, text)
    if failed:
        print(f"{len(failed)} images could not be read", file=sys.stderr)
    return int(bool(failed))


def _query(args: argparse.Namespace) -> int:
    from tinysight.errors import ImageError
    from tinysight.pipelines.sources import iter_images

    gallery, failed = _gallery(args), 0
    for image in iter_images(args.given):
        try:
            found = gallery.query(image, args.k)
        except ImageError as error:
            failed += 1
            print(error, file=sys.stderr)
            continue
        matches = [match._asdict() for match in found]
        lines = (f"{m.id}\t{m.label}\t{m.score:.6f}" for m in found)
        _say(args, {"filename": image.name, "matches": matches}, *lines)
    return int(failed > 0)


def _list(args: argparse.Namespace) -> int:
    store, after = _gallery(args).store, ""
    while items := store.items(label=args.label, after=after):
        for item in items:
            plain = {**item._asdict(), "vector": item.vector is not None}
            _say(args, plain, f"{item.id}\t{item.label}" + "\tno embedding" * (item.vector is None))
        after = items[-1].id
    return 0


def _remove(args: argparse.Namespace) -> int:
    store, ids = _gallery(args).store, list(args.given)
    if args.label is not None:
        ids += store.ids_of(args.label)
    count = store.remove(ids)
    _say(args, {"removed": count}, f"{args.gallery}: {count} removed")
    return int(count < len(set(ids)))


def _update(args: argparse.Namespace) -> int:
    metadata = dict(text.partition("=")[::2] for text in args.set)
    count = _gallery(args).update(args.given, label=args.label, metadata=metadata)
    _say(args, {"updated": count}, f"{args.gallery}: {count} updated")
    return 0


def _say(args: argparse.Namespace, plain: dict[str, Any], *lines: str) -> None:
    for line in (json.dumps(plain, ensure_ascii=False),) if args.json else lines:
        print(line)
