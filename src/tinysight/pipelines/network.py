"""A bundle's network in an engine: opened once in each process, called by any number of threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import numpy as np

from tinysight.bundle import Bundle
from tinysight.engines import Engine, Normalization, open_engine
from tinysight.errors import BundleError

if TYPE_CHECKING:
    from tinysight.transforms.photometric import Normalize

_engines: WeakSet[Engine] = WeakSet()


def _keep_engines() -> None:
    """In a forked child: never close what the parent opened, which would wait for threads that are not here."""
    import ctypes

    for engine in _engines:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_keep_engines)


class Network:
    """A network of one input and one output, (N, K).

    Args:
        bundle: that the network is from.
        engine: name of the engine, or of a variant; see `engines.open_engine`.
        precision: of its numbers, where the engine has a choice.
        threads: threads of one run.
        streams: runs that may go on at the same time.
    """

    gives_boxes: ClassVar[bool] = False

    def __init__(
        self, bundle: Bundle, engine: str, precision: str, threads: int, streams: int
    ) -> None:
        self._bundle, self._engine, self._precision = bundle, engine, precision
        self._threads, self._streams = threads, streams
        self._normalization: Normalization | None = None  # what the engine does itself
        self._engines = {os.getpid(): self._open()}

    def take_pixels(self, normalization: Normalize) -> bool:
        """Whether the engine takes pixels from now on and normalises them itself."""
        given = Normalization(normalization.mean, normalization.std, normalization.scale)
        took = self.opened().take_pixels(given)
        self._normalization = given if took else None
        return took

    def opened(self) -> Engine:
        """The engine of this process: its threads do not survive a fork."""
        process = os.getpid()
        if process not in self._engines:
            engine = self._open()
            if self._normalization:
                engine.take_pixels(self._normalization)
            self._engines.setdefault(process, engine)
        return self._engines[process]

    def row(self, row: np.ndarray, pixels: np.ndarray) -> Any:
        """What `run` takes of one image.

        Args:
            row: prepared, (1, C, h, w) float32, or pixels (1, h, w, 3).
            pixels: the image itself, (H, W, 3).
        """
        return row

    def run(self, rows: list[Any]) -> Any:
        """The outputs for N images."""
        labels = len(self._bundle.manifest.labels)
        scores = self.opened().run(rows[0] if len(rows) == 1 else np.concatenate(rows))
        if scores.shape != (len(rows), labels or scores.shape[-1]):
            raise self._wrong(f"{labels} labels, but the network's scores are {scores.shape}")
        return scores

    def _open(self) -> Engine:
        engine = open_engine(
            self._bundle,
            self._engine,
            precision=self._precision,
            threads=self._threads,
            streams=self._streams,
        )
        _engines.add(engine)
        return engine

    def _wrong(self, what: str) -> BundleError:
        return BundleError(str(self._bundle.folder), what, "export the bundle again")
