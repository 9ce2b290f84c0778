"""OpenVINO's intermediate representation."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import ClassVar

from tinysight.engines.one_image import load_module
from tinysight.engines.writers.base import Network
from tinysight.registry import targets


@targets.register("openvino")
class OpenVino:
    """`.xml` and `.bin` for OpenVINO on CPU, GPU and NPU."""

    precisions: ClassVar = ("fp32", "fp16", "bf16", "int8")
    packages: ClassVar = ("openvino",)

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.xml`, `<stem>.bin`; weights in halves for fp16, and for bf16, which calculates in less."""
        openvino = load_module("openvino", "openvino", "openvino", "the target openvino")
        source = network.quantized if precision == "int8" else network.model
        model = openvino.Core().read_model(model=source)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{stem}.xml")
            openvino.save_model(model, os.fspath(path), compress_to_fp16=precision == "fp16")
            return {p.name: p.read_bytes() for p in (path, path.with_suffix(".bin"))}
