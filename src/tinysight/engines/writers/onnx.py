"""ONNX itself: as it is, or with its convolutions in int8."""

from __future__ import annotations

from typing import ClassVar

from tinysight.engines.writers.base import Network
from tinysight.registry import targets


@targets.register("onnx")
class Onnx:
    """ONNX with another precision; in fp32 it is `model.onnx`, which every bundle has."""

    precisions: ClassVar = ("fp32", "int8")
    packages: ClassVar = ("onnxruntime",)

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.onnx`; nothing in fp32."""
        if precision == "fp32" or network.quantized is None:
            return {}
        return {f"{stem}.onnx": network.quantized}
