"""ncnn, for Android, iOS and embedded boards; written by pnnx."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinysight.engines.base import OneImageEngine, OnnxNetwork, VariantFiles, convert, load_module
from tinysight.registry import engines

if TYPE_CHECKING:
    from tinysight.graph.onnx_file import OnnxModel

_HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")


@engines.register("ncnn")
class Ncnn(OneImageEngine):
    """A network as `.ncnn.param` and `.ncnn.bin`."""

    title: ClassVar = "ncnn"
    precisions: ClassVar = ("fp32", "fp16")
    packages: ClassVar = ("ncnn", "pnnx")

    @staticmethod
    def write(network: OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.ncnn.param`, `<stem>.ncnn.bin`; in fp16 the weights are kept in halves."""
        pnnx = load_module("pnnx", "ncnn", "pnnx")
        shape = ",".join(map(str, (1, *network.shape)))
        half = f"fp16={int(precision == 'fp16')}"
        command = [pnnx.EXEC_PATH, "network.onnx", f"inputshape=[{shape}]", half]
        results = {f"network.{end}": f"{stem}.{end}" for end in ("ncnn.param", "ncnn.bin")}
        return convert("ncnn", command, with_offsets(network.graph).to_bytes(), results)

    def _open(self, model: VariantFiles, threads: int) -> None:
        self._ncnn = load_module("ncnn", "ncnn")
        self._net = self._ncnn.Net()
        self._net.opt.num_threads = threads
        for name in _HALVES:  # on by default, where the processor has them: not what was asked for
            setattr(self._net.opt, name, False)
        # Its Python reads weights from files only.
        with tempfile.TemporaryDirectory() as folder:
            for ending, load in ((".param", self._net.load_param), (".bin", self._net.load_model)):
                path = Path(folder, f"model{ending}")
                path.write_bytes(model.ending(ending)[1])
                if load(str(path)) != 0:
                    raise ValueError(f"{ending[1:]} is refused")
        self._input, self._output = self._net.input_names()[0], self._net.output_names()[0]

    def _scores(self, image: np.ndarray) -> Any:
        extractor = self._net.create_extractor()
        # A copy of its own: the extractor may outlive the array that it would else refer to.
        extractor.input(self._input, self._ncnn.Mat(image).clone())
        status, scores = extractor.extract(self._output)
        if status != 0:
            raise RuntimeError(f"ncnn stops with status {status}")
        return np.array(scores)


def with_offsets(graph: OnnxModel) -> OnnxModel:
    """Every Gemm with an offset: without one pnnx writes a product of two matrices.

    ncnn gives that product the vector before it in blocks of 16 numbers, and reads each block as a row.
    """
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        if node.op == "Gemm" and len(node.inputs) == 2 and node.inputs[1] in constants:
            columns = constants[node.inputs[1]].shape[0 if node.attributes.get("transB") else 1]
            name = f"{node.outputs[0]}_offset"
            constants[name] = np.zeros(columns, np.float32)
            node = node._replace(inputs=(*node.inputs, name))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)
