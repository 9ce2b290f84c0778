"""What other frameworks' files mean here: the only way from the core to `compat`.

The core asks two things: *read this configuration*, *find the model of this name*. One module answers both. It is named
here and imported at the first question, so that a native run imports nothing of `compat`.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tinysight.config.run import RunConfig
    from tinysight.fetch import Artifact
    from tinysight.fetch.download import Report

_HOME = "tinysight.compat.paddle.hooks"
_SECTIONS = re.compile(
    rb"^(?:Global|Arch|DataLoader|Loss|Optimizer|Metric|Infer|PreProcess|DetPreProcess|RecPreProcess|IndexProcess"
    rb"|base_config_file|distill_config_file|search_dict|ARCHITECTURE|LEARNING_RATE|TRAIN|VALID)\s*:",
    re.MULTILINE,
)


class Hooks(Protocol):
    """What a module of `compat` provides."""

    def read_config(self, path: Path, overrides: Sequence[str]) -> RunConfig:
        """The configuration at `path` as a recipe and what a command needs besides it."""
        ...

    def find_artifact(self, name: str, kind: str | None, where: str) -> Artifact:
        """The published file of that name."""
        ...

    def find_weights(self, backbone: str, which: bool | str, where: str) -> Artifact:
        """The published weights of a network."""
        ...

    def read_state(self, path: Path) -> dict[str, np.ndarray]:
        """The arrays of a weight file by the names of its entries."""
        ...

    def find_bundle(self, name: str, report: Report | None) -> Path:
        """The folder of the bundle that a public model became."""
        ...


def is_foreign(path: Path) -> bool:
    """Whether a YAML file is written in another framework's language: one of its sections stands at the margin."""
    return bool(_SECTIONS.search(path.read_bytes()))


def hooks() -> Hooks:
    """The module of `compat` that answers."""
    return cast("Hooks", import_module(_HOME))
