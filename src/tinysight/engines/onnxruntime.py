"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from tinysight.concurrency import Deferred
from tinysight.engines import base
from tinysight.errors import ConfigError
from tinysight.registry import engines

if TYPE_CHECKING:
    from annotated_types import Ge


@engines.register("onnxruntime")
class OnnxRuntime:
    """A network in ONNX format.

    It is opened in a thread of its own while the caller goes on importing OpenCV and decoding the
    first image; that work takes as long as the import of either library. Whoever needs the network
    first waits for it, and meets its error.

    Args:
        model: contents of an ONNX file, or a variant that is one.
        threads: CPU threads per call, >= 1; 1 is fastest for small networks. Every thread that calls
            `run` is a stream of its own.
        precision: "f32"; there is no other here.
    """

    reads_onnx: ClassVar = True
    precisions: ClassVar = ("fp32", "int8")
    packages: ClassVar = ("onnxruntime",)

    def __init__(
        self, model: bytes | base.VariantFiles, threads: Annotated[int, Ge(1)] = 1,
        precision: Literal["f32"] = "f32",
    ) -> None:  # fmt: skip
        if precision != "f32":
            raise ConfigError("precision", f"{precision} is not for onnxruntime", "openvino has it")
        import onnxruntime

        data = model if isinstance(model, bytes) else model.ending(".onnx")[1]
        self._opening = Deferred(lambda: _open(onnxruntime, data, threads))

    @staticmethod
    def write(network: base.OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.onnx`; nothing in fp32, which is `model.onnx` itself."""
        return {} if precision == "fp32" else {f"{stem}.onnx": network.quantized}

    def _session(self) -> Any:
        try:
            return self._opening.result()
        except Exception as error:
            raise base.network_error("ONNX Runtime", "cannot load the network", error) from error

    @property
    def inputs(self) -> tuple[base.Tensor, ...]:
        """The network's inputs."""
        return tuple(map(_tensor, self._session().get_inputs()))

    @property
    def outputs(self) -> tuple[base.Tensor, ...]:
        """The network's outputs."""
        return tuple(map(_tensor, self._session().get_outputs()))

    def take_pixels(self, normalization: base.Normalization) -> bool:
        """False: a Cast and what follows it cost as much here as tables do outside."""
        return False

    def run(self, batch: np.ndarray) -> np.ndarray:
        """First output of the network for its one input; scores (N, K) for (N, C, H, W) float32.

        Raises:
            BundleError: the network does not load, or refuses the batch.
        """
        return self._run({self._session().get_inputs()[0].name: batch}, f"a batch {batch.shape}")[0]

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs of the network for inputs by name.

        Raises:
            BundleError: the network does not load, or refuses the inputs.
        """
        return self._run(feeds, ", ".join(f"{name} {a.shape}" for name, a in feeds.items()))

    def _run(self, feeds: Mapping[str, np.ndarray], described: str) -> list[np.ndarray]:
        session = self._session()
        try:
            with base.first_use("onnxruntime.run"):
                return [np.asarray(output) for output in session.run(None, dict(feeds))]
        except Exception as error:
            raise base.network_error("ONNX Runtime", f"refuses {described}", error) from error


def _open(onnxruntime: Any, model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # errors come as exceptions; nothing chatters
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _tensor(node: Any) -> base.Tensor:
    return base.Tensor(node.name, tuple(d if isinstance(d, int) else None for d in node.shape))
