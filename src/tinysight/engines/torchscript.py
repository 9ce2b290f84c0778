"""TorchScript, for libtorch, and torch's own exported program, for whoever goes on from there in torch."""

from __future__ import annotations

import io
import os
import re
import zipfile
import zlib
from typing import Any, ClassVar

import numpy as np

from tinysight.engines.base import OneImageEngine, OnnxNetwork, VariantFiles, load_module
from tinysight.registry import engines

_DATA_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_MOST_CODE = 64 << 20  # bytes of a program without its weights
_FILES = re.compile(rb"\bfrom_file\b|\btorch\.save\b")  # what programs of torch reach files by


def _check_contained(data: bytes) -> None:
    """Raise `ValueError` where the program in the archive `data` asks for a file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            code = [e for e in archive.infolist() if e.filename.endswith((".py", ".json"))]
            if sum(entry.file_size for entry in code) > _MOST_CODE:
                raise ValueError("its program is far too large")
            if found := _FILES.search(b"\n".join(map(archive.read, code))):
                raise ValueError(f"it asks for a file ({found[0].decode()})")
    except (zipfile.BadZipFile, NotImplementedError, zlib.error) as error:
        raise ValueError(f"no archive: {error}") from None


class TorchEngine(OneImageEngine):
    """Base of the engines that are torch itself."""

    title: ClassVar = "torch"
    packages: ClassVar = ("torch",)

    def _scores(self, image: np.ndarray) -> Any:
        with self._torch.inference_mode():
            return np.array(self._module(self._torch.from_numpy(image[None].copy())).numpy())

    def _open(self, model: VariantFiles, threads: int) -> None:
        self._torch = load_module("torch", "torch", extra="train")
        data = next(iter(model.files.values()))
        _check_contained(data)
        with load_module("tinysight.engines.torch_graph", "torch").quiet():
            self._module = self._load(data)

    def _load(self, data: bytes) -> Any:
        """The program in `data`."""
        raise NotImplementedError


@engines.register("torchscript")
class TorchScript(TorchEngine):
    """A network as `.torchscript`: a traced program, which libtorch runs without Python."""

    @staticmethod
    def write(network: OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.torchscript`."""
        torch = load_module("torch", "torchscript", "torch", "train")
        torch_graph = load_module("tinysight.engines.torch_graph", "torchscript")
        into = io.BytesIO()
        with torch_graph.quiet(), torch.inference_mode():
            torch.jit.save(torch.jit.freeze(torch.jit.trace(*torch_graph.traceable(network))), into)
        return {f"{stem}.torchscript": into.getvalue()}

    def _load(self, data: bytes) -> Any:
        return self._torch.jit.load(io.BytesIO(data))


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
        before = os.environ.get(_DATA_ONLY)
        os.environ[_DATA_ONLY] = "1"  # else torch falls back to pickles that may run anything
        try:
            return self._torch.export.load(io.BytesIO(data)).module()
        finally:
            os.environ.pop(_DATA_ONLY)
            os.environ.update({_DATA_ONLY: before} if before is not None else {})
