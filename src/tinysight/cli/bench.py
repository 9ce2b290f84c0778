"""Time a bundle on this machine: one image in its parts, many at a time, memory, cold start.

    tinysight bench clarity_assessment
    tinysight bench runs/mine/bundle --images scans/ --card     record the figures
    tinysight bench runs/mine/bundle --images scans/ --verify   compare with them, here
    tinysight bench runs/mine/bundle --images scans/ --admit    allow reduced decoding

`--verify` exits with 1 if a figure is worse than the card's by more than `--tolerance`. `--admit`
compares reduced with full decoding on at least 1,000 large JPEGs, and allows it in the manifest if
fewer than one label in a thousand changes.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinysight import __version__
from tinysight.bundle import Bundle
from tinysight.bundle.manifest import utc_now
from tinysight.bundle.sealed import as_tree
from tinysight.cli.arguments import add_engine, add_plugin
from tinysight.concurrency import usable_cores
from tinysight.engines import engine_of, get_engine
from tinysight.errors import BundleError, ConfigError
from tinysight.files import write_atomic, writing
from tinysight.pipelines import bench, reduced_decode
from tinysight.pipelines.latency_card import machine, read_card
from tinysight.pipelines.pipeline import CARD_FILE
from tinysight.pipelines.sources import iter_images

_Outcome = tuple[dict[str, Any], list[str], bool]  # for programs, for people, whether it passed

# What `--verify` compares.
_FIGURES = ("one image, p50 ms", "many images, ms each", "cold start, s")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="bundle folder, or shipped bundle's name")
    add("--images", metavar="SOURCE", help="image, folder, pattern or list (default: generated)")
    add("--limit", type=int, default=250, metavar="N", help="most images (250)")
    add_engine(parser)
    add_plugin(parser)
    add("--seconds", type=float, default=2.0, metavar="S", help="least time per figure (2)")
    add("--no-sweep", action="store_true", help="measure one worker per processor only")
    add("--json", action="store_true", help="print JSON")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--card", action="store_true", help="write latency.json into the bundle")
    what.add_argument("--verify", action="store_true", help="compare with the bundle's card")
    what.add_argument("--admit", action="store_true", help="allow or refuse reduced decoding")
    add("--tolerance", type=float, default=0.25, metavar="T", help="of --verify (0.25: 25 %%)")


def run(args: argparse.Namespace) -> int:
    """Measure; 1 if `--verify` fails or `--admit` refuses."""
    if args.limit < 1 or args.seconds < 0 or args.tolerance < 0:
        raise ConfigError("--limit, --seconds, --tolerance", "should not be negative")
    bundle = Bundle.load(args.bundle)
    if args.admit:
        tree, lines, passed = _admit(args, bundle)
    else:
        with tempfile.TemporaryDirectory(prefix="tinysight-bench-") as folder:
            made = args.images is None
            paths = bench.make_images(Path(folder)) if made else _paths(args.images, args.limit)
            tree, lines, passed = (_verify if args.verify else _measure)(args, bundle, paths)
    if args.card:
        with writing(path := bundle.folder / CARD_FILE, BundleError):
            write_atomic(path, json.dumps(tree, indent=2) + "\n")
    print(json.dumps(tree, indent=2) if args.json else "\n".join(lines))
    return int(not passed)


def _measure(args: argparse.Namespace, bundle: Bundle, paths: Sequence[str]) -> _Outcome:
    """Everything, as the card says it."""
    cores = usable_cores()
    settings = bench.Settings(args.engine, args.precision, args.exact, workers=cores)
    paths = bench.readable(bundle, settings, paths)
    cold = bench.cold_start(bundle, settings, paths[0])
    one = bench.one_at_a_time(bundle, settings, paths, args.seconds)
    many = [
        {**_parallel(s._asdict()), **bench.many_at_a_time(bundle, s, paths, args.seconds)}
        for s in ([settings] if args.no_sweep else bench.sweep(settings, cores))
    ]
    best = min(many, key=lambda row: float(row["ms"]))
    sizes = sorted(Path(path).stat().st_size for path in paths)
    images = {"median_bytes": sizes[len(sizes) // 2], "largest_bytes": sizes[-1]}
    words = ["tinysight", "bench", args.bundle, "--engine", args.engine, "--precision"]
    words += [args.precision, *(["--images", args.images] if args.images else [])]
    card = {
        "task": bundle.manifest.task,
        "model_sha256": bundle.manifest.files["model.onnx"].sha256,
        "machine": machine(),
        "settings": {**settings._asdict(), **_parallel(best)},
        "pictures": {"source": args.images or "made", "count": len(sizes), **images},
        "one": one, "many": many, "best": {key: best[key] for key in ("ms", "per_second")},
        "cold": cold, "peak_mib": bench.memory(),
        "command": shlex.join([*words, *(["--exact"] if args.exact else [])]),
        "versions": _versions(bundle, args.engine), "created": utc_now(),
    }  # fmt: skip
    return card, _table(card), True


def _parallel(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: settings[key] for key in ("workers", "threads", "batch_size")}


def _versions(bundle: Bundle, engine: str) -> dict[str, str]:
    variant = bundle.manifest.variants.get(engine.removeprefix("target/"))
    packages = variant.made_with if variant else get_engine(engine_of(engine)).packages
    versions = {"tinysight": __version__, "python": platform.python_version()}
    versions |= {"numpy": np.__version__, "cv2": cv2.__version__}
    return versions | {package: version(package) for package in packages}


def _table(card: dict[str, Any]) -> list[str]:
    """The figures for people."""
    where, images = card["machine"], card["pictures"]
    used, median = card["settings"], images["median_bytes"] / 1000
    lines = [
        f"{card['task']} with {used['engine']} {used['precision']} on {where['processor']}, "
        f"{where['cores']} cores",
        f"{images['count']} images ({images['source']}), median {median:.0f} kB\n",
        "one image, one thread, ms     mean     p50     p90     p99",
    ]
    for name, row in card["one"].items():
        cells = "".join(f"{row[k]:8.2f}" for k in ("mean", "p50", "p90", "p99"))
        lines.append(f"  {name:26s}{cells}")
    lines += ["", "many images       workers threads  batch  ms/image   per second"]
    for row in card["many"]:
        mark = "  <- fastest" if row["ms"] == card["best"]["ms"] and len(card["many"]) > 1 else ""
        how = f"{row['workers']:7d} {row['threads']:7d} {row['batch_size']:6d}"
        lines.append(f"{'':20s}{how}{row['ms']:12.2f} {row['per_second']:12.0f}{mark}")
    cold = card["cold"]
    memory = f", {cold['peak_mib']:.0f} MiB at its peak" if "peak_mib" in cold else ""
    lines += ["", f"one image, cold, whole process: {cold['seconds'] * 1e3:.0f} ms{memory}"]
    return lines


def _verify(args: argparse.Namespace, bundle: Bundle, paths: Sequence[str]) -> _Outcome:
    """Measure what the card says again, with its settings."""
    card = read_card(bundle.folder)
    path = str(bundle.folder / CARD_FILE)
    if card.get("model_sha256") != bundle.manifest.files["model.onnx"].sha256:
        raise BundleError(path, "is about another network", "make it again with --card")
    try:
        settings = bench.Settings(**card["settings"])
        expected = (card["one"]["total"]["p50"], card["best"]["ms"], card["cold"]["seconds"])
    except (KeyError, TypeError) as error:
        raise BundleError(path, f"not understood: {error}", "make it again with --card") from None
    paths = bench.readable(bundle, settings, paths)
    one = bench.one_at_a_time(bundle, settings, paths, args.seconds)["total"]["p50"]
    many = bench.many_at_a_time(bundle, settings, paths, args.seconds)["ms"]
    here = one, many, bench.cold_start(bundle, settings, paths[0])["seconds"]
    rows = [
        {"figure": name, "card": was, "here": now, "pass": now <= was * (1 + args.tolerance)}
        for name, was, now in zip(_FIGURES, expected, here, strict=True)
    ]
    same = card["machine"] == machine()
    other = f"the card was made on {card['machine'].get('processor')}; this is another machine"
    lines = [] if same else [other]
    for row in rows:
        figures = f"card {row['card']:9.3f}   here {row['here']:9.3f}"
        lines.append(f"{'pass' if row['pass'] else 'FAIL'}  {row['figure']:24s} {figures}")
    passed = all(row["pass"] for row in rows)
    return {"pass": passed, "same_machine": same, "figures": rows}, lines, passed


def _admit(args: argparse.Namespace, bundle: Bundle) -> _Outcome:
    """Try the margins from the fastest on; record the first that is accepted, or none."""
    if args.images is None:
        what = f"--admit compares at least {reduced_decode.LEAST_IMAGES} images"
        raise ConfigError("--images", what)
    paths = _paths(args.images)
    tried, lines, chosen = [], [], None
    for margin in reduced_decode.MARGINS:
        found = reduced_decode.measure(bundle, paths, margin)
        chosen = found if reduced_decode.is_acceptable(found) else None
        tried.append(as_tree(found))
        what = f"{found.images} of {len(paths)} images are reduced, "
        what += f"{found.label_flips} labels change"
        most = f"scores by up to {found.max_score_difference:.3g}"
        result = "admitted" if chosen else "refused"
        lines.append(f"margin {found.margin:g}: {what}, {most}: {result}")
        if chosen:
            break
    else:
        lines.append("JPEGs are decoded whole")
    with writing(bundle.folder, BundleError):
        reduced_decode.write_reduced_decode(bundle, chosen)
    return {"decode": tried[-1] if chosen else None, "tried": tried}, lines, chosen is not None


def _paths(source: str, limit: int | None = None) -> list[str]:
    images = (image.data for image in iter_images(source) if isinstance(image.data, str))
    return list(islice(images, limit))
