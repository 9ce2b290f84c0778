"""OpenVINO's own form, as `.xml` and `.bin`."""

from __future__ import annotations

import numpy as np

from tinysight.runtime.targets.base import OnePictureSession, load_module

# What is calculated in; the form's numbers stay as they are written. An int8 form says itself which
# operators are int8, and the rest of it is exact.
_HINTS = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoTargetSession(OnePictureSession):
    """A network as OpenVINO's intermediate representation."""

    engine = "OpenVINO"

    def _open(self) -> None:
        openvino = load_module("openvino", "openvino", "openvino", "the engine OpenVINO")
        core = openvino.Core()
        weights = openvino.Tensor(np.frombuffer(self._named(".bin"), np.uint8))
        model = core.read_model(model=self._named(".xml"), weights=weights)
        model.reshape([1, *self._shape])
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._request = core.compile_model(model, "CPU", options).create_infer_request()

    def _answer(self, picture: np.ndarray) -> np.ndarray:
        return np.array(next(iter(self._request.infer([picture[None]]).values())))
