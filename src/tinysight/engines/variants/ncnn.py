"""ncnn: for telephones and boards."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from tinysight.engines.one_image import OneImageSession, load_module

_HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")


class NcnnSession(OneImageSession):
    """A network as `.ncnn.param` and `.ncnn.bin`."""

    engine = "ncnn"

    def _open(self) -> None:
        self._ncnn = load_module("ncnn", "ncnn", "ncnn", "the engine ncnn")
        self._net = self._ncnn.Net()
        self._net.opt.num_threads = self._threads
        for name in _HALVES:  # on by default, where the processor has them: not what was asked for
            setattr(self._net.opt, name, False)
        # Its Python reads weights from files only.
        with tempfile.TemporaryDirectory() as folder:
            for ending, load in ((".param", self._net.load_param), (".bin", self._net.load_model)):
                path = Path(folder, f"model{ending}")
                path.write_bytes(self._named(ending))
                if load(os.fspath(path)) != 0:
                    raise ValueError(f"{ending[1:]} is refused")
        self._input, self._output = self._net.input_names()[0], self._net.output_names()[0]

    def _answer(self, image: np.ndarray) -> np.ndarray:
        extractor = self._net.create_extractor()
        # A copy of its own: the extractor may outlive the array that it would else refer to.
        extractor.input(self._input, self._ncnn.Mat(image).clone())
        status, scores = extractor.extract(self._output)
        if status != 0:
            raise RuntimeError(f"ncnn stops with status {status}")
        return np.array(scores)
