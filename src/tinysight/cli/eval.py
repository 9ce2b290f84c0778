"""Evaluate a run or a bundle on labelled images.

A run is evaluated on the images and with the metrics of its own recipe, unless -c, -o or --list
say otherwise. A bundle knows its transforms and labels; the images come from --list or a recipe.
Rates are those at the threshold of the bundle, or at the one that the run's recipe asks for.
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
    from tinysight.bundle.manifest import Manifest
    from tinysight.config import Recipe
    from tinysight.evaluation.latency import Latency
    from tinysight.evaluation.predictor import Predict
    from tinysight.evaluation.report import Verdict
    from tinysight.metrics import ThresholdResult
    from tinysight.transforms import Compose


class _Model(NamedTuple):
    """What is evaluated; `recipe` says on which images and how, unless the command does."""

    predict: Predict
    transforms: Compose
    labels: Sequence[str]
    recipe: Recipe | None
    manifest: Manifest | None = None  # of a bundle


class _Row(NamedTuple):
    """What the table says of one label; rates of nothing are 0."""

    images: int
    precision: float
    recall: float
    f1: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight eval`."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--run", metavar="DIR", help="run folder (the best of it), or a checkpoint")
    model.add_argument("--bundle", metavar="DIR", help="bundle folder, or a shipped bundle's name")
    add_recipe(parser, required=False, text="use the images and metrics of this recipe")
    parser.add_argument("--list", metavar="FILE", help="list file to evaluate on instead")
    parser.add_argument("--root", metavar="DIR", help="folder of its images (default: FILE's)")
    parser.add_argument(
        "--report", metavar="FILE", nargs="?", const="", help="write a page (default: report.html)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print; 1 if images were unreadable."""
    from tinysight.data.lists import read_list, read_split
    from tinysight.evaluation.latency import measure_latency
    from tinysight.evaluation.predictor import evaluate
    from tinysight.evaluation.report import of_bundle, of_recipe

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
        raise ConfigError("--bundle", "which images?", "add --list FILE, or -c RECIPE")
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
    latency = measure_latency(model.predict, found.paths, model.transforms)
    if model.manifest:
        verdict = of_bundle(found, model.manifest, latency=latency)
    else:
        assert recipe  # a run has one
        verdict = of_recipe(found, recipe, labels, latency=latency)
    report = _report(args, verdict, model)
    print(json.dumps(_tree(verdict)) if args.json else _table(verdict))
    if report and not args.json:
        print(f"\nreport: {report}")
    return 1 if found.unreadable else 0


def _report(args: argparse.Namespace, verdict: Verdict, model: _Model) -> Path | None:
    """Write the page if it is asked for, or if a run was evaluated as it is."""
    from tinysight.report import Subject, write_page, write_report

    as_it_is = not (args.list or args.recipe or args.override)
    own = args.run and Path(args.run).is_dir() and as_it_is
    if own and not args.report:
        return write_report(Path(args.run), verdict)
    if args.report is None:
        return None
    path = Path(args.report or "report.html")
    manifest = model.manifest
    name = manifest.task if manifest else model.recipe.task if model.recipe else "evaluation"
    text = manifest.description if manifest else model.recipe.description if model.recipe else ""
    write_page(path, verdict, Subject(name, text, _command(args)))
    return path


def _command(args: argparse.Namespace) -> tuple[str, ...]:
    """What was typed, but for the report."""
    words = ["tinysight", "eval"]
    for name in ("run", "bundle", "recipe", "list", "root"):
        if value := getattr(args, name):
            words += ["-c" if name == "recipe" else f"--{name}", str(value)]
    return (*words, *(["-o", *args.override] if args.override else []))


def _run(args: argparse.Namespace) -> _Model:
    from tinysight.config import load_recipe
    from tinysight.data.labels import label_names
    from tinysight.training import load_predictor
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
    from tinysight.cli.setup import require_paddleclas_config

    setup = require_paddleclas_config(args, "--run or --bundle")
    from tinysight.data.labels import label_names, resolve_labels
    from tinysight.training.predictor import device, predictor, trained_model
    from tinysight.transforms import Compose

    recipe = resolve_labels(setup.recipe)
    model, _ = trained_model(recipe, setup.trained)
    predict = predictor(model.to(device()), recipe.data.target)
    transforms = Compose.from_specs([t.spec for t in recipe.transforms.eval], "transforms.eval")
    return _Model(predict, transforms, label_names(recipe.data), recipe)


