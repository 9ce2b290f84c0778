"""ExecuTorch with XNNPACK."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from tinysight.engines.one_image import OneImageSession, load_module
from tinysight.engines.writers.base import Network
from tinysight.engines.writers.graph_module import exported, quiet
from tinysight.registry import targets


@targets.register("executorch")
class ExecuTorch:
    """`.pte`, for Android and iOS, with XNNPACK's kernels."""

    precisions: ClassVar = ("fp32",)
    packages: ClassVar = ("executorch", "torch")

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.pte`."""
        with quiet():
            exir = load_module(
                "executorch.exir", "executorch", "executorch", "the target executorch"
            )
            xnnpack = load_module(
                "executorch.backends.xnnpack.partition.xnnpack_partitioner",
                "executorch", "executorch", "the target executorch",
            )  # fmt: skip
            edge = exir.to_edge_transform_and_lower(
                exported(network), partitioner=[xnnpack.XnnpackPartitioner()]
            )
            return {f"{stem}.pte": bytes(edge.to_executorch().buffer)}


class ExecuTorchSession(OneImageSession):
    """A network as `.pte`."""

    engine = "ExecuTorch"

    def _open(self) -> None:
        with quiet():
            runtime = load_module(
                "executorch.runtime", "executorch", "executorch", "the engine ExecuTorch"
            )
            self._data = self._named(".pte")  # the program refers to it
            self._program = runtime.Runtime.get().load_program(self._data)
            self._method = self._program.load_method("forward")

    def _answer(self, image: np.ndarray) -> np.ndarray:
        (scores,) = self._method.execute([torch.from_numpy(image[None].copy())])
        return np.array(scores.numpy())
