"""torch's own exported program."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import torch

from tinysight.engines.one_image import OneImageSession
from tinysight.engines.writers.base import Network
from tinysight.engines.writers.graph_module import exported, quiet
from tinysight.registry import targets


@targets.register("pt2")
class Pt2:
    """`.pt2`: what `torch.export` makes, for whoever goes on from there in torch."""

    precisions: ClassVar = ("fp32",)
    packages: ClassVar = ("torch",)

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.pt2`."""
        into = io.BytesIO()
        with quiet():
            torch.export.save(exported(network), into)
        return {f"{stem}.pt2": into.getvalue()}


class Pt2Session(OneImageSession):
    """A network as `.pt2`."""

    engine = "torch"

    def _open(self) -> None:
        with quiet():
            self._module = torch.export.load(io.BytesIO(self._named(".pt2"))).module()

    def _answer(self, image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.array(self._module(torch.from_numpy(image[None].copy())).numpy())
