"""Label images with the weights of a PaddleClas configuration, and print what its tools/infer.py prints.

    tinysight infer -c X.yaml -o Infer.infer_imgs=photo.jpg -o Global.pretrained_model=output/best_model

A batch is a line: a list with one answer for each image. A bundle answers faster: `tinysight
predict`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.cli.arguments import add_recipe
from tinysight.cli.setup import read_foreign_config
from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.tasks.results import Result, Unreadable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_recipe(parser, required=True, text="a PaddleClas configuration")


def run(args: argparse.Namespace) -> int:
    """Answer; 1 if an image could not be read."""
    config = read_foreign_config(args, "tinysight infer")
    recipe, infer = config.recipe, config.label_source
    if infer.images is None:
        raise ConfigError("Infer.infer_imgs", "which images?", "add -o Infer.infer_imgs=...")
    from tinysight.data.labels import label_names
    from tinysight.pipelines.label import label_images
    from tinysight.pipelines.sources import iter_images
    from tinysight.registry import postprocesses
    from tinysight.training.predictor import device, predictor, trained_model
    from tinysight.transforms import Compose

    found = (
        iter_images(infer.listed, root=infer.images) if infer.listed else iter_images(infer.images)
    )
    model, _ = trained_model(recipe, config.trained_weights)
    failed: list[Unreadable] = []
    answers: list[dict[str, Any]] = []
    for batch in label_images(
        predictor(model.to(device()), recipe.data.target),
        Compose.from_specs([t.spec for t in recipe.transforms.eval], "transforms.eval"),
        postprocesses.build(recipe.export.postprocess.spec, labels=label_names(recipe.data)),
        found,
        infer.batch_size,
        failed.append,
    ):
        told = [_as_there(answer, recipe.export.postprocess.name) for answer in batch]
        print(told, flush=True)
        answers += told
    for name, reason in failed:
        print(f"{name}: {reason}", file=sys.stderr)
    if infer.save_dir:
        _save(infer.save_dir, answers)
    return 1 if failed else 0


def _as_there(answer: Result, kind: str) -> dict[str, Any]:
    """The answer with PaddleClas' name for the file, in its order, and scores as float32 prints them."""
    import numpy as np

    plain: dict[str, Any] = {k: v for k, v in answer.items() if k != "filename"}
    if isinstance(plain.get("scores"), Sequence):
        plain["scores"] = [float(str(np.float32(score))) for score in plain["scores"]]
    if kind != "topk":
        return {**plain, "file_name": answer["filename"]}
    names = plain.pop("label_names")
    if names == [str(index) for index in plain["class_ids"]]:  # the classes have no names
        names = []
    return {**plain, "file_name": answer["filename"], "label_names": names}


def _save(name: str, answers: list[dict[str, Any]]) -> None:
    from tinysight.files import write_atomic

    path = Path(name if name.endswith(".json") else f"{name}.json")
    write_atomic(path, json.dumps(answers, ensure_ascii=False))
