"""What every engine promises."""

from __future__ import annotations

from collections.abc import Mapping
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

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs for inputs by name, of networks that have several."""
