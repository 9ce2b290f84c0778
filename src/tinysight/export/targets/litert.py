"""LiteRT, through litert-torch."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import ClassVar

import torch

from tinysight.export.targets.base import Network
from tinysight.export.targets.graph_module import GraphModule, quiet
from tinysight.registry import targets
from tinysight.runtime.targets.base import load_module


@targets.register("litert")
class LiteRt:
    """`.tflite`, for Android, iOS and microcontrollers' bigger brothers."""

    precisions: ClassVar = ("fp32",)
    packages: ClassVar = ("litert-torch", "ai-edge-litert", "torch")

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.tflite`; pictures stay (C, H, W), as everywhere else."""
        with quiet(), tempfile.TemporaryDirectory() as folder:
            converter = load_module("litert_torch", "litert-torch", "litert", "the target litert")
            picture = torch.zeros((1, *network.shape))
            path = Path(folder, "network.tflite")
            converter.convert(GraphModule(network.graph).eval(), (picture,)).export(os.fspath(path))
            return {f"{stem}.tflite": path.read_bytes()}
