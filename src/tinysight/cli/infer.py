"""Label images with the weights of a PaddleClas configuration, and print what its tools/infer.py prints.

    tinysight infer -c X.yaml -o Infer.infer_imgs=photo.jpg -o Global.pretrained_model=output/best_model

Each line is a batch: a list of one result per image. Predicting with a bundle is faster: `tinysight
predict`.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from tinysight.cli.arguments import add_recipe, read_foreign_config
from tinysight.errors import ConfigError
from tinysight.files import write_atomic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_recipe(parser, required=True, text="PaddleClas configuration")


def run(args: argparse.Namespace) -> int:
    """Predict; 1 if an image could not be read."""
    config = read_foreign_config(args, "tinysight infer")
    recipe, infer = config.recipe, config.label_source
    if infer.images is None:
        raise ConfigError("Infer.infer_imgs", "which images?", "add -o Infer.infer_imgs=...")
    from tinysight.pipelines.sources import iter_images
    from tinysight.tasks.postprocess import infer_row
    from tinysight.tasks.results import Unreadable
    from tinysight.training.predictor import pipeline_of_weights

    listed = {"root": infer.images} if infer.listed else {}
    images = iter_images(infer.listed or infer.images, **listed)
    stream = pipeline_of_weights(recipe, config.trained_weights, infer.batch_size).stream(images)
    spec = recipe.export.postprocess.spec
    failed: list[Unreadable] = []
    rows: list[dict[str, Any]] = []
    while batch := list(islice(stream, infer.batch_size)):
        failed += [item for item in batch if isinstance(item, Unreadable)]
        lines = [infer_row(r, spec) for r in batch if not isinstance(r, Unreadable)]
        if lines:
            print(lines, flush=True)
        rows += lines
    for name, reason in failed:
        print(f"{name}: {reason}", file=sys.stderr)
    if infer.save_dir:
        path = infer.save_dir.removesuffix(".json") + ".json"
        text = json.dumps(rows, ensure_ascii=False)
        write_atomic(Path(path), text)
    return 1 if failed else 0
