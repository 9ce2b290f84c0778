"""`tinysight predict --on ray`: the same results, by many processes or machines."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.cli.progress import Progress
    from tinysight.pipelines.sources import ImageInput

_FORMATS = (".jsonl", ".json", ".csv", ".parquet")


def run_on_ray(
    args: argparse.Namespace,
    bundle: Bundle,
    options: dict[str, Any],
    images: Iterable[ImageInput],
    key: str,
    bar: Progress | None,
) -> tuple[int, int]:
    """Predict; the numbers of images and of those that could not be read.

    Raises:
        ConfigError: there is no file for the results, or none of a form that can be written.
    """
    from tinysight.batch.on_ray import predict_shards
    from tinysight.batch.shards import run

    output = _output(args, bundle)
    if args.shard < 1:
        raise ConfigError("--shard", f"should be 1 or more, got {args.shard}")
    names = (image.name for image in images)
    try:
        return run(
            names,
            output,
            key,
            args.shard,
            lambda plan: predict_shards(bundle, options, plan),
            bar.reach if bar else lambda done: None,
        )
    finally:
        if bar:
            bar.clear()


def _output(args: argparse.Namespace, bundle: Bundle) -> Path:
    """The file for the results; its ending decides their form, as far as `--json` or `--csv` does not."""
    from tinysight.tasks.postprocess import result_type

    if not args.output:
        raise ConfigError("--on", "needs a file for the results", "add --output results.jsonl")
    output = Path(args.output)
    if output.suffix not in _FORMATS:
        raise ConfigError(
            "--output", f"{output.name}: which form?", f"one of {', '.join(_FORMATS)}"
        )
    if (args.csv and output.suffix != ".csv") or (args.json and "json" not in output.suffix):
        raise ConfigError("--output", f"{output.name} is not of the form that is asked for")
    spec = bundle.manifest.postprocess
    if not result_type(spec).table and "json" not in output.suffix:
        what = f"the results of this bundle are its {spec['name']}"
        raise ConfigError("--output", what, "use .jsonl")
    return output
