"""CoreML, where the system has it."""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from tinysight.engines.one_image import OneImageSession, load_module
from tinysight.engines.writers.base import Network
from tinysight.engines.writers.graph_module import GraphModule, quiet
from tinysight.errors import ExportError
from tinysight.registry import targets


@targets.register("coreml")
class CoreMl:
    """A zipped `.mlpackage` for macOS and iOS."""

    precisions: ClassVar = ("fp32", "fp16")
    packages: ClassVar = ("coremltools",)

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.mlpackage.zip`."""
        if sys.platform != "darwin":
            what = (
                f"a written model can only be run, and so checked, on macOS; this is {sys.platform}"
            )
            raise ExportError("coreml", what, "export on a Mac")
        tools = load_module("coremltools", "coremltools", None, "the target coreml")
        image = torch.zeros((1, *network.shape))
        with quiet(), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
            traced = torch.jit.trace(GraphModule(network.graph).eval(), image)
            exact = tools.precision.FLOAT32 if precision == "fp32" else tools.precision.FLOAT16
            model = tools.convert(
                traced,
                inputs=[tools.TensorType(name="images", shape=tuple(image.shape))],
                outputs=[tools.TensorType(name="scores")],
                compute_precision=exact,
                minimum_deployment_target=tools.target.iOS15,
            )
            path = Path(folder, f"{stem}.mlpackage")
            model.save(os.fspath(path))
            into = BytesIO()
            with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(p for p in path.rglob("*") if p.is_file()):
                    archive.write(file, file.relative_to(path.parent))
            return {f"{stem}.mlpackage.zip": into.getvalue()}


class CoreMlSession(OneImageSession):
    """A network as a zipped `.mlpackage`."""

    engine = "CoreML"

    def _open(self) -> None:
        tools = load_module("coremltools", "coremltools", None, "the engine CoreML")
        self._folder = tempfile.TemporaryDirectory()  # it maps its weights from there
        with zipfile.ZipFile(BytesIO(self._named(".mlpackage.zip"))) as archive:
            archive.extractall(self._folder.name)  # made by `write`, and hashed in the manifest
        (package,) = Path(self._folder.name).glob("*.mlpackage")
        self._model = tools.models.MLModel(os.fspath(package))

    def _answer(self, image: np.ndarray) -> np.ndarray:
        return np.array(self._model.predict({"images": image[None]})["scores"])
