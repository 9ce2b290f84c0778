"""What every engine promises."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np


class Normalization(NamedTuple):
    """What makes a network's input of pixels: (value * scale - mean) / std for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float


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

    def take_pixels(self, normalization: Normalization) -> bool:
        """Take uint8 (N, H, W, 3) from now on and normalise them inside, where that is faster.

        To be called before the first `run`; False, and nothing changes, where it is not faster.
        """

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, K) for a batch (N, C, H, W) float32, or of pixels once these are taken."""

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs for inputs by name, of networks that have several."""


_first_use_lock = threading.RLock()
_used: set[str] = set()


@contextmanager
def first_use(of: str) -> Iterator[None]:
    """Let one thread alone make the first call of a binding; later ones pass without waiting.

    A binding initialises function-local statics in its first call. Two threads that make it together
    deadlock: one waits for the static while it holds the interpreter lock, the other initialises it
    and waits for that lock. OpenVINO hangs so, about once in twenty processes.

    Args:
        of: engine and kind of call, such as "openvino.run".
    """
    if of in _used:
        yield
        return
    with _first_use_lock:
        yield
        _used.add(of)


def first_line(error: Exception) -> str:
    """What an engine says went wrong, without its stack."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
