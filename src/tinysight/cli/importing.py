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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the import."""
    group = parser.add_argument_group("import")
    add = group.add_argument
    add(
        "--out",
        type=Path,
        help="a bundle's folder; NAME.onnx (an export); NAME.safetensors (weights)",
    )
    add("--labels", metavar="FILE|A,B,C", help="an export: names of the classes, in order")
    add(
        "--deploy-config",
        type=Path,
        metavar="YAML",
        help="an export: the PaddleClas deploy YAML of it",
    )
    add("--network", metavar="NAME", help="weights: the network that they are for")
    add(
        "--skip",
        action="append",
        default=[],
        metavar="PART",
        help="weights: a part that may differ: classifier",
    )
    add("--prefix", default="", help="weights: only entries that begin so, e.g. Student.")
    add(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="weights: option of the network",
    )
    add("--force", action="store_true", help="replace a bundle at --out")


def run(args: argparse.Namespace) -> int:
    """Import; the format is told from --network and --out."""
    if args.out is None:
        hint = "a folder for a bundle, NAME.safetensors for weights"
        raise ConfigError(_HERE, "takes --out", hint)
    if args.network:
        return _weights(args)
    if args.out.suffix == ".safetensors":
        raise ConfigError(f"{_HERE} --network", "which network are the weights for?")
    given = [n for n in ("skip", "prefix", "option") if getattr(args, n)]
    if given:
        raise ConfigError(f"{_HERE} --{given[0]}", "is for weights", "which need --network too")
    return _export(args)


def _located(args: argparse.Namespace, kind: str) -> tuple[Path, Artifact | None]:
    from tinysight.compat.paddle.named_bundle import locate

    with download_progress(args.name) as report:
        return locate(args.name, kind, cache=args.cache, report=report)


def _export(args: argparse.Namespace) -> int:
    from tinysight.compat.paddle.bundle import import_paddle, opened
    from tinysight.compat.paddle.dialect.deploy import read_deploy_config, read_labels
    from tinysight.compat.paddle.to_onnx import paddle_to_onnx
    from tinysight.tasks import task_of_bundle

    deploy = read_deploy_config(args.deploy_config) if args.deploy_config else None
    labels = read_labels(args.labels) if args.labels else None
    source, row = _located(args, "inference")
    if args.out.suffix == ".onnx":
        with opened(source) as folder:
            model = paddle_to_onnx(folder, args.out)
        plain: dict[str, Any] = {"out": str(args.out), "operators": len(model.nodes)}
        return _say(args, plain, f"{args.out}: {len(model.nodes)} operators", ())
    done = import_paddle(
        source, args.out, labels=labels, deploy=deploy, row=row, overwrite=args.force
    )
    about = done.bundle.manifest
    plain = {
        "out": str(args.out),
        "task": about.task,
        "labels": list(about.labels),
        "notes": list(done.notes),
    }
    _, _, height, width = about.input.shape
    classes = task_of_bundle(about).has_classes
    answer = f"{len(about.labels)} classes" if classes else about.output
    text = f"{args.out}: {about.task}, {answer}, {width} x {height} pixels"
    return _say(args, plain, text, done.notes)


def _weights(args: argparse.Namespace) -> int:
    wrong = [n for n in ("labels", "deploy_config") if getattr(args, n)]
    if wrong:
        name = wrong[0].replace("_", "-")
        raise ConfigError(f"{_HERE} --{name}", "is for an export; weights carry no such thing")
    module = importlib.import_module("tinysight.training.import_weights")
    options = {}
    for text in args.option:
        key, _, value = text.partition("=")
        options[key] = parse_yaml(value, f"--option {key}")
    source, _ = _located(args, "weights")
    done = module.import_weights(
        source, args.network, args.out, skip=args.skip, prefix=args.prefix, options=options
    )
    plain = {**done._asdict(), "path": str(done.path)}
    what = f"{done.num_classes} classes" if done.num_classes else "no classifier"
    text = f"{done.path}: {done.network}, {done.entries} entries, {done.numbers:,d} numbers, {what}"
    return _say(args, plain, text, ())


def _say(args: argparse.Namespace, plain: dict[str, Any], text: str, notes: tuple[str, ...]) -> int:
    if args.json:
        print(json.dumps(plain, indent=1, ensure_ascii=False))
    else:
        print("\n".join([text, *(f"  {note}" for note in notes)]))
    return 0
