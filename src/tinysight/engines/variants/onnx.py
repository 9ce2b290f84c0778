"""A second ONNX file of the bundle: quantised, or for other readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinysight.engines.onnxruntime import OnnxSession


class OnnxTargetSession(OnnxSession):
    """ONNX Runtime on the form's file; as many images at once as one likes."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        shape: Sequence[int | None],
        classes: int,
        precision: str = "fp32",
        threads: int = 1,
        streams: int = 1,
    ) -> None:
        (model,) = files.values()
        super().__init__(model, threads)
