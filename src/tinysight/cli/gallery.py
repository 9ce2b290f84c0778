"""Keep a gallery: images that are known by their embeddings.

    tinysight gallery build products photos/ --model BUNDLE
    tinysight gallery add products new.jpg --label "Oolong tea"
    tinysight gallery query products photo.jpg

A SOURCE is a folder with a folder a label, a list (`path<TAB>label` a line), a table (.csv: path,
label, id, metadata), or with --label any images. Every change is on the disk when the command ends,
seen at once by programs that have the gallery open, and taken back by `undo`. Exit code 1: images
could not be read, items are not there, or the gallery is not whole.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import Any

from tinysight.cli import gallery_scale
from tinysight.cli.arguments import add_plugin
from tinysight.errors import ConfigError, ImageError

_ACTIONS = {
    "build": "make a gallery of images, or continue to",
    "add": "add images, or replace those of the same names",
    "remove": "remove items by their ids, or all of --label",
    "update": "give items another --label, or metadata with --set",
    "list": "list items: id and label",
    "query": "find the items nearest to images: id, label and score",
    "stats": "numbers, and images that are there twice",
    "verify": "check every item and what is made from them",
    "doctor": "repair what can be repaired, then verify",
    "compact": "free space; forgets what `undo` could bring back",
    "undo": "take the latest operation back",
    "snapshot": "copy one state to a new folder, while others write",
    "export": "write all items to a file (.jsonl)",
    "import": "add the items of such a file; or make a gallery of a PaddleClas index folder",
    "re-embed": "make the gallery --out of the same images with another bundle",
    **gallery_scale.ACTIONS,
}
# What they take: a name and how many, options with their arguments, and the actions.
_TAKES = (
    ("given", {"metavar": "SOURCE", "nargs": "+", "help": "folder, list, table or images"}, "build add"),
    ("given", {"metavar": "SOURCE", "nargs": "+", "help": "image, folder, 'pattern*', or list (.txt)"}, "query"),
    ("given", {"metavar": "ID", "nargs": "*"}, "remove"),
    ("given", {"metavar": "ID", "nargs": "+"}, "update"),
    ("given", {"metavar": "FOLDER", "help": "that is made"}, "snapshot"),
    ("given", {"metavar": "FILE", "help": "that is written (.jsonl); - for the standard output"}, "export"),
    ("given", {"metavar": "FILE", "help": "that `export` wrote, or an index folder of PaddleClas"}, "import"),
    ("--label", {"metavar": "TEXT", "help": "of these items"}, "build add remove update list"),
    ("--root", {"metavar": "FOLDER", "help": "images' folder (default: the list's)"}, "build add"),
    ("--delimiter", {"default": "\t", "help": "between path and label (a tab)"}, "build add"),
    ("--metric", {"help": "cosine (default), inner_product, l2, hamming"}, "build re-embed"),
    ("--model", {"help": "bundle of embeddings (default: the gallery's)"}, "build add query re-embed calibrate"),
    ("--engine", {"default": "onnxruntime", "help": "that runs it"}, "build add query re-embed calibrate"),
    ("-k", {"type": int, "default": 5, "help": "number of items (5)"}, "query"),
    ("--set", {"nargs": "+", "default": [], "metavar": "KEY=VALUE", "help": "metadata"}, "update"),
    ("--near", {"type": float, "metavar": "SCORE", "help": "also find items so similar"}, "stats"),
    ("--out", {"required": True, "metavar": "GALLERY", "help": "made, or continued"}, "re-embed"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument(
            "gallery", metavar="GALLERY", help="folder, or milvus://HOST:PORT/COLLECTION"
        )
        for argument, about, takers in _TAKES:
            if name in takers.split():
                action.add_argument(argument, **about)
        gallery_scale.add_options(name, action)
        add_plugin(action)
        action.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 if an image could not be read, an item is not there, or the gallery is not whole."""
    if args.action in ("build", "add", "re-embed"):
        return _add(args)
    if args.action == "query":
        return _query(args)
    if args.action == "import":
        from tinysight.gallery.transfer import import_items

        return _say(args, {"items": import_items(args.gallery, args.given)})
    if args.action in gallery_scale.ACTIONS:
        return _say(args, *gallery_scale.run(args))
    from tinysight.gallery.places import open_store

    store = open_store(args.gallery)
    edits = {"remove": _remove, "update": _update, "list": _list, "stats": _stats}
    if args.action in edits:
        return edits[args.action](args, store)
    gallery_scale.need_folder(args.action, store)
    if args.action in ("verify", "doctor"):
        from tinysight.gallery.health import repair, verify

        found = (repair if args.action == "doctor" else verify)(store)
        lines = [str(problem) for problem in found] or [f"{args.gallery}: whole"]
        return _say(args, {"problems": [p._asdict() for p in found]}, lines, code=int(bool(found)))
    if args.action == "export":
        from tinysight.gallery.transfer import export_items

        count = export_items(store, args.given)
        return 0 if args.given == "-" else _say(args, {"items": count})
    if args.action == "undo":
        return _say(args, {"undone": store.undo()})
    if args.action == "snapshot":
        store.copy(args.given)
        return _say(args, {"snapshot": args.given})
    store.compact()
    return _say(args, {"compacted": args.gallery}, [f"{args.gallery}: compacted"])


