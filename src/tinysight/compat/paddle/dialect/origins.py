"""Where a place of the native recipe comes from in PaddleClas' tree: messages name what the user wrote."""

from __future__ import annotations

from typing import Any

from tinysight.errors import Problem

_TRAIN, _EVAL = "DataLoader.Train", "DataLoader.Eval"
ORIGINS = {
    "data.batch_size": f"{_TRAIN}.sampler.batch_size",
    "data.eval": f"{_EVAL}.dataset",
    "data.eval_batch_size": f"{_EVAL}.sampler.batch_size",
    "data.labels": "Arch.class_num",
    "data.root": f"{_TRAIN}.dataset.image_root",
    "data.train": f"{_TRAIN}.dataset",
    "data.workers": f"{_TRAIN}.loader.num_workers",
    "export.postprocess": "Infer.PostProcess",
    "loss": "Loss.Train.0",
    "metrics": "Metric.Eval",
    "model.backbone": "Arch",
    "model.pretrained": "Arch.pretrained",
    "train.accumulate": "Global.update_freq",
    "train.clip_norm": "Optimizer.clip_norm",
    "train.ema": "EMA",
    "train.epochs": "Global.epochs",
    "train.eval_every": "Global.eval_interval",
    "train.eval_from": "Global.start_eval_epoch",
    "train.lr": "Optimizer.lr.learning_rate",
    "train.optimizer": "Optimizer",
    "train.schedule": "Optimizer.lr",
    "train.seed": "Global.seed",
    "transforms.batch": f"{_TRAIN}.dataset.batch_transform_ops",
    "transforms.eval": f"{_EVAL}.dataset.transform_ops",
    "transforms.train": f"{_TRAIN}.dataset.transform_ops",
}


def to_source_paths(problem: Problem, tree: dict[str, Any]) -> Problem:
    """`problem` of the native recipe `tree` under the place that the user wrote."""
    parts = problem.where.split(".")
    for count in range(len(parts), 0, -1):
        origin = ORIGINS.get(".".join(parts[:count]))
        if origin:
            rest = [*parts[count:]]
            if rest and rest[0].isdecimal():  # places in our lists are not theirs, names tell more
                rest[0] = f"({_name(tree, parts[: count + 1])})"
            return problem._replace(where=" ".join([origin, ".".join(rest)]).strip())
    return problem


def _name(tree: Any, parts: list[str]) -> str:
    for part in parts:
        tree = tree[int(part)] if isinstance(tree, list) else tree.get(part, {})
    return str(tree.get("name", "")) if isinstance(tree, dict) else str(tree)
