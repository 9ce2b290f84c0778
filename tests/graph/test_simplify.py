"""Our own ONNX files simplified: the same results from fewer nodes, or the file as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tinysight.graph.onnx_file import Node, OnnxModel, Port, read_onnx
from tinysight.graph.simplify import simplify

F32 = np.dtype(np.float32)
RNG = np.random.default_rng(0)


def model(
    nodes: list[tuple[str, list[str], dict[str, Any]]],
    constants: dict[str, np.ndarray],
    shape: tuple[int | str, ...] = ("N", 4, 6, 5),
    rank: int = 4,
    opset: int = 18,
) -> OnnxModel:
    """Nodes in a row, from "x" to "y"; each takes what the one before made for the name "_"."""
    made, last = [], "x"
    for i, (op, inputs, attributes) in enumerate(nodes):
        name = "y" if i == len(nodes) - 1 else f"t{i}"
        made.append(
            Node(op, tuple(last if n == "_" else n for n in inputs), (name,), attributes, name)
        )
        last = name
    return OnnxModel(
        tuple(made), constants, (Port("x", F32, shape),), (Port("y", F32, (None,) * rank),), opset, {"k": "v"}
    )  # fmt: skip


def run(network: OnnxModel, x: np.ndarray) -> np.ndarray:
    data = network.to_bytes()
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


W = RNG.normal(size=(3, 4, 3, 3)).astype(F32)
CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1]}
POOL = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 0, 0], "storage_order": 0}
LOW, END = np.array(-np.inf, F32), i64(0, 0, 0, 0, 0, 0, 1, 1)
CASES: dict[str, tuple[list[Any], dict[str, np.ndarray], int, list[str]]] = {
    "mean": (
        [("ReduceMean", ["_", "axes"], {"keepdims": 1})], {"axes": i64(-1, -2)}, 4, ["GlobalAveragePool"],
    ),
    "mean that drops its sides": (
        [("ReduceMean", ["_", "axes"], {"keepdims": 0})], {"axes": i64(2, 3)}, 2, ["GlobalAveragePool", "Reshape"],
    ),
    "mean of channels": ([("ReduceMean", ["_", "axes"], {})], {"axes": i64(1)}, 4, ["ReduceMean"]),
    "factor and offset": (
        [("Conv", ["_", "w"], CONV), ("Mul", ["_", "f"], {}), ("Add", ["b", "_"], {})],
        {"w": W, "f": np.float32(1.5).reshape(()), "b": RNG.normal(size=(3, 1, 1)).astype(F32)}, 4, ["Conv"],
    ),
    "a pool behind its padding": (
        [("Pad", ["_", "p", "v"], {"mode": "constant"}), ("MaxPool", ["_"], POOL)], {"p": END, "v": LOW},
        4, ["MaxPool"],
    ),
    "zeros around what may be negative": (
        [("Pad", ["_", "p"], {}), ("MaxPool", ["_"], POOL)], {"p": END}, 4, ["Pad", "MaxPool"],
    ),
    "zeros around what is not": (
        [("Relu", ["_"], {}), ("Pad", ["_", "p"], {}), ("MaxPool", ["_"], POOL)], {"p": END}, 4, ["Relu", "MaxPool"],
    ),
    "ones around a convolution": (
        [("Pad", ["_", "p", "v"], {}), ("Conv", ["_", "w"], CONV)], {"p": END, "v": np.float32(1).reshape(()), "w": W},
        4, ["Pad", "Conv"],
    ),
    "a padding of nothing": ([("Pad", ["_", "p"], {}), ("Relu", ["_"], {})], {"p": i64(*[0] * 8)}, 4, ["Relu"]),
    "a linear layer": (
        [("Reshape", ["_", "s"], {"allowzero": 1}), ("Gemm", ["_", "w", "b"], {"transB": 1, "alpha": 1.0})],
        {"s": i64(-1, 120), "w": RNG.normal(size=(7, 120)).astype(F32), "b": np.ones(7, F32)}, 2, ["Reshape", "Gemm"],
    ),
    "slices with defaults": (
        [("Slice", ["_", "s", "e", "a"], {})], {"s": i64(1), "e": i64(3), "a": i64(-1)}, 4, ["Slice"],
    ),
    "two turns": (
        [
            ("Transpose", ["_"], {"perm": [0, 2, 3, 1]}), ("Transpose", ["_"], {"perm": [0, 3, 1, 2]}),
            ("Relu", ["_"], {}),
        ],
        {}, 4, ["Relu"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_same_function(name: str) -> None:
    nodes, constants, rank, kinds = CASES[name]
    plain = model(nodes, constants, rank=rank)
    slim = simplify(plain)
    assert [n.op for n in slim.nodes] == kinds
    assert slim.metadata == plain.metadata
    x = RNG.normal(size=(2, 4, 6, 5)).astype(F32)
    np.testing.assert_allclose(run(slim, x), run(plain, x), rtol=1e-5, atol=1e-6)
    assert read_onnx(slim.to_bytes()).inputs[0].shape[1:] == (4, 6, 5)


def test_shapes_of_the_image_are_constants() -> None:
    """Half of the width, computed by the model from its input: known when the file is written."""
    nodes = (
        Node("Shape", ("x",), ("shape",), {"start": 3}),
        Node("Div", ("shape", "two"), ("half",), {}),
        Node("Slice", ("x", "zero", "half", "axis"), ("y",), {}),
    )
    constants = {"two": i64(2), "zero": i64(0), "axis": i64(3)}
    ports = (Port("x", F32, ("N", 4, 6, 5)),), (Port("y", F32, ("N", 4, 6, None)),)
    slim = simplify(OnnxModel(nodes, constants, *ports, 18))
    assert [n.op for n in slim.nodes] == ["Slice"]
    x = RNG.normal(size=(2, 4, 6, 5)).astype(F32)
    assert np.array_equal(run(slim, x), x[..., :2])


@pytest.mark.parametrize(
    "plain",
    [
        model([("Hardmax", ["_"], {})], {}),
        model([("Relu", ["_"], {})], {}, opset=17),
        model([("Gemm", ["_", "w"], {"alpha": 2.0})], {"w": np.ones((5, 2), F32)}, ("N", 5), 2),
    ],
    ids=["an operator that is not known", "an older set", "options"],
)
def test_what_is_not_known_stays_as_it_is(plain: OnnxModel) -> None:
    assert simplify(plain) is plain
