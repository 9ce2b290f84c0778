"""MNN, for Android and iOS; written by its own converter."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinysight.engines.base import OneImageEngine, OnnxNetwork, VariantFiles, convert, load_module
from tinysight.registry import engines

# Not `mnnconvert`: that command installs a package by itself and reports the conversion to a server.
_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"
_WINOGRAD = 3  # MNN's number of the hint: how large the tiles of Winograd's method may be
# "high" is float32 throughout; "low" calculates in halves where the processor does.
_PRECISION = {"fp32": "high", "fp16": "high", "bf16": "low_BF16"}


@engines.register("mnn")
class Mnn(OneImageEngine):
    """A network as `.mnn`."""

    title: ClassVar = "MNN"
    precisions: ClassVar = ("fp32", "fp16")
    packages: ClassVar = ("MNN",)

    @staticmethod
    def write(network: OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.mnn`; in fp16 the weights are kept in halves."""
        load_module("MNN", "mnn", "MNN")
        options = ["-f", "ONNX", "--modelFile", "network.onnx", "--MNNModel", "network.mnn"]
        options += ["--bizCode", "tinysight", *(["--fp16"] if precision == "fp16" else [])]
        command = [sys.executable, "-c", _CONVERT, *options]
        return convert("mnn", command, network.model, {"network.mnn": f"{stem}.mnn"})

    def _open(self, model: VariantFiles, threads: int) -> None:
        mnn = load_module("MNN", "mnn", "MNN")
        self._expr = load_module("MNN.expr", "mnn", "MNN")
        options = {"backend": "CPU", "numThread": threads, "precision": _PRECISION[model.precision]}
        self._manager = mnn.nn.create_runtime_manager((options,))
        # Large tiles save time and lose three digits of float32.
        self._manager.set_hint(_WINOGRAD, 0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.mnn")
            path.write_bytes(model.ending(".mnn")[1])
            load = mnn.nn.load_module_from_file
            self._module = load(str(path), ["images"], ["scores"], runtime_manager=self._manager)
            if self._module is None:
                raise ValueError("MNN refuses the file")
            self._scores(np.zeros(self._shape, np.float32))  # some of it is read now only

    def _scores(self, image: np.ndarray) -> Any:
        expr = self._expr
        given = expr.const(image[None], [1, *image.shape], expr.NCHW, expr.float)
        (scores,) = self._module.forward([given])
        if scores.data_format == expr.NC4HW4:
            scores = expr.convert(scores, expr.NCHW)
        return np.array(scores.read())
