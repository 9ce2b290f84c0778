"""The graph as an ONNX model, and the public translation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinysight.errors import MissingDependency, WeightsError
from tinysight.files import write_atomic
from tinysight.interop.paddle_folder import PaddleModel, read_paddle_inference
from tinysight.interop.to_onnx.fuse import fuse
from tinysight.interop.to_onnx.graph import Graph, Node, Tensor
from tinysight.interop.to_onnx.symbols import Dim, Side, Sym
from tinysight.interop.to_onnx.translate import NONSENSE, translate

if TYPE_CHECKING:
    import onnx

OPSET = 18
_IR_VERSION = 8
_MAX_BYTES = 2**31 - 2**20  # a protobuf message ends at 2 GiB


def paddle_to_onnx(
    folder: Path | str,
    out: Path | None = None,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> onnx.ModelProto:
    """Translate an exported Paddle folder to ONNX, opset 18, the batch left open.

    Args:
        folder: see `read_paddle_inference`.
        out: where to write the model; nowhere if None.
        inputs: names for the graph's inputs, in the program's order; the program's own names if empty.
        outputs: the same for its outputs.

    Raises:
        WeightsError: damaged or hostile files, or operators that are not covered (all of them in one message).
        MissingDependency: `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingDependency("onnx", "paddle", "translating a Paddle program") from None
    model = to_model(read_paddle_inference(folder), inputs, outputs)
    if out is not None:
        write_atomic(out, model.SerializeToString())
    assert isinstance(model, onnx.ModelProto)
    return model


def to_model(paddle: PaddleModel, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Any:
    """As `paddle_to_onnx`, of a program and weights that were read already (or put together by hand)."""
    with np.errstate(
        all="ignore"
    ):  # a weight may be anything; what comes of it is the network's answer
        graph = translate(paddle, inputs, outputs)
        try:
            fuse(graph)
            size = sum(c.nbytes for c in graph.constants.values())
            if size > _MAX_BYTES:
                what = f"{size} bytes of weights do not fit one ONNX file"
                raise WeightsError(str(paddle.folder), what)
            return _model(graph)
        except NONSENSE as error:
            what = f"cannot be translated: {type(error).__name__} {str(error)[:100]}"
            raise WeightsError(str(paddle.folder), what) from error


def _model(graph: Graph) -> Any:
    from onnx import helper, numpy_helper

    names = {tensor.name: name for name, tensor in graph.outputs}
    taken = {t.name for t in graph.inputs} | set(graph.constants)
    taken |= {n for node in graph.nodes for n in node.outputs} - set(names)
    clash = {name: f"{name}_" for name in names.values() if name in taken}
    rename = {**clash, **names}
    nodes = [_node(node, rename) for node in graph.nodes]
    proto = helper.make_graph(
        nodes,
        "network",
        [_info(t, t.name, graph) for t in graph.inputs],
        [_info(t, name, graph) for name, t in graph.outputs],
        [
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
            for name, value in graph.constants.items()
        ],
    )
    return helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="tinysight",
        ir_version=_IR_VERSION,
    )


def _node(node: Node, rename: dict[str, str]) -> Any:
    from onnx import helper

    attributes = dict(node.attributes)
    if node.op == "Cast":
        attributes["to"] = helper.np_dtype_to_tensor_dtype(np.dtype(attributes["to"]))
    ins, outs = ([rename.get(n, n) for n in names] for names in (node.inputs, node.outputs))
    return helper.make_node(node.op, ins, outs, name=outs[0], **attributes)


def _info(tensor: Tensor, name: str, graph: Graph) -> Any:
    from onnx import helper

    dtype = helper.np_dtype_to_tensor_dtype(tensor.dtype)
    return helper.make_tensor_value_info(name, dtype, [_side(s, graph) for s in tensor.shape])


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
