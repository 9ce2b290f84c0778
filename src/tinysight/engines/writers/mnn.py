"""MNN, through its converter."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import ClassVar

from tinysight.engines.one_image import load_module
from tinysight.engines.writers.base import Network, run_converter
from tinysight.errors import ExportError
from tinysight.registry import targets

# Not `mnnconvert`: that command installs a package by itself and reports the conversion to a server.
_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"


@targets.register("mnn")
class Mnn:
    """`.mnn`, for Android and iOS."""

    precisions: ClassVar = ("fp32", "fp16")
    packages: ClassVar = ("MNN",)

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.mnn`; in fp16 the weights are kept in halves."""
        load_module("MNN", "MNN", "mnn", "the target mnn")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "network.onnx").write_bytes(network.model)
            options = ["-f", "ONNX", "--modelFile", "network.onnx", "--MNNModel", "network.mnn"]
            options += ["--bizCode", "tinysight", *(["--fp16"] if precision == "fp16" else [])]
            run_converter("mnn", [sys.executable, "-c", _CONVERT, *options], folder)
            written = folder / "network.mnn"
            if not written.is_file():
                raise ExportError("mnn", "its converter wrote no network", "please report it")
            return {f"{stem}.mnn": written.read_bytes()}
