"""torch's own exported program."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import torch

from tinysight.export.targets.base import Network
from tinysight.export.targets.graph_module import exported, quiet
from tinysight.registry import targets
from tinysight.runtime.targets.base import OnePictureSession


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


class Pt2Session(OnePictureSession):
    """A network as `.pt2`."""

    engine = "torch"

    def _open(self) -> None:
        with quiet():
            self._module = torch.export.load(io.BytesIO(self._named(".pt2"))).module()

    def _answer(self, picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.array(self._module(torch.from_numpy(picture[None].copy())).numpy())
