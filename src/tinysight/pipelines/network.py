"""A bundle's network in an engine: opened once in each process, called by any number of threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import numpy as np

from tinysight.bundle import Bundle
from tinysight.errors import BundleError
from tinysight.registry import sessions

if TYPE_CHECKING:
    from tinysight.engines import Session
    from tinysight.transforms.photometric import Normalize

_VARIANT = "target/"  # before the name of one of the bundle's variants
_sessions: WeakSet[Any] = WeakSet()


def _keep_sessions() -> None:
    """In a forked child: never close what the parent opened, which would wait for threads that are not here."""
    import ctypes

    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_keep_sessions)


class Network:
    """A network of one input and one output, (N, K).

    Args:
        bundle: that the network is from.
        engine: name of what runs it, or `target/<name>` for a variant.
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
        self._normalization: Normalize | None = None  # what the session does itself
        self._sessions = {os.getpid(): self._open()}

    def take_pixels(self, normalization: Normalize) -> bool:
        """Whether the engine takes pixels from now on and normalises them itself."""
        took = self._take_pixels(self.session(), normalization)
        self._normalization = normalization if took else None
        return took

    def session(self) -> Session:
        """That of this process: threads of an engine do not survive a fork."""
        process = os.getpid()
        if process not in self._sessions:
            session = self._open()
            if self._normalization:
                self._take_pixels(session, self._normalization)
            self._sessions.setdefault(process, session)
        return self._sessions[process]

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
        scores = self.session().run(rows[0] if len(rows) == 1 else np.concatenate(rows))
        if scores.shape != (len(rows), labels or scores.shape[-1]):
            raise self._wrong(f"{labels} labels, but the network's scores are {scores.shape}")
        return scores

    def _open(self) -> Session:
        session: Session
        if self._engine.startswith(_VARIANT):
            from tinysight.engines.variants import open_target

            name = self._engine.removeprefix(_VARIANT)
            session = open_target(self._bundle, name, self._threads, self._streams)
        else:
            session = sessions.build(
                {"name": self._engine, "precision": self._precision},
                model=self._bundle.model,
                threads=self._threads,
                streams=self._streams,
            )
        _sessions.add(session)
        return session

    @staticmethod
    def _take_pixels(session: Any, normalization: Normalize) -> bool:
        return bool(session.take_pixels(normalization))

    def _wrong(self, what: str) -> BundleError:
        return BundleError(str(self._bundle.folder), what, "export the bundle again")
