"""What the core asks of PaddleClas' files; see `tinysight.foreign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from tinysight.config import RunConfig
    from tinysight.fetch import Artifact
    from tinysight.fetch.download import Report


def read_config(path: Path, overrides: Sequence[str]) -> RunConfig:
    """A training configuration as a recipe and what a command needs besides it."""
    from tinysight.compat.paddle.dialect import read_config

    return read_config(path, overrides)


def find_artifact(name: str, kind: str | None, where: str) -> Artifact:
    """The row of the catalogue of that name."""
    from tinysight.compat.paddle.catalog import find

    return find(name, kind, where)


def find_weights(backbone: str, which: bool | str, where: str) -> Artifact:
    """The published ImageNet weights of a network."""
    from tinysight.compat.paddle.catalog import pretrained

    return pretrained(backbone, which, where)


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.pdparams` file by the names of its entries."""
    from tinysight.compat.paddle.pdparams import read_paddle_state

    return read_paddle_state(path)


def find_bundle(name: str, report: Report | None) -> Path:
    """The bundle in the cache that a public model became; fetched and translated if it is not there."""
    from tinysight.compat.paddle.named_bundle import fetched_bundle

    return fetched_bundle(name, report=report)
