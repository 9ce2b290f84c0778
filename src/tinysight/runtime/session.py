"""What every engine promises."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Tensor(NamedTuple):
    """An input or output of a network: name and shape, None where any number goes."""

    name: str
    shape: tuple[int | None, ...]


class Session(Protocol):
    """A loaded network. `run` may be called from several threads at once."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out."""

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, K) for a batch (N, C, H, W) float32."""


def first_line(error: Exception) -> str:
    """What an engine says went wrong, without its stack."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
