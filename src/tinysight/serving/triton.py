"""Writes bundles as a model repository of Triton Inference Server, under the names that our own server gives them.

Each bundle becomes two models: NAME, its network for Triton's ONNX Runtime backend, and NAME.image for the Python
backend, where tinysight has to be installed, from the bytes of files to results in JSON.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tinysight.bundle import MODEL, Bundle, new_bundle
from tinysight.files import write_atomic
from tinysight.graph.onnx_file import Port, read_onnx
from tinysight.serving.tensors import BYTES, datatype

_PYTHON = '''\
"""From image files to the results of `tinysight predict`, as JSON; written by tinysight."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as backend
from tinysight import Unreadable, open_bundle


class TritonPythonModel:
    def initialize(self, args):
        folder = Path(args["model_repository"], args["model_version"], "bundle")
        self.pipeline = open_bundle(folder, workers=1)

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        images = backend.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)
        results = self.pipeline.batch(images.tolist(), errors="return")
        for i, result in enumerate(results):
            if isinstance(result, Unreadable):
                error = backend.TritonError(f"image {i}: {result.reason}")
                return backend.InferenceResponse(error=error)
        texts = [json.dumps(result.named("").to_json()).encode() for result in results]
        output = backend.Tensor("result", np.array(texts, object))
        return backend.InferenceResponse([output])
'''


def write_repository(folder: str | Path, models: Mapping[str, Mapping[str, str]]) -> Path:
    """The repository in a new folder, which appears whole or not at all.

    Args:
        folder: must not exist, or be empty.
        models: folders of bundles by name and version.

    Raises:
        BundleError: the folder exists, or a bundle is damaged.
    """
    with new_bundle(folder) as draft:
        for name, versions in models.items():
            for version, source in versions.items():
                _write(draft, name, version, Bundle.load(source))
    return Path(folder)


def _write(draft: Path, name: str, version: str, bundle: Bundle) -> None:
    network = read_onnx(bundle.model)
    inputs, outputs = map(_tensor, network.inputs), map(_tensor, network.outputs)
    write_atomic(draft / name / version / MODEL, bundle.model)
    config = _config(name, 'platform: "onnxruntime_onnx"', inputs, outputs)
    write_atomic(draft / name / "config.pbtxt", config)
    image, text = ("image", BYTES, [-1]), ("result", BYTES, [-1])
    config = _config(f"{name}.image", 'backend: "python"', [image], [text])
    home = draft / f"{name}.image"
    write_atomic(home / "config.pbtxt", config)
    write_atomic(home / version / "model.py", _PYTHON)
    shutil.copytree(bundle.folder, home / version / "bundle")


def _tensor(port: Port) -> tuple[str, str, list[int]]:
    """Name, data type and sides of a tensor; -1 for an open one."""
    sides = [side if isinstance(side, int) else -1 for side in port.shape or ()]
    return port.name, datatype(np.empty(0, port.dtype or np.float32)), sides


def _config(
    name: str, runner: str, inputs: Iterable[tuple[str, str, list[int]]],
    outputs: Iterable[tuple[str, str, list[int]]],
) -> str:  # fmt: skip
    lines = [f'name: "{name}"', runner, "max_batch_size: 0"]
    for kind, rows in (("input", inputs), ("output", outputs)):
        for tensor, data_type, dims in rows:
            triton = "TYPE_STRING" if data_type == BYTES else f"TYPE_{data_type}"
            about = f'name: "{tensor}" data_type: {triton} dims: {dims}'
            lines.append(f"{kind} [{{ {about} }}]")
    return "\n".join(lines) + "\n"
