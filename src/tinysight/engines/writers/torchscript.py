"""TorchScript, for libtorch."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import torch

from tinysight.engines.one_image import OneImageSession
from tinysight.engines.writers.base import Network
from tinysight.engines.writers.graph_module import GraphModule, quiet
from tinysight.registry import targets


@targets.register("torchscript")
class TorchScript:
    """`.torchscript`: a traced program, which libtorch runs without Python."""

    precisions: ClassVar = ("fp32",)
    packages: ClassVar = ("torch",)

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.torchscript`."""
        into = io.BytesIO()
        with quiet(), torch.inference_mode():
            module = GraphModule(network.graph).eval()
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                module, torch.zeros((1, *network.shape))
            )
            torch.jit.save(torch.jit.freeze(traced), into)
        return {f"{stem}.torchscript": into.getvalue()}


class TorchScriptSession(OneImageSession):
    """A network as `.torchscript`."""

    engine = "torch"

    def _open(self) -> None:
        with quiet():
            self._module = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(self._named(".torchscript"))
            )

    def _answer(self, image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.array(self._module(torch.from_numpy(image[None].copy())).numpy())
