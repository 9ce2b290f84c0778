"""Our ONNX files against the `onnx` package: what we write it reads, what it writes we read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from tinysight.graph.onnx_file import (
    ExternalData,
    Node,
    OnnxModel,
    Port,
    read_onnx,
)
from tinysight.graph.protobuf import Draft, Message, WireError

DTYPES = (
    "bool float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()  # noqa: SIM905
)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=32, allow_nan=False)
ATTRIBUTES = st.one_of(
    INTEGERS, FLOATS, TEXT, ARRAYS,
    st.lists(INTEGERS, min_size=1, max_size=3),
    st.lists(FLOATS, min_size=1, max_size=3),
    st.lists(TEXT, min_size=1, max_size=3),
)  # fmt: skip
NODES = st.builds(
    Node, TEXT,
    st.lists(st.text(max_size=5), max_size=3).map(tuple),
    st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    st.dictionaries(TEXT, ATTRIBUTES, max_size=3),
    TEXT,
)  # fmt: skip
PORTS = st.builds(
    Port, TEXT, st.sampled_from(DTYPES).map(np.dtype),
    st.lists(st.none() | st.integers(1, 2**40) | TEXT, max_size=4).map(tuple),
)  # fmt: skip
MODELS = st.builds(
    OnnxModel,
    st.lists(NODES, max_size=3).map(tuple), st.dictionaries(TEXT, ARRAYS, max_size=3),
    st.lists(PORTS, max_size=2).map(tuple), st.lists(PORTS, max_size=2).map(tuple),
    st.integers(1, 2**31), st.dictionaries(TEXT, TEXT, max_size=2),
)  # fmt: skip


def theirs(model: OnnxModel) -> onnx.ModelProto:
    """The same network put together with the functions of the `onnx` package."""

    def value(v: Any) -> Any:
        return numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v

    def info(port: Port) -> onnx.ValueInfoProto:
        code = helper.np_dtype_to_tensor_dtype(port.dtype)
        return helper.make_tensor_value_info(port.name, code, list(port.shape))

    graph = helper.make_graph(
        [
            helper.make_node(
                n.op, n.inputs, n.outputs, n.name, **{k: value(v) for k, v in n.attributes.items()}
            )
            if "name" not in n.attributes
            else _node(n)
            for n in model.nodes
        ],
        "network",
        [info(p) for p in model.inputs],
        [info(p) for p in model.outputs],
        [numpy_helper.from_array(a, name) for name, a in model.constants.items()],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", model.opset)], producer_name="tinysight", ir_version=8
    )  # fmt: skip
    helper.set_model_props(made, dict(model.metadata))
    return made


def _node(node: Node) -> onnx.NodeProto:
    made = helper.make_node(node.op, node.inputs, node.outputs, node.name)
    for name, v in sorted(node.attributes.items()):
        plain = numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v
        made.attribute.append(helper.make_attribute(name, plain))
    return made


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return (
        list(a) == list(b) if isinstance(a, Sequence) and not isinstance(a, str) else bool(a == b)
    )


@given(MODELS)
@settings(max_examples=60, deadline=None)
def test_the_package_reads_what_we_write(model: OnnxModel) -> None:
    assert onnx.load_model_from_string(model.to_bytes()) == theirs(model)
    assert model.to_bytes() == theirs(model).SerializeToString(deterministic=True)


@given(MODELS)
@settings(max_examples=60, deadline=None)
def test_we_read_what_the_package_writes(model: OnnxModel) -> None:
    read = read_onnx(theirs(model).SerializeToString())
    assert (read.inputs, read.outputs, read.opset) == (model.inputs, model.outputs, model.opset)
    assert read.metadata == model.metadata
    assert list(read.constants) == list(model.constants)
    assert all(same(read.constants[k], v) for k, v in model.constants.items())
    for found, node in zip(read.nodes, model.nodes, strict=True):
        assert found[:3] == node[:3]
        assert found.name == node.name
        assert set(found.attributes) == set(node.attributes)
        assert all(same(v, found.attributes[k]) for k, v in node.attributes.items())


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bool"])
def test_tensors_that_are_not_raw(dtype: str) -> None:
    values = np.array([1, 0, 250 if dtype.startswith("u") else -3]).astype(dtype)
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensor = helper.make_tensor("w", code, [3], values.tolist())
    assert not tensor.raw_data
    graph = helper.make_graph([], "g", [], [], [tensor])
    read = read_onnx(helper.make_model(graph).SerializeToString())
    assert same(values, read.constants["w"])


def test_what_numpy_has_not_is_left_out() -> None:
    odd = helper.make_tensor("odd", TensorProto.BFLOAT16, [1], [1.0])
    text = helper.make_tensor("text", TensorProto.STRING, [1], ["a"])
    inner = helper.make_graph([], "inner", [], [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, kept=1)
    made = helper.make_model(helper.make_graph([node], "g", [], [], [odd, text]))
    read = read_onnx(made.SerializeToString())
    assert not read.constants
    assert read.nodes[0].attributes == {"kept": 1}


def test_files_that_are_refused() -> None:
    model = OnnxModel((), {"w": np.ones(100, np.float32)}, (), (), 18)
    whole = model.to_bytes()
    for end in range(0, len(whole), 7):
        with pytest.raises(WireError):
            read_onnx(whole[:end])
    assert set(read_onnx(whole).constants) == {"w"}
    proto = onnx.load_model_from_string(whole)
    proto.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(WireError, match="400 bytes for"):
        read_onnx(proto.SerializeToString())
    proto.graph.initializer[0].ClearField("raw_data")
    with pytest.raises(WireError, match="0 values"):
        read_onnx(proto.SerializeToString())
    proto.graph.initializer[0].dims[0] = -1
    with pytest.raises(WireError, match="shape"):
        read_onnx(proto.SerializeToString())
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(ExternalData):
        read_onnx(proto.SerializeToString())


def test_weights_are_referred_to_until_the_bytes_are_asked_for() -> None:
    weights = np.zeros(2**22, np.float32)  # 16 MiB
    model = OnnxModel((), {"w": weights}, (), (), 18)
    tracemalloc.start()
    size = sum(len(piece) for piece in model.chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > weights.nbytes
    assert peak < 2**20


def test_a_message_by_hand() -> None:
    """The example of the encoding's public description: field 1 holds 150, field 2 the text "testing"."""
    draft = Draft().integer(1, 150).data(2, "testing").message(3, Draft().integer(1, 150))
    assert b"".join(draft.parts) == bytes.fromhex("089601120774657374696e671a03089601")
    assert draft.size == 17
    read = Message(memoryview(b"".join(Draft().integer(1, -2).float32(2, 0.5).parts)))
    assert (read.integer(1), read.number(2)) == (-2, 0.5)
