"""`.pt2`: torch's own exported program."""

from __future__ import annotations

import io
from typing import Any

from tinysight.engines.base import OnnxNetwork, load_module
from tinysight.engines.torchscript import TorchEngine
from tinysight.registry import engines


@engines.register("pt2")
class Pt2(TorchEngine):
    """A network as `.pt2`: what `torch.export` makes."""

    @staticmethod
    def write(network: OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.pt2`."""
        torch = load_module("torch", "pt2", "torch", "train")
        torch_graph = load_module("tinysight.engines.torch_graph", "pt2")
        into = io.BytesIO()
        with torch_graph.quiet():
            torch.export.save(torch_graph.exported(network), into)
        return {f"{stem}.pt2": into.getvalue()}

    def _load(self, data: bytes) -> Any:
        return self._torch.export.load(io.BytesIO(data)).module()
