"""Evaluate a run or a bundle on labelled images.

A run is evaluated on the images and with the metrics of its own recipe, unless -c, -o or --list
say otherwise. A bundle knows its transforms and labels; the images come from --list or a recipe.
Rates are those at the threshold of the bundle, or at the one that the run's recipe asks for.
A PaddleClas configuration names the weights itself: -c X.yaml -o Global.pretrained_model=...
One of PP-ShiTu with Eval and IndexProcess evaluates the whole system.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.cli.arguments import add_recipe
from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.evaluation.latency import Latency
    from tinysight.evaluation.report import EvaluationReport, Subject
    from tinysight.metrics.operating_point import ThresholdResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight eval`."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--run", metavar="DIR", help="run folder, or a checkpoint")
    model.add_argument("--bundle", metavar="DIR", help="bundle folder, or shipped bundle's name")
    add_recipe(parser, required=False, text="recipe whose images and metrics are used")
    parser.add_argument("--list", metavar="LIST", help="list, or folder of classes, to evaluate on")
    parser.add_argument("--root", metavar="DIR", help="images' folder (default: the list's)")
    text = "write a page (default: report.html)"
    parser.add_argument("--report", metavar="FILE", nargs="?", const="", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print; 1 if images were unreadable."""
    from tinysight.evaluation.report import assess, images_of

    if args.recipe and not (args.run or args.bundle):
        from tinysight.foreign import evaluate_system

        if (lines := evaluate_system(args.recipe, args.override)) is not None:
            print("\n".join(lines))
            return 0
    subject = _subject(args)
    named = args.list or args.root or not subject.recipe
    images = images_of(subject, args.list, args.root) if named else None
    report = assess(subject, images, latency=True, every=True)
    page = _write_page(args, report, subject)
    shown = _table(report) + (f"\n\nreport: {page}" if page else "")
    print(json.dumps(report.to_json() | report.labels_json()) if args.json else shown)
    return 1 if report.evaluation.unreadable else 0


def _subject(args: argparse.Namespace) -> Subject:
    """The network that is evaluated."""
    if not args.run and not args.bundle:
        from tinysight.cli.arguments import read_foreign_config

        config = read_foreign_config(args, "--run or --bundle")
        from tinysight.data.labels import resolve_labels
        from tinysight.training.predictor import subject_of_weights

        return subject_of_weights(resolve_labels(config.recipe), config.trained_weights)
    # The recipe in the run's folder knows where the data was moved to.
    own = args.run and Path(args.run) / "recipe.yaml"
    source = args.recipe or (own if own and own.is_file() else None)
    if args.override and not source:
        raise ConfigError("-o", "there is no recipe to change", "add -c RECIPE")
    from tinysight.config import load_recipe

    recipe = load_recipe(source, args.override) if source else None
    if args.run:
        from tinysight.training.predictor import subject_of_run

        return subject_of_run(args.run, recipe)
    from tinysight.bundle import Bundle
    from tinysight.evaluation.report import subject_of_bundle

    return subject_of_bundle(Bundle.load(args.bundle), recipe)


def _write_page(args: argparse.Namespace, report: EvaluationReport, of: Subject) -> Path | None:
    """Write the page if it is asked for, or if a run was evaluated as it is."""
    from tinysight.report import Page, write_page

    as_it_is = not (args.list or args.recipe or args.override)
    if args.run and Path(args.run).is_dir() and as_it_is and not args.report:
        from tinysight.training.predictor import record_report

        return record_report(args.run, report)
    if args.report is None:
        return None
    path = Path(args.report or "report.html")
    about = of.manifest or of.recipe
    name, text = (about.task, about.description) if about else ("evaluation", "")
    write_page(path, report, Page(name, text, _command(args)))
    return path


def _command(args: argparse.Namespace) -> tuple[str, ...]:
    """What was typed, but for the report."""
    words = ["tinysight", "eval"]
    for name in ("run", "bundle", "recipe", "list", "root"):
        if value := getattr(args, name):
            words += ["-c" if name == "recipe" else f"--{name}", str(value)]
    return (*words, *(["-o", *args.override] if args.override else []))


def _table(report: EvaluationReport) -> str:
    found, rates = report.evaluation, report.label_rates()
    width = max(8, *map(len, (*found.metrics, *report.labels)))
    lines = [f"{name:{width}}  {value:.6g}" for name, value in found.metrics.items()]
    if table := report.splits():
        from tinysight.runs.tables import as_text

        lines = as_text(table)
    lines += ["", f"{'label':{width}}  images  precision  recall      f1"] if rates else [""]
    for name, (images, precision, recall, f1) in rates:
        lines.append(f"{name:{width}}  {images:8d}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}")
    lines.append(f"{'all':{width}}  {len(found.paths):8d}")
    if report.threshold:
        lines += ["", *_threshold(report, report.threshold)]
    if report.calibration:
        lines += ["", f"calibration error {report.calibration['ece']:.4f}"]
    if report.latency:
        lines.append(_latency(report.latency))
    if found.unreadable:
        lines += ["", f"unreadable, left out: {len(found.unreadable)}"]
        lines += [f"  {path}: {reason}" for path, reason in found.unreadable]
    return "\n".join(lines)


def _threshold(report: EvaluationReport, result: ThresholdResult) -> list[str]:
    """The rates at the threshold, each with its 95 % interval and what it was counted on."""
    counts = result.counts
    called = counts.true_positives + counts.false_positives
    lines = [f"threshold {result.threshold:g}, {report.chosen}"]
    if result.interval:
        lines[0] += f" (95 %: {result.interval.low:.4g} to {result.interval.high:.4g})"
    for name, rate, hits, total in (
        ("false positives", result.fpr, counts.false_positives, counts.negatives),
        ("found", result.tpr, counts.true_positives, counts.positives),
        ("precision", result.precision, counts.true_positives, called),
    ):
        if rate:
            ends = f"(95 %: {rate.low:.4g} to {rate.high:.4g})"
            lines.append(f"  {name:15}  {rate.value:.4g}, {hits} of {total} {ends}")
    if expected := report.expected_fpr:
        kept = result.fpr and expected.low <= result.fpr.value <= expected.high
        word = "as expected" if kept else "not as expected"
        ends = f"{expected.low:.4g} to {expected.high:.4g} false positives (95 %)"
        lines.append(f"  {word} from the images that the threshold was chosen on: {ends}")
    return [*lines, *(f"  warning: {warning}" for warning in result.warnings)]


def _latency(latency: Latency) -> str:
    parts = ", ".join(f"{n} {getattr(latency, n).median:.2f}" for n in latency._fields[1:4])
    total = latency.total
    return f"{total.median:.2f} ms an image ({parts}), 95 of 100 below {total.p95:.2f}"
