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

_TEXTS = {
    "build": "make a gallery of images, or continue to",
    "add": "add images, or replace those of the same names",
    "remove": "remove items by their ids, or all of --label",
    "update": "give items another --label, or metadata with --set",
    "list": "list items: id and label",
    "query": "find the items nearest to images: id, label and score",
    "stats": "numbers, and images that are there twice",
    "verify": "check every item and what is made from them; 1 if the gallery is not whole",
    "doctor": "repair what can be repaired, then verify",
    "compact": "free space; forgets what `undo` could bring back",
    "undo": "take the latest operation back",
    "snapshot": "copy one state to a new folder, while others write",
    "export": "write all items to a file (.jsonl)",
    "import": "add the items of such a file; or a PaddleClas index folder as a new gallery",
    "re-embed": "make the gallery --out of the same images with another bundle",
}
_TAKES = {name: "SOURCE" for name in ("build", "add", "query")} | {
    "remove": "ID", "update": "ID", "snapshot": "FOLDER", "export": "FILE", "import": "FILE",
}  # fmt: skip
_MODELS = ("build", "add", "query", "re-embed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in _TEXTS.items():
        action = actions.add_parser(name, help=text, description=text)
        add = action.add_argument
        add("gallery", metavar="GALLERY", help="folder of the gallery")
        if name in _TAKES:
            several = "*" if name == "remove" else "+"
            one = None if _TAKES[name] in ("FOLDER", "FILE") else several
            add("given", metavar=_TAKES[name], nargs=one)
        add("--json", action="store_true", help="print JSON")
        if name in ("build", "add", "remove", "update", "list"):
            add("--label", metavar="TEXT", help="of these items")
        if name in ("build", "add"):
            add("--root", metavar="FOLDER", help="images' folder (default: the list's)")
            add("--delimiter", default="\t", metavar="TEXT", help="between path and label (a tab)")
        if name in ("build", "re-embed"):
            add("--metric", help="cosine (default), inner_product, l2, hamming (for codes)")
        if name in _MODELS:
            add("--model", metavar="FOLDER", help="bundle of embeddings (default: the gallery's)")
            add("--engine", default="onnxruntime", metavar="NAME", help="what runs the network")
            add_plugin(action)
        if name == "query":
            add("-k", type=int, default=5, metavar="N", help="number of items (5)")
        if name == "update":
            add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
        if name == "stats":
            add("--near", type=float, metavar="SCORE", help="also find items that are so similar")
        if name == "re-embed":
            add("--out", required=True, metavar="GALLERY", help="made, or continued")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 if an image could not be read, an item is not there, or the gallery is not whole."""
    name = {"doctor": "verify", "export": "transfer", "import": "transfer"}.get(args.action)
    return int(globals()[f"_{name or args.action.replace('-', '_')}"](args))


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


def _re_embed(args: argparse.Namespace) -> int:
    from tinysight.gallery.entries import entries_of
    from tinysight.gallery.sqlite_store import SqliteStore

    args.given, args.gallery = [entries_of(SqliteStore(args.gallery))], args.out
    args.label = args.root = args.delimiter = None
    return _build(args)


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
    from tinysight.gallery.entries import all_items

    for item in all_items(_store(args), args.label):
        plain = {**item._asdict(), "vector": item.vector is not None}
        _say(args, plain, f"{item.id}\t{item.label}" + "\tno embedding" * (item.vector is None))
    return 0


def _remove(args: argparse.Namespace) -> int:
    store, ids = _store(args), list(args.given)
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


def _stats(args: argparse.Namespace) -> int:
    from tinysight.gallery.health import duplicates, stats

    store = _store(args)
    found, twice = stats(store), [one._asdict() for one in duplicates(store, args.near)]
    lines = [f"{key}: {value}" for key, value in found.items() if key != "labels"]
    lines += [f"label {label!r}: {count}" for label, count in found["labels"].items()]
    lines += [f"duplicates ({one['how']}): {', '.join(one['ids'])}" for one in twice]
    _say(args, {**found, "duplicates": twice}, *lines)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from tinysight.gallery.health import repair, verify

    found = (repair if args.action == "doctor" else verify)(_store(args))
    lines = [str(problem) for problem in found] or [f"{args.gallery}: whole"]
    _say(args, {"problems": [problem._asdict() for problem in found]}, *lines)
    return int(bool(found))


def _compact(args: argparse.Namespace) -> int:
    _store(args).compact()
    _say(args, {"compacted": args.gallery}, f"{args.gallery}: compacted")
    return 0


def _undo(args: argparse.Namespace) -> int:
    what = _store(args).undo()
    _say(args, {"undone": what}, f"{args.gallery}: {what} undone")
    return 0


def _snapshot(args: argparse.Namespace) -> int:
    _store(args).copy(args.given)
    _say(args, {"snapshot": args.given}, f"{args.given}: a copy of {args.gallery}")
    return 0


def _transfer(args: argparse.Namespace) -> int:
    from pathlib import Path

    from tinysight.foreign import import_index
    from tinysight.gallery.transfer import export_items, import_items

    if args.action == "import" and Path(args.given).is_dir():
        count = import_index(Path(args.given), Path(args.gallery)).count()
    elif args.action == "import":
        count = import_items(args.gallery, args.given)
    else:
        count = export_items(_store(args), args.given)
    _say(args, {"items": count}, *[f"{args.given}: {count} items"] * (args.given != "-"))
    return 0


def _store(args: argparse.Namespace) -> Any:
    from tinysight.gallery.sqlite_store import SqliteStore

    return SqliteStore(args.gallery)


def _say(args: argparse.Namespace, plain: dict[str, Any], *lines: str) -> None:
    for line in (json.dumps(plain, ensure_ascii=False),) if args.json else lines:
        print(line)
