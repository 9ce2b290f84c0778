"""List, show, fetch and import public models.

tinysight models list [PATTERN]             public models by name; works offline
tinysight models list --networks [PATTERN]  our networks: parameters, MACs (needs torch)
tinysight models show NAME                  addresses, labels, licence, cost, cache
tinysight models fetch NAME [--out DIR]     into the cache, and from there into a folder; NAME may be
                                            an https address
tinysight models import FOLDER --out DIR    an exported Paddle folder or tar to a bundle; no torch
tinysight models import FILE --network NAME --out NAME.safetensors
                                            Paddle, PyTorch, safetensors or ONNX weights

No checksums are published: the first download is trusted and its hash recorded; a file that changes
later is refused. TINYSIGHT_CACHE moves the cache, TINYSIGHT_OFFLINE=1 forbids the network, and
TINYSIGHT_MIRROR names an https mirror, asked as <mirror>/<host>/<path>.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from typing import Any

from tinysight.cli import importing
from tinysight.cli.importing import say
from tinysight.cli.progress import download_progress
from tinysight.compat.paddle.catalog import KINDS, describe, fetch_named, find, network_of, search
from tinysight.errors import ConfigError, UnknownName
from tinysight.fetch import cached
from tinysight.fetch.store import copy_to


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add = parser.add_argument
    add("action", choices=("list", "show", "fetch", "import"))
    text = "a name; list: a part or a pattern; import: a file, too"
    add("name", nargs="?", metavar="NAME", help=text)
    add("--kind", choices=KINDS, help="only files of this kind")
    add("--cache", type=Path, metavar="DIR", help="cache folder (default: TINYSIGHT_CACHE)")
    add("--networks", action="store_true", help="list: networks instead of files")
    add("--accept-change", action="store_true", help="fetch: forget the hash, trust what comes now")
    add("--json", action="store_true", help="print JSON")
    importing.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    if args.action != "list" and not args.name:
        where, hint = f"tinysight models {args.action}", "`tinysight models list` shows them"
        raise ConfigError(where, "takes a NAME", hint)
    verbs = {"fetch": _fetch, "show": _show, "import": importing.run}
    return verbs.get(args.action, _networks if args.networks else _list)(args)


def _list(args: argparse.Namespace) -> int:
    if not (rows := search(args.name or "*", args.kind)):
        raise ConfigError("tinysight models list", f"nothing matches {args.name!r}")
    if args.json:
        return say(args, [describe(row, args.cache) for row in rows])
    width = max(len(row.name) for row in rows)
    for row in rows:
        mark = "in the cache" if cached(row, args.cache) else ""
        print(f"{row.name:{width}s}  {row.kind:9s}  {mark}".rstrip())
    return 0


def _networks(args: argparse.Namespace) -> int:
    models = importlib.import_module("tinysight.models")
    part = args.name or ""
    if not (names := models.list_models(part if set("*?[") & set(part) else f"*{part}*")):
        raise ConfigError("tinysight models list --networks", f"nothing matches {args.name!r}")
    width, costs = max(map(len, names)), {}
    for name in names:
        costs[name] = models.cost_of(name)._asdict()
        if not args.json:
            print(f"{name:{width}s}  {_in_words(costs[name])}", flush=True)
    return say(args, costs) if args.json else 0


def _in_words(cost: dict[str, int]) -> str:
    parameters, macs = cost["parameters"] / 1e6, cost["macs"] / 1e6
    return f"{parameters:7.2f} M parameters  {macs:9.1f} M MACs at {cost['size']} px"


def _cost_if_known(name: str) -> dict[str, Any]:
    """The cost of a network; empty without torch, or if it is none of ours."""
    try:
        models = importlib.import_module("tinysight.models") if name else None
        return models.cost_of(name)._asdict() if models else {}
    except UnknownName:
        return {}
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return {}


def _show(args: argparse.Namespace) -> int:
    try:
        row = find(args.name, args.kind, "tinysight models show")
        plain, cost = describe(row, args.cache), _cost_if_known(network_of(row.name))
    except UnknownName:
        plain, cost = {"name": args.name}, _cost_if_known(network_of(args.name))
        if not cost:
            raise
    words = {**plain, "network": " ".join(_in_words(cost).split())} if cost else plain
    shown = ((k, v) for k, v in words.items() if v not in (None, "", [], False))
    lines = (f"{k + ':':11s}{', '.join(v) if isinstance(v, list) else v}" for k, v in shown)
    return say(args, {**plain, **cost}, *lines)


def _fetch(args: argparse.Namespace) -> int:
    started, name, again = time.monotonic(), args.name, args.accept_change
    with download_progress(name) as report:
        done = fetch_named(name, args.kind, cache=args.cache, report=report, accept_change=again)
    if args.out:
        done = done._replace(path=copy_to(done, args.out))
    seconds, name, megabytes = time.monotonic() - started, done.artifact.name, done.size / 1e6
    state = f"{megabytes:.2f} MB, in the cache and unchanged"
    if done.fresh:
        rate = megabytes / max(seconds, 1e-3)
        state = f"fetched {megabytes:.2f} MB in {seconds:.1f} s, {rate:.1f} MB/s"
    plain = {"name": name, "url": done.url, "path": str(done.path), "file": str(done.file),
             "sha256": done.sha256, "size": done.size, "fresh": done.fresh}  # fmt: skip
    return say(args, plain, f"{name}: {state}: {done.path}")
