"""LiteRT, through litert-torch."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import ClassVar

import torch

from tinysight.engines.one_image import load_module
from tinysight.engines.writers.base import Network
from tinysight.engines.writers.graph_module import GraphModule, quiet
from tinysight.registry import targets


@targets.register("litert")
class LiteRt:
    """`.tflite`, for Android, iOS and microcontrollers' bigger brothers."""

    precisions: ClassVar = ("fp32",)
    packages: ClassVar = ("litert-torch", "ai-edge-litert", "torch")

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.tflite`; images stay (C, H, W), as everywhere else."""
        with quiet(), tempfile.TemporaryDirectory() as folder:
            converter = load_module("litert_torch", "litert-torch", "litert", "the target litert")
            image = torch.zeros((1, *network.shape))
            path = Path(folder, "network.tflite")
            converter.convert(GraphModule(network.graph).eval(), (image,)).export(os.fspath(path))
            return {f"{stem}.tflite": path.read_bytes()}
