"""What a post-processor says about one image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict

import numpy as np

from tinysight.errors import ConfigError


class Answer(TypedDict):
    """Class ids, best first, with a score and, if labels are known, a name for each. JSON-ready."""

    class_ids: list[int]
    scores: list[float]
    label_names: list[str]


class Attributes(TypedDict):
    """What an image shows in words, and for each output of the network 1 or 0. JSON-ready."""

    attributes: list[str] | str
    output: list[int]


class Scores(TypedDict):
    """The score of every class, in their order. JSON-ready."""

    scores: list[float]


class Code(TypedDict):
    """An embedding as bits, eight a number from 0 to 255. JSON-ready."""

    code: list[int]


AnyAnswer: TypeAlias = Answer | Attributes | Scores | Code
_SURE = re.compile(r", prob: [^)]*")  # in the words about a vehicle


def without_scores(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer says about its image, without how sure it is.

    >>> without_scores({"class_ids": [1], "scores": [0.75], "label_names": ["blurred"]})
    {'class_ids': [1], 'label_names': ['blurred']}
    >>> without_scores({"attributes": "Color: (red, prob: 0.75), Type unknown", "output": [0, 1]})
    {'attributes': 'Color: (red), Type unknown', 'output': [0, 1]}
    """
    said = {key: value for key, value in answer.items() if key != "scores"}
    if isinstance(words := said.get("attributes"), str):
        said["attributes"] = _SURE.sub("", words)
    return said


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


def check_scores(scores: np.ndarray, labels: tuple[str, ...], outputs: int | None = None) -> None:
    """Refuse anything but (N, K) with a label, if there are labels, for each of the K classes.

    Args:
        scores: of the network.
        labels: none or K.
        outputs: what K has to be, if it is not free.

    Raises:
        ConfigError: another shape.
    """
    if scores.ndim != 2:
        raise ConfigError("scores", f"expected (N, K), got shape {scores.shape}")
    if labels and scores.shape[1] != len(labels):
        raise ConfigError("labels", f"{len(labels)} labels for {scores.shape[1]} classes")
    if outputs is not None and scores.shape[1] != outputs:
        what = f"these attributes are {outputs} outputs, the network has {scores.shape[1]}"
        raise ConfigError("postprocess", what)
