"""`tinysight predict --on ray`: the same answers, by many processes or machines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.bundle.manifest import NO_CLASSES
from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.cli.progress import Progress
    from tinysight.pipelines.sources import ImageInput

_FORMS = (".jsonl", ".json", ".csv", ".parquet")


def run_on_ray(
    args: argparse.Namespace,
    bundle: Bundle,
    sources: Iterable[Iterable[ImageInput]],
    key: str,
    bar: Progress | None,
) -> int:
    """Answer; 1 if an image could not be read, else 0.

    Raises:
        ConfigError: there is no file for the answers, or none of a form that can be written.
    """
    from tinysight.batch.on_ray import answers
    from tinysight.batch.run import run

    output = _output(args, bundle)
    if args.shard < 1:
        raise ConfigError("--shard", f"should be 1 or more, got {args.shard}")
    options: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("batch_size", "threads", "engine", "precision", "exact", "topk", "threshold")
    }
    shown = 0

    def progress(done: int) -> None:
        nonlocal shown
        for _ in range(done - shown if bar else 0):
            bar.step()  # type: ignore[union-attr]
        shown = done

    names = (image.name for image in chain.from_iterable(sources))
    try:
        total, failed = run(
            names, output, key, args.shard, lambda plan: answers(bundle, options, plan), progress
        )
    finally:
        if bar:
            bar.clear()
    if failed:
        print(f"{failed} of {total} images could not be read", file=sys.stderr)
    return 1 if failed else 0


def _output(args: argparse.Namespace, bundle: Bundle) -> Path:
    """The file for the answers; its ending decides their form, as far as `--json` or `--csv` does not."""
    if not args.output:
        raise ConfigError("--on", "needs a file for the answers", "add --output answers.jsonl")
    output = Path(args.output)
    if output.suffix not in _FORMS:
        raise ConfigError("--output", f"{output.name}: which form?", f"one of {', '.join(_FORMS)}")
    if (args.csv and output.suffix != ".csv") or (args.json and "json" not in output.suffix):
        raise ConfigError("--output", f"{output.name} is not of the form that is asked for")
    kind = bundle.manifest.postprocess["name"]
    if kind in NO_CLASSES and "json" not in output.suffix:
        raise ConfigError("--output", f"the answers of this bundle are its {kind}", "use .jsonl")
    return output
