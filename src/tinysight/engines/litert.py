"""LiteRT: TensorFlow Lite's interpreter with XNNPACK; written by litert-torch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinysight.engines.base import OneImageEngine, OnnxNetwork, VariantFiles, load_module
from tinysight.registry import engines


@engines.register("litert")
class LiteRt(OneImageEngine):
    """A network as `.tflite`, for Android, iOS and larger microcontrollers."""

    title: ClassVar = "LiteRT"
    packages: ClassVar = ("ai-edge-litert", "litert-torch", "torch")

    @staticmethod
    def write(network: OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.tflite`; images stay (C, H, W), as everywhere else."""
        torch_graph = load_module("tinysight.engines.torch_graph", "litert", "torch")
        with torch_graph.quiet(), tempfile.TemporaryDirectory() as folder:
            converter = load_module("litert_torch", "litert", "litert-torch")
            path = Path(folder, "network.tflite")
            module, images = torch_graph.traceable(network)
            converter.convert(module, images).export(str(path))
            return {f"{stem}.tflite": path.read_bytes()}

    def _open(self, model: VariantFiles, threads: int) -> None:
        interpreter = load_module("ai_edge_litert.interpreter", "litert", "ai-edge-litert")
        self._model = model.ending(".tflite")[1]  # it refers to these bytes
        self._interpreter = interpreter.Interpreter(model_content=self._model, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def _scores(self, image: np.ndarray) -> Any:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._output))
