"""Actions of `tinysight gallery` for large galleries: their index, their threshold, and servers that hold them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tinysight.errors import ConfigError

ACTIONS = {
    "index": "make the index of a large gallery, or bring it up to date",
    "calibrate": "set the score below which an image is unknown",
    "migrate": "copy all items to another gallery, --store, as far as it lacks them",
}


def add_options(name: str, action: argparse.ArgumentParser) -> None:
    """Options of one of the actions."""
    add = action.add_argument
    if name == "index":
        add("--recall", type=float, metavar="R", help="share of the ten nearest to find (0.99)")
    elif name == "calibrate":
        text = "images of other things (default: each item, without those of its label)"
        add("--unknown", nargs="+", metavar="SOURCE", help=text)
        text = "share of unknown things that may pass (0.01)"
        add("--false-accept", type=float, default=0.01, metavar="RATE", help=text)
        add("--votes", type=int, default=1, metavar="K", help="nearest items that vote (1)")
        add("--by-label", action="store_true", help="a threshold for each label, where it can be")
    elif name == "migrate":
        text = "folder, or milvus://HOST:PORT/COLLECTION; made if missing"
        add("--store", required=True, metavar="GALLERY", help=text)


def need_folder(action: str, store: Any) -> None:
    """Refuse what only a gallery in a folder can do."""
    if not isinstance(store.folder, Path):
        what = f"a gallery on a server has no `{action}`"
        raise ConfigError(store.folder, what, "its owner's tools have, or migrate it to a folder")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], list[str] | None]:
    """Do it: what came of it as JSON, and as lines."""
    from tinysight.gallery.places import migrate, open_store, store_like

    if args.action == "calibrate":
        return _calibrate(args)
    store = open_store(args.gallery)
    if args.action == "migrate":
        seen, written = migrate(store, store_like(store, args.store))
        return {"items": seen, "written": written, "store": args.store}, None
    from tinysight.concurrency import usable_cores

    need_folder(args.action, store)
    if args.recall is not None and not 0 < args.recall < 1:
        raise ConfigError("--recall", f"should be between 0 and 1, got {args.recall}")
    made = store.indexing.refresh(recall=args.recall, threads=usable_cores())
    said = store.indexing.about() if made else "another process is making the index"
    return {"search": said}, None


def _calibrate(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from tinysight.gallery.decide import Answers, Decision, calibrate, held_out
    from tinysight.gallery.gallery import Gallery
    from tinysight.pipelines.sources import iter_images

    if args.votes < 1:
        raise ConfigError("--votes", f"should be 1 or more, got {args.votes}")
    gallery = Gallery(args.gallery, model=args.model, engine=args.engine)
    unknown, known = held_out(gallery.store, args.votes)
    if args.unknown:
        images = list(iter_images(args.unknown))
        matches = [gallery.query(image, args.votes) for image in images]
        # Images of one folder show one thing, if there are several folders.
        folders = [str(Path(image.name).parent) for image in images]
        names = folders if len({*folders}) > 1 else [image.name for image in images]
        unknown = Answers(matches, names)
    decision = Decision(gallery.store.metric, args.votes)
    found = calibrate(decision, unknown, args.false_accept, known, by_label=args.by_label)
    gallery.store.set(decision=json.dumps(found.decision.to_json()))
    rates = {"false_accepts": found.false_accepts, "right": found.right}
    plain = {name: rate and rate._asdict() for name, rate in rates.items()}
    lines = [f"threshold: {found.decision.threshold:.6f}"]
    lines += [f"threshold of {label!r}: {t:.6f}" for label, t in found.decision.by_label.items()]
    asked = {"false_accepts": len(unknown.truth), "right": len(known.truth)}
    for name, rate in rates.items():
        if rate:
            ends = f"95 %: {rate.low:.4f} to {rate.high:.4f}"
            lines.append(f"{name.replace('_', ' ')}: {rate.value:.4f} of {asked[name]} ({ends})")
    if not found.enough:
        lines.append(
            "these are too few images to promise that rate: give more of them as --unknown"
        )
    return {"decision": found.decision.to_json(), **plain, "enough": found.enough}, lines
