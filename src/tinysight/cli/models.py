"""List, show, fetch and import public models.

tinysight models list [PATTERN]             what can be fetched by name; works without a network
tinysight models list --networks [PATTERN]  the networks that can be built here: parameters, MACs (needs torch)
tinysight models show NAME                  addresses, labels, licence, cost, and whether it is in the cache
tinysight models fetch NAME                 into the cache: resumed, verified, unpacked; NAME may be an https address
tinysight models import FOLDER --out DIR    an exported Paddle folder (or its tar) becomes a bundle; needs no torch
tinysight models import FILE --network NAME --out NAME.safetensors
                                            .pdparams, PyTorch, safetensors or ONNX weights under our names

No checksum is published for these files: what the first fetch brings is trusted and its hash is recorded, and a file
that changes later is refused. TINYSIGHT_CACHE moves the cache, TINYSIGHT_OFFLINE=1 forbids the network, and
TINYSIGHT_MIRROR names an https address that is asked instead, as <mirror>/<host>/<path>.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Any

from tinysight.cli import importing
from tinysight.cli.progress import download_progress
from tinysight.compat.paddle.catalog import KINDS, describe, fetch_named, find, network_of, search
from tinysight.errors import ConfigError, UnknownName
from tinysight.fetch import cached


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("action", choices=("list", "show", "fetch", "import"))
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="a name; for list, a part of it or a pattern with *; for import, a file or a folder too",
    )
    parser.add_argument("--kind", choices=KINDS, help="only files of this kind")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="cache folder (default: TINYSIGHT_CACHE)"
    )
    parser.add_argument("--networks", action="store_true", help="list: networks instead of files")
    parser.add_argument(
        "--accept-change",
        action="store_true",
        help="fetch: forget the recorded hash and trust what comes now",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    importing.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    if args.action != "list" and not args.name:
        where, hint = f"tinysight models {args.action}", "`tinysight models list` shows them"
        raise ConfigError(where, "takes a NAME", hint)
    if args.action == "fetch":
        return _fetch(args)
    if args.action == "show":
        return _show(args)
    if args.action == "import":
        return importing.run(args)
    return _networks(args) if args.networks else _list(args)


def _list(args: argparse.Namespace) -> int:
    rows = search(args.name or "*", args.kind)
    if not rows:
        raise ConfigError("tinysight models list", f"nothing matches {args.name!r}")
    if args.json:
        print(json.dumps([describe(row, args.cache) for row in rows], indent=1, ensure_ascii=False))
        return 0
    width = max(len(row.name) for row in rows)
    for row in rows:
        mark = "in the cache" if cached(row, args.cache) else ""
        print(f"{row.name:{width}s}  {row.kind:9s}  {mark}".rstrip())
    return 0


def _networks(args: argparse.Namespace) -> int:
    models = importlib.import_module("tinysight.models")
    names = models.list_models(_pattern(args.name))
    if not names:
        raise ConfigError("tinysight models list --networks", f"nothing matches {args.name!r}")
    width, costs = max(map(len, names)), {}
    for name in names:
        costs[name] = _cost(models, name)
        if not args.json:
            print(f"{name:{width}s}  {_in_words(costs[name])}", flush=True)
    if args.json:
        print(json.dumps(costs, indent=1))
    return 0


def _cost(models: Any, name: str) -> dict[str, int]:
    """Of the network as it is exported; built without memory, so that the largest one takes a moment too."""
    model = models.create_model_without_weights(name)
    model.reparameterize()
    return dict(models.cost(model)._asdict())


def _in_words(cost: dict[str, int]) -> str:
    parameters, macs = cost["parameters"] / 1e6, cost["macs"] / 1e6
    return f"{parameters:7.2f} M parameters  {macs:9.1f} M MACs at {cost['size']} px"


def _cost_if_known(name: str) -> dict[str, int]:
    """The cost of a network; empty without torch, or if it is none of ours."""
    try:
        return _cost(importlib.import_module("tinysight.models"), name) if name else {}
    except UnknownName:
        return {}
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return {}


def _pattern(name: str | None) -> str:
    return name if name and set("*?[") & set(name) else f"*{name or ''}*"


def _show(args: argparse.Namespace) -> int:
    try:
        row = find(args.name, args.kind, "tinysight models show")
        plain, cost = describe(row, args.cache), _cost_if_known(network_of(row.name))
    except UnknownName:
        plain, cost = {"name": args.name}, _cost_if_known(network_of(args.name))
        if not cost:
            raise
    if args.json:
        print(json.dumps({**plain, **cost}, indent=1, ensure_ascii=False))
        return 0
    if cost:
        plain["network"] = " ".join(_in_words(cost).split())
    for key, value in plain.items():
        if value not in (None, "", [], False):
            print(f"{key + ':':11s}{', '.join(value) if isinstance(value, list) else value}")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    started = time.monotonic()
    with download_progress(args.name) as report:
        done = fetch_named(
            args.name, args.kind, cache=args.cache, report=report, accept_change=args.accept_change
        )
    seconds = time.monotonic() - started
    if args.json:
        plain = {"name": done.artifact.name, "url": done.url, "path": str(done.path), "file": str(done.file),
                 "sha256": done.sha256, "size": done.size, "fresh": done.fresh}  # fmt: skip
        print(json.dumps(plain, indent=1))
        return 0
    size = f"{done.size / 1e6:.2f} MB"
    if done.fresh:
        rate = f"in {seconds:.1f} s, {done.size / 1e6 / max(seconds, 1e-3):.1f} MB/s"
        print(f"{done.artifact.name}: fetched {size} {rate}: {done.path}")
    else:
        print(f"{done.artifact.name}: {size}, in the cache and unchanged: {done.path}")
    return 0
