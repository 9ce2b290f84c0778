"""What a post-processor says about one picture."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from tinysight.errors import ConfigError


class Answer(TypedDict):
    """Class ids, best first, with a score and, if labels are known, a name for each. JSON-ready."""

    class_ids: list[int]
    scores: list[float]
    label_names: list[str]


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


def check_scores(scores: np.ndarray, labels: tuple[str, ...]) -> None:
    """Refuse anything but (N, K) with a label, if there are labels, for each of the K classes.

    Raises:
        ConfigError: another shape.
    """
    if scores.ndim != 2:
        raise ConfigError("scores", f"expected (N, K), got shape {scores.shape}")
    if labels and scores.shape[1] != len(labels):
        raise ConfigError("labels", f"{len(labels)} labels for {scores.shape[1]} classes")
