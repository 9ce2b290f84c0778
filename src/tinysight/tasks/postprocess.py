"""What post-processors have in common: their protocol, their checks, and what a caller may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses
from tinysight.tasks.results import BoxResult, CodeResult, EmbeddingResult, Result, ScoreResult


class Postprocess(Protocol):
    """From a network's outputs for N images to N results without file names."""

    result: type[Result]

    def __call__(self, outputs: Any) -> list[Any]:
        """One result for each image."""


def result_type(spec: Mapping[str, Any]) -> type[Result]:
    """The kind of result that the post-processor of `spec` gives."""
    return postprocesses.get(spec["name"]).result  # type: ignore[attr-defined,no-any-return]


def has_scores(spec: Mapping[str, Any]) -> bool:
    """Whether its results are made of (N, K) scores of classes or labels, not of boxes or vectors."""
    return result_type(spec) not in (BoxResult, EmbeddingResult)


def decides_by_best_class(spec: Mapping[str, Any]) -> bool:
    """Whether an image's decision is its best class and nothing else."""
    return spec["name"] == "topk" or result_type(spec) is ScoreResult


def override(
    spec: Mapping[str, Any], topk: int | None = None, threshold: float | None = None
) -> dict[str, Any]:
    """The post-processing of `spec` with what a caller asks for.

    Args:
        spec: of a bundle.
        topk: this many best classes instead, at least 1.
        threshold: another threshold in [0, 1]; a decision by it where the bundle gives the best classes.

    Raises:
        ConfigError: out of range, both at once, or without meaning for these results.
    """
    if topk is not None and threshold is not None:
        raise ConfigError("topk, threshold", "only one of the two makes sense")
    asked = topk is not None or threshold is not None
    vector = asked and result_type(spec) in (EmbeddingResult, CodeResult)
    if vector or (topk is not None and not has_scores(spec)):
        raise ConfigError("topk, threshold", f"the results of this bundle are its {spec['name']}")
    if topk is not None and topk < 1:
        raise ConfigError("topk", f"should be 1 or more, got {topk}")
    if topk is not None:
        return {"name": "topk", "k": topk}
    if threshold is None:
        return dict(spec)
    if not 0 <= threshold <= 1:
        raise ConfigError("threshold", f"should be between 0 and 1, got {threshold}")
    if "threshold" in spec:
        return {**spec, "threshold": threshold}
    if not decides_by_best_class(spec):
        raise ConfigError("threshold", f"{spec['name']} has no such thing")
    return {"name": "threshold", "threshold": threshold}


def infer_row(result: Result, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The row that PaddleClas' tools/infer.py prints: its key for the file, its order, scores as float32 prints them.

    Args:
        result: of the post-processor of `spec`.
        spec: of a recipe; names of the best classes come last, and are left out where they are the ids.
    """
    row = result.to_json()
    row["file_name"] = row.pop("filename")
    if "scores" in row:
        row["scores"] = [float(str(np.float32(score))) for score in row["scores"]]
    if spec["name"] == "topk":
        names = row.pop("label_names")
        row["label_names"] = [] if names == [str(i) for i in row["class_ids"]] else names
    return row


def class_index(which: str | int, labels: tuple[str, ...], where: str) -> int:
    """The class id that `which`, a label name or an id, stands for.

    Raises:
        ConfigError: no such label or class.
    """
    if isinstance(which, str):
        if which in labels:
            return labels.index(which)
        raise ConfigError(where, f"no label {which!r}", f"labels: {', '.join(labels)}")
    if which < 0 or (labels and which >= len(labels)):
        raise ConfigError(where, f"no class {which}", f"there are {len(labels)}, the first is 0")
    return which


def names_of(class_ids: np.ndarray, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The names of some classes; none where the labels are not known."""
    return tuple(labels[i] for i in class_ids.tolist()) if labels else ()


def check_scores(scores: np.ndarray, labels: tuple[str, ...], outputs: int = 0) -> np.ndarray:
    """Scores (N, K) as float64; each of the K classes has a label, if there are labels.

    Args:
        scores: of the network.
        labels: none or K.
        outputs: what K has to be; 0: any number.

    Raises:
        ConfigError: another shape.
    """
    if scores.ndim != 2:
        raise ConfigError("scores", f"expected (N, K), got shape {scores.shape}")
    if labels and scores.shape[1] != len(labels):
        raise ConfigError("labels", f"{len(labels)} labels for {scores.shape[1]} classes")
    if outputs and scores.shape[1] != outputs:
        what = f"these attributes are {outputs} outputs, the network has {scores.shape[1]}"
        raise ConfigError("postprocess", what)
    return scores.astype(np.float64)
