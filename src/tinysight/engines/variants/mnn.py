"""MNN: for telephones."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from tinysight.engines.one_image import OneImageSession, load_module

# "high" is float32 throughout; "low" calculates in halves where the processor does.
_WINOGRAD = 3  # MNN's number of the hint: how large the tiles of Winograd's method may be
_PRECISION = {"fp32": "high", "fp16": "high", "bf16": "low_BF16"}


class MnnSession(OneImageSession):
    """A network as `.mnn`."""

    engine = "MNN"

    def _open(self) -> None:
        engine = load_module("MNN", "MNN", "mnn", "the engine MNN")
        self._expr = load_module("MNN.expr", "MNN", "mnn", "the engine MNN")
        options = {
            "backend": "CPU",
            "numThread": self._threads,
            "precision": _PRECISION[self._precision],
        }
        self._runtime = engine.nn.create_runtime_manager((options,))
        # Large tiles save time and lose three digits of float32.
        self._runtime.set_hint(_WINOGRAD, 0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.mnn")
            path.write_bytes(self._named(".mnn"))
            self._module = engine.nn.load_module_from_file(
                os.fspath(path), ["images"], ["scores"], runtime_manager=self._runtime
            )
            if self._module is None:
                raise ValueError("MNN refuses the file")
            self._answer(np.zeros(self._shape, np.float32))  # some of it is read now only

    def _answer(self, image: np.ndarray) -> np.ndarray:
        expr = self._expr
        shape = [1, *image.shape]
        (scores,) = self._module.forward([expr.const(image[None], shape, expr.NCHW, expr.float)])
        if scores.data_format == expr.NC4HW4:
            scores = expr.convert(scores, expr.NCHW)
        return np.array(scores.read())
