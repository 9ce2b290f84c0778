"""From an exported Paddle program to an ONNX model: walk the operators once, each through its handler in the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinysight.compat.paddle.folder import PaddleModel, read_paddle_inference
from tinysight.compat.paddle.program import Op, Program
from tinysight.compat.paddle.to_onnx.table import TABLE, Handler, OpContext
from tinysight.errors import WeightsError
from tinysight.files import write_atomic
from tinysight.graph import builder
from tinysight.graph.builder import NONSENSE, Graph, GraphTensor, Unsupported
from tinysight.graph.fuse import fuse
from tinysight.graph.onnx_file import MAX_BYTES, OnnxModel

for _name in "constants detect elementwise fused_ops image layers reduce shape_ops".split():  # noqa: SIM905
    import_module(f"tinysight.compat.paddle.to_onnx.{_name}")  # fills the table

_LISTS = ("builtin.combine", "builtin.split", "builtin.slice")
_OUTPUTS = ("Out", "Output", "Y")
_Names: TypeAlias = Sequence[str]


def paddle_to_onnx(
    folder: Path | str, out: Path | None = None, *, inputs: _Names = (), outputs: _Names = ()
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


def to_model(paddle: PaddleModel, inputs: _Names = (), outputs: _Names = ()) -> OnnxModel:
    """As `paddle_to_onnx`, of a program and weights that were read already (or put together by hand)."""
    with np.errstate(all="ignore"):  # a weight may be anything
        graph = translate(paddle, inputs, outputs)
        try:
            fuse(graph)
            size = sum(c.nbytes for c in graph.constants.values())
            if size <= MAX_BYTES:
                return builder.to_model(graph)
            what = f"{size} bytes of weights do not fit one ONNX file"
        except NONSENSE as error:
            what = f"cannot be translated: {type(error).__name__} {str(error)[:100]}"
    raise WeightsError(str(paddle.folder), what)


def covered(kind: str) -> Handler | None:
    """The entry of an operator; the numbered form marks operators that work in place with an underscore."""
    return TABLE.get(kind) or TABLE.get(kind.rstrip("_"))


def translate(
    model: PaddleModel, inputs: _Names = (), outputs: _Names = (), *, open_weights: bool = False
) -> Graph:
    """Translate a program with its weights.

    Args:
        model: the exported folder.
        inputs: names for the graph's inputs, in the program's order; the program's own where empty.
        outputs: the same for its outputs.
        open_weights: float weights are further inputs of the graph, so that nothing is computed of them now.

    Raises:
        WeightsError: operators that are not covered, all in one message, or one that is used in a way that is not.
    """
    program, where = model.program, str(model.folder)
    ops = _needed(program)
    missing = Counter(op.type for op in ops if op.type not in _LISTS and covered(op.type) is None)
    if missing:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(missing.items()))
        raise WeightsError(where, f"operators that are not covered: {names}")
    graph = Graph()
    values: dict[str, Any] = {}
    given = [*inputs, *(p.name for p in program.inputs[len(inputs) :])]
    for port, name in zip(program.inputs, given, strict=True):
        kind = program.types[port.value]
        try:
            values[port.value] = graph.add_input(name, kind.dtype, kind.shape)
        except (Unsupported, TypeError) as error:
            raise WeightsError(where, f"input {name}: {error}") from None
    for value, name in program.parameters.items():
        if program.types[value].dtype == "bfloat16":
            raise WeightsError(where, f"parameter {name} is bfloat16", "export it in float32")
        weight = model.weights[name]
        if open_weights and weight.dtype.kind == "f":
            values[value] = graph.add_input(name, str(weight.dtype), weight.shape)
        else:
            values[value] = weight
            graph.name_constant(weight, name)
    for index, op in enumerate(ops):
        try:
            _one(graph, op, values)
        except Unsupported as error:
            at = f"operator {index} ({op.type})"
            raise WeightsError(where, f"{at}: {error}", "not covered") from None
        except NONSENSE as error:
            why = f"cannot be translated: {type(error).__name__} {str(error)[:100]}"
            raise WeightsError(where, f"operator {index} ({op.type}) {why}") from None
    _outputs(graph, model, values, outputs)
    return graph


def _needed(program: Program) -> list[Op]:
    """The operators that an output depends on, in order."""
    wanted = {port.value for port in program.outputs}
    kept = []
    for op in reversed(program.ops):
        if any(name in wanted for names in op.outputs.values() for name in names):
            kept.append(op)
            wanted.update(name for names in op.inputs.values() for name in names)
    return kept[::-1]


def _one(graph: Graph, op: Op, values: dict[str, Any]) -> None:
    used = [name for names in op.inputs.values() for name in names]
    if missing := [name for name in used if name not in values]:
        raise Unsupported(f"reads {missing[0][:80]!r}, which nothing has made")
    outputs = {slot: names for slot, names in op.outputs.items() if names}
    slots: tuple[str, ...] = ()
    result: Any = [[values[name] for name in used]]  # builtin.combine
    if op.type in ("builtin.split", "builtin.slice"):
        whole = values[op.inputs["0"][0]]
        result = whole if op.type == "builtin.split" else whole[int(op.attributes["index"])]
    elif op.type != "builtin.combine":
        handler = covered(op.type)
        assert handler is not None, "checked before"
        result, slots = handler.function(OpContext(graph, op, handler, values)), handler.outputs
    results = list(result) if isinstance(result, list) else [result]
    if "0" in op.outputs:  # numbered; those that nobody makes are statistics of training
        if isinstance(result, list) and len(op.outputs) == 1 and slots:
            results = [results]
        values.update((n[0], results[int(s)]) for s, n in outputs.items() if int(s) < len(results))
    elif len(slots) > 1:
        for slot, value in zip(slots, results, strict=True):
            values.update(dict.fromkeys(outputs.get(slot, ()), value))
    else:
        names = next((outputs[s] for s in (*slots, *_OUTPUTS) if s in outputs), ())
        if len(names) != len(results):
            raise Unsupported(f"{len(names)} outputs, {len(results)} made")
        values.update(zip(names, results, strict=True))


def _outputs(graph: Graph, model: PaddleModel, values: dict[str, Any], wishes: _Names) -> None:
    taken = {tensor.name for tensor in graph.inputs}
    for index, port in enumerate(model.program.outputs):
        value = values.get(port.value)
        if not isinstance(value, np.ndarray | GraphTensor):
            raise WeightsError(str(model.folder), f"output {port.name} is not made by the program")
        if not isinstance(value, GraphTensor) or value.name in taken:
            value = graph.emit_identity(value)
        taken.add(value.name)
        graph.outputs.append((wishes[index] if index < len(wishes) else port.name, value))
