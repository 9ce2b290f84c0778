"""`tinysight models import`: arguments and messages; `compat` and `training` do the work."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from tinysight.cli.progress import download_progress
from tinysight.errors import ConfigError
from tinysight.fetch import Artifact
from tinysight.files import parse_yaml

_HERE = "tinysight models import"
_OF_EXPORTS, _OF_WEIGHTS = ("labels", "deploy_config"), ("skip", "prefix", "option")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the import."""
    add = parser.add_argument_group("import").add_argument
    add("--out", type=Path, help="bundle folder; NAME.onnx (an export); NAME.safetensors (weights)")
    add("--labels", metavar="FILE|A,B,C", help="an export: names of the classes, in order")
    add("--deploy-config", type=Path, metavar="YAML", help="an export: its PaddleClas deploy YAML")
    add("--network", metavar="NAME", help="weights: the network that they are for")
    several: dict[str, Any] = {"action": "append", "default": []}
    add("--skip", **several, metavar="PART", help="weights: a part that may differ: classifier")
    add("--prefix", default="", help="weights: only entries that begin so, e.g. Student.")
    add("--option", **several, metavar="KEY=VALUE", help="weights: option of the network")
    add("--force", action="store_true", help="replace an existing bundle")


def run(args: argparse.Namespace) -> int:
    """Import; --network and --out say what the file is."""
    if args.out is None:
        hint = "a folder for a bundle, NAME.safetensors for weights"
        raise ConfigError(_HERE, "takes --out", hint)
    if args.out.suffix == ".safetensors" and not args.network:
        raise ConfigError(f"{_HERE} --network", "which network are the weights for?")
    what = "is for weights, which need --network too"
    if args.network:
        what = "is for an export; weights carry no such thing"
    for name in _OF_EXPORTS if args.network else _OF_WEIGHTS:
        if getattr(args, name):
            raise ConfigError(f"{_HERE} --{name.replace('_', '-')}", what)
    return _weights(args) if args.network else _export(args)


def _located(args: argparse.Namespace, kind: str) -> tuple[Path, Artifact | None]:
    from tinysight.compat.paddle.named_bundle import locate

    with download_progress(args.name) as report:
        return locate(args.name, kind, cache=args.cache, report=report)


def _export(args: argparse.Namespace) -> int:
    from tinysight.compat.paddle.bundle import import_paddle, opened
    from tinysight.compat.paddle.dialect.deploy import read_deploy_config, read_labels
    from tinysight.compat.paddle.to_onnx import paddle_to_onnx
    from tinysight.tasks.base import task_of_bundle

    deploy = read_deploy_config(args.deploy_config) if args.deploy_config else None
    labels = read_labels(args.labels) if args.labels else None
    source, row = _located(args, "inference")
    if args.out.suffix == ".onnx":
        with opened(source) as folder:
            count = len(paddle_to_onnx(folder, args.out).nodes)
        plain: dict[str, Any] = {"out": str(args.out), "operators": count}
        return say(args, plain, f"{args.out}: {count} operators")
    given: dict[str, Any] = {"labels": labels, "deploy": deploy, "row": row}
    done = import_paddle(source, args.out, overwrite=args.force, **given)
    about, notes = done.bundle.manifest, [*done.notes]
    plain = {"out": str(args.out), "task": about.task, "labels": [*about.labels], "notes": notes}
    _, _, height, width = about.input.shape
    classes = task_of_bundle(about).has_classes and about.labels
    result = f"{len(about.labels)} classes" if classes else about.output
    text = f"{args.out}: {about.task}, {result}, {width} x {height} pixels"
    return say(args, plain, text, *(f"  {note}" for note in notes))


def _weights(args: argparse.Namespace) -> int:
    module = importlib.import_module("tinysight.training.import_weights")
    pairs = (text.partition("=") for text in args.option)
    options = {key: parse_yaml(value, f"--option {key}") for key, _, value in pairs}
    given = {"skip": args.skip, "prefix": args.prefix, "options": options}
    done = module.import_weights(_located(args, "weights")[0], args.network, args.out, **given)
    what = f"{done.num_classes} classes" if done.num_classes else "no classifier"
    text = f"{done.path}: {done.network}, {done.entries} entries, {done.numbers:,d} numbers, {what}"
    return say(args, {**done._asdict(), "path": str(done.path)}, text)


def say(args: argparse.Namespace, plain: Any, *lines: str) -> int:
    """Print what was done: plain data for machines, or lines."""
    print(json.dumps(plain, indent=1, ensure_ascii=False) if args.json else "\n".join(lines))
    return 0
