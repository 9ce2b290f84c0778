"""OpenVINO on the CPU."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from tinysight.concurrency import Deferred
from tinysight.engines import base
from tinysight.errors import BundleError
from tinysight.registry import engines

if TYPE_CHECKING:
    from annotated_types import Ge

Precision = Literal["f32", "bf16", "f16"]
# What a variant is calculated in; its numbers stay as they are written. An int8 variant says itself which
# operators are int8, and the rest of it is exact.
_HINTS: dict[str, Precision] = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}


@engines.register("openvino")
class OpenVino:
    """A network in ONNX or OpenVINO's own format, compiled by OpenVINO.

    The first size of batch that is run gets a program of its own, which is a tenth faster than the
    one for any size that serves the others. As with ONNX Runtime the work is done beside the
    caller's imports, and whoever needs it first waits.

    Args:
        model: contents of an ONNX file, or a variant of an `.xml` and a `.bin`.
        threads: CPU threads per call, >= 1.
        streams: calls at the same time, >= 1: as many as threads that call `run`.
        precision: "f32" for the scores of the other engines; "bf16" and "f16" are faster only on
            processors that calculate in them, and change the third decimal. A variant has its own.
    """

    reads_onnx: ClassVar = True
    precisions: ClassVar = ("fp32", "fp16", "bf16", "int8")
    packages: ClassVar = ("openvino",)

    def __init__(
        self, model: bytes | base.VariantFiles, threads: Annotated[int, Ge(1)] = 1,
        streams: Annotated[int, Ge(1)] = 1, precision: Precision = "f32",
    ) -> None:  # fmt: skip
        self._openvino = openvino = base.load_module("openvino", "openvino")
        self._file = "model.onnx"  # named by errors
        parts = [model] if isinstance(model, bytes) else []
        if isinstance(model, base.VariantFiles):
            self._file, program = model.ending(".xml")
            if not program.lstrip().startswith(b"<"):  # OpenVINO would take it for ONNX
                raise BundleError(self._file, "no OpenVINO network", base.EXPORT_AGAIN)
            parts = [program, model.ending(".bin")[1]]
            precision = _HINTS[model.precision]
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,  # two of these, or a busy neighbour, would share a core
        }
        self._reading = Deferred(lambda: _read(openvino, *parts))
        self._normalization: base.Normalization | None = None
        self._compiled: dict[int | None, Any] = {}
        self._compiling = threading.Lock()
        self._requests = threading.local()

    @staticmethod
    def write(network: base.OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.xml`, `<stem>.bin`; weights in halves for fp16; bf16 is fp32 that is calculated in less."""
        openvino = base.load_module("openvino", "openvino")
        source = network.quantized if precision == "int8" else network.model
        model = openvino.Core().read_model(model=source)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{stem}.xml")
            openvino.save_model(model, str(path), compress_to_fp16=precision == "fp16")
            return {p.name: p.read_bytes() for p in (path, path.with_suffix(".bin"))}

    def _network(self) -> tuple[Any, Any]:
        try:
            return self._reading.result()
        except Exception as error:
            raise self._error("cannot load the network", error) from error

    def _error(self, what: str, error: Exception) -> Exception:
        return base.network_error("OpenVINO", what, error, self._file)

    @property
    def inputs(self) -> tuple[base.Tensor, ...]:
        """The network's inputs."""
        return tuple(map(_tensor, self._network()[1].inputs))

    @property
    def outputs(self) -> tuple[base.Tensor, ...]:
        """The network's outputs."""
        return tuple(map(_tensor, self._network()[1].outputs))

    def take_pixels(self, normalization: base.Normalization) -> bool:
        """True: the arithmetic becomes part of what reads the first convolution's input."""
        self._normalization = normalization
        return True

    def run(self, batch: np.ndarray) -> np.ndarray:
        """First output of the network for its one input: scores (N, K).

        Args:
            batch: (N, C, H, W) float32; uint8 (N, H, W, 3) after `take_pixels`.

        Raises:
            BundleError: the network does not load, or refuses the batch.
        """
        core, model = self._network()
        try:
            with base.first_use("openvino.run"):
                request = self._request(core, model, len(batch))
                tensor = self._openvino.Tensor(np.ascontiguousarray(batch), shared_memory=True)
                request.set_input_tensor(tensor)
                request.infer()
                return np.array(request.get_output_tensor(0).data)  # the request reuses its own
        except Exception as error:
            raise self._error(f"refuses a batch {batch.shape}", error) from error

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs of the network for inputs by name.

        Raises:
            BundleError: the network does not load, or refuses the inputs.
        """
        core, model = self._network()
        try:
            with base.first_use("openvino.run_all"):
                found = self._request(core, model, None).infer(dict(feeds))
                return [np.array(found[port]) for port in self._compiled[None].outputs]
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            raise self._error(f"refuses {shapes}", error) from error

    def _request(self, core: Any, model: Any, size: int | None) -> Any:
        """This thread's request for batches of this size; None for any size."""
        mine: dict[int | None, Any] = self._requests.__dict__.setdefault("by_size", {})
        if size not in mine:
            with self._compiling:
                own = size if size in self._compiled or not self._compiled else None
                if own not in self._compiled:
                    self._compiled[own] = self._compile(core, model, own)
            if own not in mine:
                mine[own] = self._compiled[own].create_infer_request()
            mine[size] = mine[own]
        return mine[size]

    def _compile(self, core: Any, model: Any, size: int | None) -> Any:
        if size is not None:
            model = model.clone()
            shape = model.input(0).partial_shape
            shape[0] = size
            model.reshape(shape)
        if self._normalization is not None:
            model = self._with_pixels(model.clone(), self._normalization)
        return core.compile_model(model, "CPU", self._options)

    def _with_pixels(self, model: Any, by: base.Normalization) -> Any:
        """OpenVINO's own preprocessing in front: from uint8 (N, H, W, 3), (x - mean) / std."""
        from openvino.preprocess import PrePostProcessor

        layout, kinds = self._openvino.Layout, self._openvino.Type
        steps = PrePostProcessor(model)
        port = steps.input()
        port.tensor().set_element_type(kinds.u8).set_layout(layout("NHWC"))
        port.model().set_layout(layout("NCHW"))
        means, deviations = ([float(v / by.scale) for v in vs] for vs in (by.mean, by.std))
        port.preprocess().convert_element_type(kinds.f32).mean(means).scale(deviations)
        return steps.build()


def _read(openvino: Any, program: bytes, weights: bytes | None = None) -> tuple[Any, Any]:
    with base.first_use("openvino.read"):
        core = openvino.Core()
        more = {} if weights is None else {"weights": openvino.Tensor(np.frombuffer(weights, "u1"))}
        return core, core.read_model(model=program, **more)


def _tensor(port: Any) -> base.Tensor:
    shape = tuple(d.get_length() if d.is_static else None for d in port.partial_shape)
    return base.Tensor(port.any_name, shape)
