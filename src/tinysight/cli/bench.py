"""Time a bundle on this machine: one image in its parts, many at a time, memory, cold start.

    tinysight bench clarity_assessment
    tinysight bench runs/mine/bundle --images scans/ --card     keep the figures in the bundle
    tinysight bench runs/mine/bundle --images scans/ --verify   pass or fail against them, here
    tinysight bench runs/mine/bundle --images scans/ --admit    allow reduced decoding if it may

`--verify` exits with 1 where a figure is worse than the card's by more than `--tolerance`. `--admit`
compares reduced with whole decoding on at least 1,000 JPEGs that are large enough to be reduced, and
writes into the manifest how far they may be, if fewer than one label in a thousand changes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.cli.arguments import add_engine
from tinysight.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="a bundle's folder, or one that comes with tinysight")
    add("--images", metavar="SOURCE", help="images, a folder or a list; default: made ones")
    add("--limit", type=int, default=250, metavar="N", help="images at most (250)")
    add_engine(parser)
    add("--seconds", type=float, default=2.0, metavar="S", help="for each figure, at least (2)")
    add("--no-sweep", action="store_true", help="as many workers as processors, nothing else")
    add("--json", action="store_true", help="one JSON object")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--card", action="store_true", help="write latency.json into the bundle")
    what.add_argument("--verify", action="store_true", help="compare with the bundle's card")
    what.add_argument("--admit", action="store_true", help="decide about reduced decoding")
    add("--tolerance", type=float, default=0.25, metavar="T", help="of --verify: 0.25 is 25 %%")


def run(args: argparse.Namespace) -> int:
    """Measure; 1 if `--verify` fails or `--admit` refuses."""
    from tinysight.bundle import Bundle
    from tinysight.files import write_atomic, writing
    from tinysight.pipelines.bench import make_images
    from tinysight.pipelines.pipeline import CARD_FILE

    if args.limit < 1 or args.seconds < 0 or args.tolerance < 0:
        raise ConfigError("--limit, --seconds, --tolerance", "should not be negative")
    bundle = Bundle.load(args.bundle)
    if args.admit:
        return _admit(args, bundle)
    with tempfile.TemporaryDirectory(prefix="tinysight-bench-") as folder:
        made = args.images is None
        paths = make_images(Path(folder)) if made else _paths(args.images, args.limit)
        if args.verify:
            return _verify(args, bundle, paths)
        card = _measure(args, bundle, paths)
    print(json.dumps(card, indent=2) if args.json else _table(card))
    if args.card:
        with writing(path := bundle.folder / CARD_FILE, BundleError):
            write_atomic(path, json.dumps(card, indent=2) + "\n")
    return 0


def _measure(args: argparse.Namespace, bundle: Bundle, paths: Sequence[str]) -> dict[str, Any]:
    """Everything, as the card says it."""
    from tinysight.bundle.manifest import utc_now
    from tinysight.concurrency import usable_cores
    from tinysight.pipelines import bench
    from tinysight.pipelines.latency_card import machine

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
    words = ["tinysight", "bench", args.bundle, "--engine", args.engine]
    words += ["--precision", args.precision]
    words += ["--images", args.images] if args.images else []
    return {
        "task": bundle.manifest.task,
        "model_sha256": bundle.manifest.files["model.onnx"].sha256,
        "machine": machine(),
        "settings": {**settings._asdict(), **_parallel(best)},
        "pictures": {"source": args.images or "made", "count": len(sizes), **images},
        "one": one,
        "many": many,
        "best": {"ms": best["ms"], "per_second": best["per_second"]},
        "cold": cold,
        "peak_mib": bench.memory(),
        "command": shlex.join([*words, *(["--exact"] if args.exact else [])]),
        "versions": _versions(bundle, args.engine),
        "created": utc_now(),
    }


def _parallel(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: settings[key] for key in ("workers", "threads", "batch_size")}


def _versions(bundle: Bundle, engine: str) -> dict[str, str]:
    import platform
    from importlib.metadata import version

    import cv2
    import numpy as np

    from tinysight import __version__
    from tinysight.engines import engine_of, get_engine

    variant = bundle.manifest.variants.get(engine.removeprefix("target/"))
    packages = variant.made_with if variant else get_engine(engine_of(engine)).packages
    found = {"tinysight": __version__, "python": platform.python_version()}
    found |= {"numpy": np.__version__, "cv2": cv2.__version__}
    return found | {package: version(package) for package in packages}


def _table(card: dict[str, Any]) -> str:
    """The figures for people."""
    where, images = card["machine"], card["pictures"]
    how, median = card["settings"], images["median_bytes"] / 1000
    lines = [
        f"{card['task']} with {how['engine']} {how['precision']} on {where['processor']}, "
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
        lines.append(
            f"{'':20s}{row['workers']:7d} {row['threads']:7d} {row['batch_size']:6d}"
            f"{row['ms']:12.2f} {row['per_second']:12.0f}{mark}"
        )
    cold = card["cold"]
    memory = f", {cold['peak_mib']:.0f} MiB at its peak" if "peak_mib" in cold else ""
    lines += ["", f"one image, cold, whole process: {cold['seconds'] * 1e3:.0f} ms{memory}"]
    return "\n".join(lines)


def _verify(args: argparse.Namespace, bundle: Bundle, paths: Sequence[str]) -> int:
    """Measure what the card says again, with its settings."""
    from tinysight.pipelines import bench
    from tinysight.pipelines.latency_card import machine, read_card
    from tinysight.pipelines.pipeline import CARD_FILE

    card = read_card(bundle.folder)
    path = str(bundle.folder / CARD_FILE)
    if card is None:
        raise BundleError(path, "missing", "tinysight bench BUNDLE --card makes it")
    if card.get("model_sha256") != bundle.manifest.files["model.onnx"].sha256:
        raise BundleError(path, "is about another network", "make it again with --card")
    try:
        settings = bench.Settings(**card["settings"])
        expected = {
            "one image, p50 ms": card["one"]["total"]["p50"],
            "many images, ms each": card["best"]["ms"],
            "cold start, s": card["cold"]["seconds"],
        }
    except (KeyError, TypeError) as error:
        raise BundleError(path, f"not understood: {error}", "make it again with --card") from None
    paths = bench.readable(bundle, settings, paths)
    found = (
        bench.one_at_a_time(bundle, settings, paths, args.seconds)["total"]["p50"],
        bench.many_at_a_time(bundle, settings, paths, args.seconds)["ms"],
        bench.cold_start(bundle, settings, paths[0])["seconds"],
    )
    rows = [
        {"figure": name, "card": was, "here": now, "pass": now <= was * (1 + args.tolerance)}
        for (name, was), now in zip(expected.items(), found, strict=True)
    ]
    passed = all(row["pass"] for row in rows)
    same = card["machine"] == machine()
    if args.json:
        print(json.dumps({"pass": passed, "same_machine": same, "figures": rows}, indent=2))
        return int(not passed)
    if not same:
        print(f"the card was made on {card['machine'].get('processor')}; this is another machine")
    for row in rows:
        word = "pass" if row["pass"] else "FAIL"
        print(f"{word}  {row['figure']:24s} card {row['card']:9.3f}   here {row['here']:9.3f}")
    return int(not passed)


def _admit(args: argparse.Namespace, bundle: Bundle) -> int:
    """Try the margins from the fastest on; record the first that is accepted, or none."""
    from tinysight.files import writing
    from tinysight.pipelines import reduced_decode

    if args.images is None:
        what = f"--admit compares at least {reduced_decode.LEAST_IMAGES} images"
        raise ConfigError("--images", what)
    paths = _paths(args.images)
    tried, chosen = [], None
    for margin in reduced_decode.MARGINS:
        tried.append(reduced_decode.measure(bundle, paths, margin))
        if reduced_decode.is_acceptable(tried[-1]):
            chosen = tried[-1]
            break
    with writing(bundle.folder, BundleError):
        reduced_decode.write_reduced_decode(bundle, chosen)
    if args.json:
        from tinysight.bundle.sealed import as_tree

        rows = [as_tree(found) for found in tried]
        print(json.dumps({"decode": rows[-1] if chosen else None, "tried": rows}, indent=2))
        return int(chosen is None)
    for found in tried:
        word = "admitted" if found is chosen else "refused"
        print(
            f"margin {found.margin:g}: {found.images} of {len(paths)} images are reduced, "
            f"{found.label_flips} labels change, "
            f"scores by up to {found.max_score_difference:.3g}: {word}"
        )
    if chosen is None:
        print("JPEGs are decoded whole")
    return int(chosen is None)


def _paths(source: str, limit: int | None = None) -> list[str]:
    from itertools import islice

    from tinysight.pipelines.sources import iter_images

    images = (image.data for image in iter_images(source) if isinstance(image.data, str))
    return list(islice(images, limit))
