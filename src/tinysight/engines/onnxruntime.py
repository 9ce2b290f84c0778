"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from tinysight.concurrency import Deferred
from tinysight.engines.base import Normalization, Tensor, first_line, first_use
from tinysight.errors import BundleError, ConfigError
from tinysight.registry import sessions

if TYPE_CHECKING:
    from annotated_types import Ge


@sessions.register("onnxruntime")
class OnnxSession:
    """A network in ONNX form.

    The session is made in a thread of its own while the caller goes on importing OpenCV and
    decoding the first image; that work takes as long as the import of either library. Whoever
    needs the session first waits for it, and meets its error.

    Args:
        model: contents of an ONNX file.
        threads: of one operator; 1 is fastest for small networks and leaves the rest to others.
            Every thread that calls `run` is a stream of its own.
        precision: "f32"; there is no other here.
    """

    def __init__(
        self,
        model: bytes,
        threads: Annotated[int, Ge(1)] = 1,
        precision: Literal["f32"] = "f32",
    ) -> None:
        if precision != "f32":
            raise ConfigError("precision", f"{precision} is not for onnxruntime", "openvino has it")
        import onnxruntime

        self._opening = Deferred(lambda: _open(onnxruntime, model, threads))

    def _session(self) -> Any:
        try:
            return self._opening.result()
        except Exception as error:
            what = f"ONNX Runtime cannot load the network: {first_line(error)}"
            raise BundleError("model.onnx", what, "export the bundle again") from error

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in."""
        return tuple(map(_tensor, self._session().get_inputs()))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out."""
        return tuple(map(_tensor, self._session().get_outputs()))

    def take_pixels(self, normalization: Normalization) -> bool:
        """No: a Cast and what follows it cost as much here as tables do outside."""
        return False

    def run(self, batch: np.ndarray) -> np.ndarray:
        """First output of the network for its one input; scores (N, K) for (N, C, H, W) float32.

        Raises:
            BundleError: the network does not load, or refuses the batch.
        """
        session = self._session()
        try:
            with first_use("onnxruntime.run"):
                (scores, *_) = session.run(None, {session.get_inputs()[0].name: batch})
        except Exception as error:
            what = f"ONNX Runtime refuses a batch {batch.shape}: {first_line(error)}"
            raise BundleError("model.onnx", what, "export the bundle again") from error
        return np.asarray(scores)

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs of the network for inputs by name.

        Raises:
            BundleError: the network does not load, or refuses the inputs.
        """
        session = self._session()
        try:
            with first_use("onnxruntime.run"):
                return [np.asarray(output) for output in session.run(None, dict(feeds))]
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            what = f"ONNX Runtime refuses {shapes}: {first_line(error)}"
            raise BundleError("model.onnx", what, "export the bundle again") from error


def _open(onnxruntime: Any, model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # errors come as exceptions; nothing chatters
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _tensor(node: Any) -> Tensor:
    return Tensor(node.name, tuple(d if isinstance(d, int) else None for d in node.shape))
