"""What the engines of small devices have in common: one image at a time, one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinysight.engines.base import Tensor, first_use
from tinysight.errors import BundleError

_AGAIN = "export the bundle again"


class OneImageSession:
    """A session for an engine whose programs are made for one image.

    A subclass opens its engine in `_open` and answers in `_answer`.

    Args:
        files: contents of the form's files by name.
        shape: of the network's input, (None, C, H, W).
        classes: K, the number of scores.
        precision: the form's: "fp32", "fp16", "bf16" or "int8".
        threads: of one inference.
        streams: taken by every session, and here of no use.

    Raises:
        MissingDependency: the engine is not installed.
        BundleError: it cannot load the files.
    """

    engine = ""

    def __init__(
        self,
        files: Mapping[str, bytes],
        shape: Sequence[int | None],
        classes: int,
        precision: str = "fp32",
        threads: int = 1,
        streams: int = 1,
    ) -> None:
        self._shape = tuple(int(side or 1) for side in shape[1:])
        self._classes = classes
        self._files = dict(files)
        self._precision = precision
        self._threads = threads
        self._one_at_a_time = threading.Lock()
        try:
            with first_use(f"{self.engine}.open"):
                self._open()
        except (RuntimeError, ValueError, OSError) as error:
            what = f"{self.engine} cannot load it: {error}"
            raise BundleError(next(iter(self._files), ""), what, _AGAIN) from error

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in."""
        return (Tensor("images", (None, *self._shape)),)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out."""
        return (Tensor("scores", (None, self._classes)),)

    def take_pixels(self, normalization: Any) -> bool:
        """No: these forms take what the transforms make."""
        return False

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, K) for a batch (N, C, H, W) float32.

        Raises:
            BundleError: images of another shape, or the engine fails.
        """
        if batch.shape[1:] != self._shape:
            what = f"takes images {self._shape}, got {batch.shape[1:]}"
            raise BundleError(self.engine, what, _AGAIN)
        answers = np.empty((len(batch), self._classes), np.float32)
        with self._one_at_a_time, first_use(f"{self.engine}.run"):
            for i, image in enumerate(np.ascontiguousarray(batch, np.float32)):
                answer = np.asarray(self._answer(image), np.float32).reshape(-1)
                if answer.size != self._classes:
                    what = f"gives {answer.size} scores, not {self._classes}"
                    raise BundleError(self.engine, what, _AGAIN)
                answers[i] = answer
        return answers

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs, here the one, for the one input by its name."""
        (batch,) = feeds.values()
        return [self.run(batch)]

    def _named(self, ending: str) -> bytes:
        """Contents of the file that ends so."""
        return next(data for name, data in self._files.items() if name.endswith(ending))

    def _open(self) -> None:
        raise NotImplementedError

    def _answer(self, image: np.ndarray) -> np.ndarray:
        """Scores, any shape of K numbers, for (C, H, W) float32; the caller holds the lock."""
        raise NotImplementedError


def load_module(name: str, package: str, extra: str | None, needed_for: str) -> Any:
    """Import an engine that may be absent.

    Raises:
        MissingDependency: it is.
    """
    import importlib

    from tinysight.errors import MissingDependency

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingDependency(package, extra, needed_for) from error
