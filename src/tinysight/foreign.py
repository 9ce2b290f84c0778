"""Other frameworks' files: the only way from the core to `compat`.

The core asks two things: *read this file*, *find the model of this name*. What answers is named here and imported at
the first question, so that a native run imports nothing of `compat`.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from tinysight.config.run import RunConfig
    from tinysight.fetch import Artifact
    from tinysight.fetch.download import Report

_HOME = "tinysight.compat.paddle"
_SECTIONS = re.compile(
    rb"^(?:Global|Arch|DataLoader|Loss|Optimizer|Metric|Infer|PreProcess|DetPreProcess|RecPreProcess|IndexProcess"
    rb"|base_config_file|distill_config_file|search_dict|ARCHITECTURE|LEARNING_RATE|TRAIN|VALID)\s*:",
    re.MULTILINE,
)


def is_foreign(path: Path) -> bool:
    """Whether a YAML file is written in another framework's language: one of its sections stands at the margin."""
    return bool(_SECTIONS.search(path.read_bytes()))


def read_config(path: Path, overrides: Sequence[str]) -> RunConfig:
    """The configuration at `path` as a recipe and what a command needs besides it."""
    return cast("RunConfig", _answer("dialect", "read_config")(path, overrides))


def find_artifact(name: str, kind: str | None, where: str) -> Artifact:
    """The published file of that name."""
    return cast("Artifact", _answer("catalog", "find")(name, kind, where))


def find_weights(backbone: str, which: bool | str, where: str) -> Artifact:
    """The published weights of a network."""
    return cast("Artifact", _answer("catalog", "pretrained")(backbone, which, where))


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a weight file by the names of its entries."""
    return cast("dict[str, np.ndarray]", _answer("pdparams", "read_paddle_state")(path))


def find_bundle(name: str, report: Report | None) -> Path:
    """The folder of the bundle that a public model became; fetched and translated if it is not in the cache."""
    return cast("Path", _answer("named_bundle", "fetched_bundle")(name, report=report))


def _answer(module: str, function: str) -> Callable[..., object]:
    return cast("Callable[..., object]", getattr(import_module(f"{_HOME}.{module}"), function))
