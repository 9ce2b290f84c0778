"""OpenVINO on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from tinysight.concurrency import Deferred
from tinysight.engines.base import Normalization, Tensor, first_line, first_use
from tinysight.errors import BundleError, MissingDependency
from tinysight.registry import sessions

if TYPE_CHECKING:
    from annotated_types import Ge

Precision = Literal["f32", "bf16", "f16"]


@sessions.register("openvino")
class OpenVinoSession:
    """A network in ONNX or in OpenVINO's own form, compiled by OpenVINO.

    The first size of batch that is run gets a program of its own, which is a tenth faster than the
    one for any size that serves the others. As with ONNX Runtime the work is done beside the
    caller's imports, and whoever needs it first waits.

    Args:
        model: contents of an ONNX file, or of an `.xml` and a `.bin`.
        threads: of one inference.
        streams: inferences that go on at the same time, as many as threads that call `run`.
        precision: "f32" for the answers of the other engines; "bf16" and "f16" are faster only on
            processors that calculate in them, and change the third decimal.
    """

    _file = "model.onnx"  # named by errors

    def __init__(
        self,
        model: bytes | tuple[bytes, bytes],
        threads: Annotated[int, Ge(1)] = 1,
        streams: Annotated[int, Ge(1)] = 1,
        precision: Precision = "f32",
    ) -> None:
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise MissingDependency("openvino", "openvino", "the engine openvino") from error
        self._openvino = openvino
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,  # two of these, or a busy neighbour, would share a core
        }
        self._reading = Deferred(lambda: _read(openvino, model))
        self._normalization: Normalization | None = None
        self._compiled: dict[int | None, Any] = {}
        self._compiling = threading.Lock()
        self._requests = threading.local()

    def _network(self) -> tuple[Any, Any]:
        try:
            return self._reading.result()
        except Exception as error:
            what = f"OpenVINO cannot load the network: {first_line(error)}"
            raise BundleError(self._file, what, "export the bundle again") from error

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in."""
        return tuple(map(_tensor, self._network()[1].inputs))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out."""
        return tuple(map(_tensor, self._network()[1].outputs))

    def take_pixels(self, normalization: Normalization) -> bool:
        """Yes: the arithmetic becomes part of what reads the first convolution's input."""
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
            with first_use("openvino.run"):
                request = self._request(core, model, batch)
                tensor = self._openvino.Tensor(np.ascontiguousarray(batch), shared_memory=True)
                request.set_input_tensor(tensor)
                request.infer()
                return np.array(request.get_output_tensor(0).data)  # the request reuses its own
        except Exception as error:
            what = f"OpenVINO refuses a batch {batch.shape}: {first_line(error)}"
            raise BundleError(self._file, what, "export the bundle again") from error

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs of the network for inputs by name.

        Raises:
            BundleError: the network does not load, or refuses the inputs.
        """
        core, model = self._network()
        try:
            with self._compiling:
                if None not in self._compiled:
                    self._compiled[None] = self._compile(core, model, None)
            mine: dict[int | None, Any] = self._requests.__dict__.setdefault("by_size", {})
            with first_use("openvino.run_all"):
                if None not in mine:
                    mine[None] = self._compiled[None].create_infer_request()
                found = mine[None].infer(dict(feeds))
                return [np.array(found[port]) for port in self._compiled[None].outputs]
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            what = f"OpenVINO refuses {shapes}: {first_line(error)}"
            raise BundleError(self._file, what, "export the bundle again") from error

    def _request(self, core: Any, model: Any, batch: np.ndarray) -> Any:
        """This thread's request for batches of this size."""
        mine: dict[int | None, Any] = self._requests.__dict__.setdefault("by_size", {})
        if len(batch) in mine:
            return mine[len(batch)]
        with self._compiling:
            size = len(batch) if len(batch) in self._compiled or not self._compiled else None
            if size not in self._compiled:
                self._compiled[size] = self._compile(core, model, size)
        if size not in mine:
            mine[size] = self._compiled[size].create_infer_request()
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

    def _with_pixels(self, model: Any, by: Normalization) -> Any:
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


def _read(openvino: Any, model: bytes | tuple[bytes, bytes]) -> tuple[Any, Any]:
    with first_use("openvino.read"):
        core = openvino.Core()
        if isinstance(model, bytes):
            return core, core.read_model(model=model)
        program, weights = model
        tensor = openvino.Tensor(np.frombuffer(weights, "u1"))
        return core, core.read_model(model=program, weights=tensor)


def _tensor(port: Any) -> Tensor:
    shape = tuple(d.get_length() if d.is_static else None for d in port.partial_shape)
    return Tensor(port.any_name, shape)