def _add(args: argparse.Namespace) -> int:
    from tinysight.cli.progress import ProgressLine
    from tinysight.gallery.entries import entries_of, iter_entries
    from tinysight.gallery.gallery import Gallery
    from tinysight.gallery.places import exists, open_store

    if args.action == "re-embed":
        if Path(args.gallery).resolve() == Path(args.out).resolve():
            raise ConfigError("--out", "is the gallery itself", "give a new folder")
        sources: list[Any] = [entries_of(open_store(args.gallery))]
        args.gallery = args.out
    else:
        options = {"root": args.root, "delimiter": args.delimiter}
        sources = [iter_entries(source, args.label, **options) for source in args.given]
    given = {"model": args.model, "engine": args.engine}
    if args.action == "add" or exists(args.gallery):
        gallery = Gallery(args.gallery, **given)
        metric = getattr(args, "metric", None) or gallery.store.metric
        if metric != gallery.store.metric:
            what = f"{metric}, but {args.gallery} compares by {gallery.store.metric}"
            raise ConfigError("--metric", what, "`gallery re-embed` makes a gallery by another")
    elif args.model:
        first = list(islice(sources[0], 1))  # a mistake in it leaves no gallery behind
        sources[0] = chain(first, sources[0])
        gallery = Gallery.create(args.gallery, metric=args.metric, **given)
    else:
        raise ConfigError("--model", "which bundle?", "give the folder of one of embeddings")
    bar = ProgressLine(lambda: None, sys.stderr) if sys.stderr.isatty() else None
    report: dict[str, Any] = {"what": args.action, "progress": bar.reach if bar else None}
    done = [gallery.add(source, **report) for source in sources]
    if bar:
        bar.clear()
    failed = [image for one in done for image in one.unreadable]
    for image in failed:
        print(f"{image.filename}: {image.reason}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} images could not be read", file=sys.stderr)
    names = ("written", "embedded", "reused", "unchanged")
    total = {name: sum(getattr(one, name) for one in done) for name in names}
    total["items"] = gallery.store.count()
    text = f"{args.gallery}: " + ", ".join(f"{count} {name}" for name, count in total.items())
    plain = {**total, "unreadable": [image.to_json() for image in failed]}
    return _say(args, plain, [text], code=int(bool(failed)))


def _query(args: argparse.Namespace) -> int:
    from tinysight.gallery.decide import decision_of
    from tinysight.gallery.gallery import Gallery
    from tinysight.pipelines.sources import iter_images

    gallery, code = Gallery(args.gallery, model=args.model, engine=args.engine), 0
    decision, images = decision_of(gallery.store), iter_images(args.given)
    first = list(islice(images, 2))
    for image in chain(first, images):
        try:
            nearest = gallery.query(image, max(args.k, decision.k) if args.k > 0 else args.k)
        except ImageError as error:
            code = 1
            print(error, file=sys.stderr)
            continue
        found, answer = nearest[: args.k], decision.decide(nearest)
        plain: dict[str, Any] = {"filename": image.name, "label": answer and answer.label}
        plain["matches"] = [match._asdict() for match in found]
        lines = [f"{image.name}:"] * (len(first) > 1)  # of which image they are
        lines += ["unknown"] * (answer is None)
        lines += [f"{m.id}\t{m.label}\t{m.score:.6f}" for m in found]
        _say(args, plain, lines)
    return code


def _remove(args: argparse.Namespace, store: Any) -> int:
    from tinysight.gallery.entries import all_items

    ids = set(args.given)
    if args.label is not None:
        ids |= {item.id for item in all_items(store, args.label)}
    elif not ids:
        raise ConfigError("ID", "which items?", "give ids, or --label")
    there = {item.id for item in store.get(args.given)}
    for one in sorted({*args.given} - there):
        print(f"{args.gallery}: no item {one!r}", file=sys.stderr)
    if not ids:
        print(f"{args.gallery}: no item of the label {args.label!r}", file=sys.stderr)
    count = store.remove(sorted(ids))
    return _say(args, {"removed": count}, code=int(count < len(ids) or not ids))


def _update(args: argparse.Namespace, store: Any) -> int:
    from tinysight.gallery.gallery import update

    if args.label is None and not args.set:
        raise ConfigError("update", "nothing to change", "give --label or --set KEY=VALUE")
    for text in args.set:
        if not text.partition("=")[0] or "=" not in text:
            raise ConfigError("--set", f"expected KEY=VALUE, got {text!r}")
    metadata = dict(text.partition("=")[::2] for text in args.set)
    return _say(args, {"updated": update(store, args.given, args.label, metadata)})


def _list(args: argparse.Namespace, store: Any) -> int:
    from tinysight.gallery.entries import all_items

    for item in all_items(store, args.label):
        plain = {**item._asdict(), "vector": item.vector is not None}
        _say(args, plain, [f"{item.id}\t{item.label}" + "\tno embedding" * (item.vector is None)])
    return 0


def _stats(args: argparse.Namespace, store: Any) -> int:
    from tinysight.gallery.health import duplicates, stats

    if args.near is not None and not isfinite(args.near):
        raise ConfigError("--near", f"should be a number, got {args.near}")
    found, twice = stats(store), [one._asdict() for one in duplicates(store, args.near)]
    lines = [f"{key}: {value}" for key, value in found.items() if key != "labels"]
    lines += [f"label {label!r}: {count}" for label, count in found["labels"].items()]
    lines += [f"duplicates ({one['how']}): {', '.join(one['ids'])}" for one in twice]
    return _say(args, {**found, "duplicates": twice}, lines)


def _say(
    args: argparse.Namespace, plain: dict[str, Any], lines: Iterable[str] | None = None, code: int = 0
) -> int:  # fmt: skip
    """Print JSON, or lines (by default the values of `plain` by their names)."""
    words = (f"{args.gallery}: {name} {value}" for name, value in plain.items())
    for line in (
        (json.dumps(plain, ensure_ascii=False),) if args.json else words if lines is None else lines
    ):
        print(line)
    return code
