"""ONNX Runtime on the CPU."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from tinysight.errors import BundleError
from tinysight.registry import sessions
from tinysight.runtime.session import Tensor

if TYPE_CHECKING:
    from annotated_types import Ge


@sessions.register("onnxruntime")
class OnnxSession:
    """A network in ONNX form.

    The session is made in a thread of its own while the caller goes on importing OpenCV and
    decoding the first picture; that work takes as long as the import of either library. Whoever
    needs the session first waits for it, and meets its error.

    Args:
        model: contents of an ONNX file.
        threads: of one operator; 1 is fastest for small networks and leaves the rest to others.
    """

    def __init__(self, model: bytes, threads: Annotated[int, Ge(1)] = 1) -> None:
        import onnxruntime

        self._session: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._open, args=(onnxruntime, model, threads))
        self._thread.start()

    def _open(self, onnxruntime: Any, model: bytes, threads: int) -> None:
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
            options.log_severity_level = 4  # errors come as exceptions; nothing chatters
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - the engine's exceptions share no base class
            self._error = error

    def _ready(self) -> Any:
        self._thread.join()
        if self._error is not None:
            what = f"ONNX Runtime cannot load the network: {_first_line(self._error)}"
            raise BundleError("model.onnx", what, "export the bundle again") from self._error
        return self._session

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in."""
        return tuple(map(_tensor, self._ready().get_inputs()))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out."""
        return tuple(map(_tensor, self._ready().get_outputs()))

    def run(self, batch: np.ndarray) -> np.ndarray:
        """First output of the network for its one input; scores (N, K) for (N, C, H, W) float32.

        Raises:
            BundleError: the network does not load, or refuses the batch.
        """
        session = self._ready()
        try:
            (scores, *_) = session.run(None, {session.get_inputs()[0].name: batch})
        except Exception as error:
            what = f"ONNX Runtime refuses a batch {batch.shape}: {_first_line(error)}"
            raise BundleError("model.onnx", what, "export the bundle again") from error
        return np.asarray(scores)


def _tensor(node: Any) -> Tensor:
    return Tensor(node.name, tuple(d if isinstance(d, int) else None for d in node.shape))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