def _bundle(args: argparse.Namespace) -> _Model:
    from tinysight.bundle import Bundle
    from tinysight.registry import engines
    from tinysight.transforms import Compose

    if args.override and not args.recipe:
        raise ConfigError("-o", "there is no recipe to change", "add -c RECIPE")
    bundle = Bundle.load(args.bundle)
    session = engines.build({"name": "onnxruntime"}, model=bundle.model, threads=1)
    transforms = Compose.from_specs(bundle.manifest.transforms, "transforms")
    recipe = None
    if args.recipe:
        from tinysight.config import load_recipe

        recipe = load_recipe(args.recipe, args.override)
    return _Model(session.run, transforms, bundle.manifest.labels, recipe, bundle.manifest)


def _tree(verdict: Verdict) -> dict[str, Any]:
    tree = verdict.tree()
    tree["labels"] = {name: row._asdict() for name, row in _by_label(verdict)}
    if not verdict.several:
        tree["confusion"] = verdict.confusion().tolist()
    return tree


def _table(verdict: Verdict) -> str:
    labels, found = verdict.labels, verdict.found
    width = max(8, *map(len, found.metrics), *map(len, labels))
    lines = [f"{name:{width}}  {value:.6g}" for name, value in found.metrics.items()]
    lines += ["", f"{'label':{width}}  images  precision  recall      f1"]
    for name, (images, precision, recall, f1) in _by_label(verdict):
        lines.append(f"{name:{width}}  {images:8d}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}")
    lines.append(f"{'all':{width}}  {len(found.paths):8d}")
    if verdict.decision:
        lines += ["", *_threshold(verdict, verdict.decision)]
    lines += ["", f"calibration error {verdict.calibration['ece']:.4f}"]
    if verdict.latency:
        lines.append(_latency(verdict.latency))
    if found.unreadable:
        lines += ["", f"unreadable, left out: {len(found.unreadable)}"]
        lines += [f"  {path}: {reason}" for path, reason in found.unreadable]
    return "\n".join(lines)


def _threshold(verdict: Verdict, decision: ThresholdResult) -> list[str]:
    """The rates at the threshold, each with its 95 % interval and what it was counted on."""
    counts = decision.counts
    called = counts.true_positives + counts.false_positives
    lines = [f"threshold {decision.threshold:g}, {verdict.chosen}"]
    if decision.interval:
        lines[0] += f" (95 %: {decision.interval.low:.4g} to {decision.interval.high:.4g})"
    for name, rate, hits, total in (
        ("false positives", decision.fpr, counts.false_positives, counts.negatives),
        ("found", decision.tpr, counts.true_positives, counts.positives),
        ("precision", decision.precision, counts.true_positives, called),
    ):
        if rate:
            ends = f"(95 %: {rate.low:.4g} to {rate.high:.4g})"
            lines.append(f"  {name:15}  {rate.value:.4g}, {hits} of {total} {ends}")
    if promise := verdict.promised:
        rate = decision.fpr
        kept = rate is not None and promise.low <= rate.value <= promise.high
        word = "as" if kept else "not as"
        lines.append(
            f"  {word} expected from the images that the threshold was chosen on: "
            f"{promise.low:.4g} to {promise.high:.4g} false positives (95 %)"
        )
    return [*lines, *(f"  warning: {warning}" for warning in decision.warnings)]


def _latency(latency: Latency) -> str:
    parts = ", ".join(f"{n} {getattr(latency, n).median:.2f}" for n in latency._fields[1:4])
    total = latency.total
    return f"{total.median:.2f} ms an image ({parts}), 95 of 100 below {total.p95:.2f}"


def _by_label(verdict: Verdict) -> list[tuple[str, _Row]]:
    from tinysight.metrics import class_report

    labels = verdict.labels
    if verdict.several:
        places = [(class_report(matrix), 1) for matrix in verdict.confusions()]
    else:
        places = [(class_report(verdict.confusion()), i) for i in range(len(labels))]
    rows = []
    for name, (report, i) in zip(labels, places, strict=True):
        columns = (report.support, report.precision, report.recall, report.f1)
        rows.append((name, _Row(*(column[i].item() for column in columns))))
    return rows
