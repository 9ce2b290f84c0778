"""Evaluate a run or a bundle on labelled pictures.

A run is evaluated on the pictures and with the metrics of its own recipe, unless -c, -o or --list
say otherwise. A bundle knows its transforms and labels; the pictures come from --list or a recipe.
A PaddleClas configuration names the weights itself: -c X.yaml -o Global.pretrained_model=...
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tinysight.cli.arguments import add_recipe
from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.config import Recipe
    from tinysight.evaluate import Evaluation, Predict
    from tinysight.transforms import Compose


class _Model(NamedTuple):
    """What is evaluated; `recipe` says on which pictures and how, unless the command does."""

    predict: Predict
    transforms: Compose
    labels: Sequence[str]
    recipe: Recipe | None


class _Row(NamedTuple):
    """What the table says of one label; rates of nothing are 0."""

    pictures: int
    precision: float
    recall: float
    f1: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight eval`."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--run", metavar="DIR", help="run folder (the best of it), or a checkpoint")
    model.add_argument("--bundle", metavar="DIR", help="bundle folder, or a shipped bundle's name")
    add_recipe(parser, required=False, text="use the pictures and metrics of this recipe")
    parser.add_argument("--list", metavar="FILE", help="list file to evaluate on instead")
    parser.add_argument("--root", metavar="DIR", help="folder of its pictures (default: FILE's)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print; 1 if pictures were unreadable."""
    from tinysight.data.lists import read_list, read_split
    from tinysight.evaluate import evaluate

    model = _run(args) if args.run else _bundle(args) if args.bundle else _configured(args)
    recipe, labels = model.recipe, model.labels
    if args.list:
        root = args.root or Path(args.list).parent
        delimiter = recipe.data.delimiter if recipe else None
        target = recipe.data.target if recipe else "class"
        samples = read_list(args.list, root, len(labels), delimiter, target=target, names=labels)
    elif recipe:
        data = recipe.data.model_copy(update={"labels": tuple(labels)})
        if args.root:
            data = data.model_copy(update={"root": args.root})
        samples = read_split(data, data.eval)
    else:
        raise ConfigError("--bundle", "which pictures?", "add --list FILE, or -c RECIPE")
    specs: list[Mapping[str, Any]] = [{"name": "topk", "k": [1]}]
    if recipe:
        specs = [m.spec for m in recipe.metrics]
    found = evaluate(
        model.predict,
        samples,
        model.transforms,
        specs,
        batch_size=recipe.data.eval_batch_size if recipe else 64,
        labels=labels,
    )
    print(json.dumps(_tree(found, labels)) if args.json else _table(found, labels))
    if args.run and Path(args.run).is_dir() and not (args.list or args.recipe or args.override):
        from tinysight.report import write_report

        report = write_report(Path(args.run), found, labels)
        if not args.json:
            print(f"\nreport: {report}")
    return 1 if found.unreadable else 0


def _run(args: argparse.Namespace) -> _Model:
    from tinysight.config import load_recipe
    from tinysight.data.labels import label_names
    from tinysight.train import load_predictor
    from tinysight.transforms import Compose

    predict, recipe = load_predictor(args.run)
    own = Path(args.run) / "recipe.yaml"
    if args.recipe or own.is_file():  # the one in the folder knows where the data was moved to
        recipe = load_recipe(args.recipe or own, args.override)
    elif args.override:
        raise ConfigError("-o", "there is no recipe to change", "add -c RECIPE")
    specs = [t.spec for t in recipe.transforms.eval]
    transforms = Compose.from_specs(specs, "transforms.eval")
    return _Model(predict, transforms, label_names(recipe.data), recipe)


def _configured(args: argparse.Namespace) -> _Model:
    """The network and the weights of a PaddleClas configuration."""
    from tinysight.cli.setup import need_translation

    setup = need_translation(args, "--run or --bundle")
    from tinysight.data.labels import label_names
    from tinysight.train.predictor import device, predictor, trained_model
    from tinysight.transforms import Compose

    recipe = setup.recipe
    model, _ = trained_model(recipe, setup.trained)
    predict = predictor(model.to(device()))
    transforms = Compose.from_specs([t.spec for t in recipe.transforms.eval], "transforms.eval")
    return _Model(predict, transforms, label_names(recipe.data), recipe)


def _bundle(args: argparse.Namespace) -> _Model:
    from tinysight.bundle import Bundle
    from tinysight.registry import sessions
    from tinysight.transforms import Compose

    if args.override and not args.recipe:
        raise ConfigError("-o", "there is no recipe to change", "add -c RECIPE")
    bundle = Bundle.load(args.bundle)
    session = sessions.build({"name": "onnxruntime"}, model=bundle.model, threads=1)
    transforms = Compose.from_specs(bundle.manifest.transforms, "transforms")
    recipe = None
    if args.recipe:
        from tinysight.config import load_recipe

        recipe = load_recipe(args.recipe, args.override)
    return _Model(session.run, transforms, bundle.manifest.labels, recipe)


def _tree(found: Evaluation, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "metrics": found.metrics,
        "pictures": len(found.paths),
        "labels": {name: values._asdict() for name, values in _by_label(found, labels)},
        "confusion": found.confusion().tolist(),
        "unreadable": [{"path": path, "reason": reason} for path, reason in found.unreadable],
        "seconds": round(found.seconds, 3),
    }


def _table(found: Evaluation, labels: Sequence[str]) -> str:
    width = max(8, *map(len, found.metrics), *map(len, labels))
    lines = [f"{name:{width}}  {value:.6g}" for name, value in found.metrics.items()]
    lines += ["", f"{'label':{width}}  pictures  precision  recall      f1"]
    for name, (pictures, precision, recall, f1) in _by_label(found, labels):
        lines.append(f"{name:{width}}  {pictures:8d}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}")
    lines.append(f"{'all':{width}}  {len(found.paths):8d}")
    if found.unreadable:
        lines += ["", f"unreadable, left out: {len(found.unreadable)}"]
        lines += [f"  {path}: {reason}" for path, reason in found.unreadable]
    return "\n".join(lines)


def _by_label(found: Evaluation, labels: Sequence[str]) -> list[tuple[str, _Row]]:
    from tinysight.metrics import class_report

    report = class_report(found.confusion())
    columns = (report.support, report.precision, report.recall, report.f1)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(name, _Row(*row)) for name, row in zip(labels, rows, strict=True)]
