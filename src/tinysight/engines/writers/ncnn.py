"""ncnn, through pnnx."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from tinysight.engines.one_image import load_module
from tinysight.engines.writers.base import Network, run_converter
from tinysight.errors import ExportError
from tinysight.graph.onnx_file import OnnxModel
from tinysight.registry import targets


@targets.register("ncnn")
class Ncnn:
    """`.ncnn.param` and `.ncnn.bin`, for Android, iOS and boards."""

    precisions: ClassVar = ("fp32", "fp16")
    packages: ClassVar = ("pnnx", "ncnn")

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.ncnn.param`, `<stem>.ncnn.bin`; in fp16 the weights are kept in halves."""
        pnnx = load_module("pnnx", "pnnx", "ncnn", "the target ncnn")
        shape = ",".join(map(str, (1, *network.shape)))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "network.onnx").write_bytes(with_offsets(network.graph).to_bytes())
            half = f"fp16={int(precision == 'fp16')}"
            command = [pnnx.EXEC_PATH, "network.onnx", f"inputshape=[{shape}]", half]
            run_converter("ncnn", command, folder)
            files = {
                f"{stem}.ncnn.{end}": folder / f"network.ncnn.{end}" for end in ("param", "bin")
            }
            if not all(path.is_file() for path in files.values()):
                raise ExportError("ncnn", "pnnx wrote no network", "please report it")
            return {name: path.read_bytes() for name, path in files.items()}


def with_offsets(graph: OnnxModel) -> OnnxModel:
    """Every Gemm with an offset: without one pnnx writes a product of two matrices.

    ncnn gives that product the vector before it in blocks of 16 numbers, and reads each block as a row.
    """
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        if node.op == "Gemm" and len(node.inputs) == 2 and node.inputs[1] in constants:
            weight = constants[node.inputs[1]]
            columns = weight.shape[0 if node.attributes.get("transB") else 1]
            name = f"{node.outputs[0]}_offset"
            constants[name] = np.zeros(columns, np.float32)
            node = node._replace(inputs=(*node.inputs, name))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)
