"""LiteRT: TensorFlow Lite's interpreter with XNNPACK."""

from __future__ import annotations

import numpy as np

from tinysight.engines.one_image import OneImageSession, load_module


class LiteRtSession(OneImageSession):
    """A network as `.tflite`."""

    engine = "LiteRT"

    def _open(self) -> None:
        interpreter = load_module(
            "ai_edge_litert.interpreter", "ai-edge-litert", "litert", "the engine LiteRT"
        )
        self._model = self._named(".tflite")  # it refers to these bytes
        self._interpreter = interpreter.Interpreter(
            model_content=self._model, num_threads=self._threads
        )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def _answer(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._output))
