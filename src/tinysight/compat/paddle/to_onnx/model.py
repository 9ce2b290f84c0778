"""The graph as an ONNX model, and the public translation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinysight.compat.paddle.folder import PaddleModel, read_paddle_inference
from tinysight.compat.paddle.to_onnx.fuse import fuse
from tinysight.compat.paddle.to_onnx.graph import Graph, Tensor
from tinysight.compat.paddle.to_onnx.symbols import Dim, Side, Sym
from tinysight.compat.paddle.to_onnx.translate import NONSENSE, translate
from tinysight.errors import WeightsError
from tinysight.files import write_atomic
from tinysight.graph.onnx_file import MAX_BYTES, Node, OnnxModel, Port

OPSET = 18


def paddle_to_onnx(
    folder: Path | str,
    out: Path | None = None,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> OnnxModel:
    """Translate an exported Paddle folder to ONNX, opset 18, the batch left open.

    Args:
        folder: see `read_paddle_inference`.
        out: where to write the model; nowhere if None.
        inputs: names for the graph's inputs, in the program's order; the program's own names if empty.
        outputs: the same for its outputs.

    Raises:
        WeightsError: damaged or hostile files, or operators that are not covered (all of them in one message).
    """
    model = to_model(read_paddle_inference(folder), inputs, outputs)
    if out is not None:
        write_atomic(out, model.chunks())
    return model


def to_model(
    paddle: PaddleModel, inputs: Sequence[str] = (), outputs: Sequence[str] = ()
) -> OnnxModel:
    """As `paddle_to_onnx`, of a program and weights that were read already (or put together by hand)."""
    with np.errstate(
        all="ignore"
    ):  # a weight may be anything; what comes of it is the network's answer
        graph = translate(paddle, inputs, outputs)
        try:
            fuse(graph)
            size = sum(c.nbytes for c in graph.constants.values())
            if size > MAX_BYTES:
                what = f"{size} bytes of weights do not fit one ONNX file"
                raise WeightsError(str(paddle.folder), what)
            return finished(graph)
        except NONSENSE as error:
            what = f"cannot be translated: {type(error).__name__} {str(error)[:100]}"
            raise WeightsError(str(paddle.folder), what) from error


def finished(graph: Graph) -> OnnxModel:
    """The model that `graph` is by now; its outputs take their public names."""
    names = {tensor.name: name for name, tensor in graph.outputs}
    taken = {t.name for t in graph.inputs} | set(graph.constants)
    taken |= {n for node in graph.nodes for n in node.outputs} - set(names)
    rename = {**{name: f"{name}_" for name in names.values() if name in taken}, **names}

    def renamed(old: Sequence[str]) -> tuple[str, ...]:
        return tuple(rename.get(name, name) for name in old)

    return OnnxModel(
        nodes=tuple(
            Node(n.op, renamed(n.inputs), (made := renamed(n.outputs)), n.attributes, made[0])
            for n in graph.nodes
        ),
        constants={rename.get(name, name): array for name, array in graph.constants.items()},
        inputs=tuple(_port(t, t.name, graph) for t in graph.inputs),
        outputs=tuple(_port(t, name, graph) for name, t in graph.outputs),
        opset=OPSET,
    )


def _port(tensor: Tensor, name: str, graph: Graph) -> Port:
    return Port(name, tensor.dtype, tuple(_side(side, graph) for side in tensor.shape))


def _side(side: Side, graph: Graph) -> int | str | None:
    """A side for the model's interface: a number, the name of an input's side, or nothing."""
    if not isinstance(side, Sym):
        return side
    match side:
        case Sym(1, (Dim(tensor, axis),)) if any(t.name == tensor for t in graph.inputs):
            letters = "NCHW"
            return (
                letters[axis] if axis < 4 and tensor == graph.inputs[0].name else f"{tensor}_{axis}"
            )
    return None
