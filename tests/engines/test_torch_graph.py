"""An ONNX graph as a module of torch: the answers of ONNX Runtime, operator by operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.engines.torch_graph import GraphModule
from tinysight.errors import ExportError
from tinysight.graph.onnx_file import Node, OnnxModel, Port

FLOAT = np.dtype(np.float32)
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(4, 3, 2, 3)).astype(np.float32)


def graph(op: str, constants: dict[str, np.ndarray], rank: int = 4, **attributes: Any) -> OnnxModel:
    """One operator between the images and the answer."""
    return OnnxModel(
        nodes=(Node(op, ("images", *constants), ("scores",), attributes),),
        constants=constants,
        inputs=(Port("images", FLOAT, ("N", 3, 7, 8)),),
        outputs=(Port("scores", FLOAT, (None,) * rank),),
        opset=18,
    )


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES = [
    graph("Conv", {"w": KERNEL}, pads=[0, 1, 1, 1], strides=[2, 1]),
    graph("Conv", {"w": KERNEL, "b": np.arange(4, dtype=np.float32)}, dilations=[2, 2]),
    graph("Conv", {"w": KERNEL[:3, :1]}, group=3, pads=[1, 1, 1, 1]),
    graph("MaxPool", {}, kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
    graph("MaxPool", {}, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], ceil_mode=1),
    graph("AveragePool", {}, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    graph("AveragePool", {}, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    graph("GlobalAveragePool", {}),
    graph("HardSigmoid", {}),
    graph("HardSigmoid", {}, alpha=1 / 6, beta=0.5),
    graph("HardSwish", {}),
    graph("Clip", {"low": np.array(-0.5, np.float32), "high": np.array(0.25, np.float32)}),
    graph("ReduceMean", {"axes": integers(2, 3)}, rank=2, keepdims=0),
    graph("Reshape", {"sides": integers(0, 3, -1)}, rank=3),
    graph("Softmax", {}, axis=1),
    graph("Flatten", {}, rank=2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.nodes[0].op}-{CASES.index(c)}")
def test_an_operator_answers_as_in_onnx_runtime(case: OnnxModel) -> None:
    images = RNG.normal(size=(2, 3, 7, 8)).astype(np.float32)
    expected = OnnxRuntime(case.to_bytes()).run(images)
    torch.export.export(
        GraphModule(case).eval(), (torch.from_numpy(images),)
    )  # is a static program
    with torch.inference_mode():
        found = GraphModule(case)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_linear_layer_with_factors(transposed: int) -> None:
    weight = RNG.normal(size=(5, 24) if transposed else (24, 5)).astype(np.float32)
    offset = RNG.normal(size=5).astype(np.float32)
    model = OnnxModel(
        nodes=(
            Node("Flatten", ("images",), ("flat",), {"axis": 1}),
            Node(
                "Gemm",
                ("flat", "weight", "offset"),
                ("scores",),
                {"transB": transposed, "alpha": 0.5, "beta": 2.0},
            ),
        ),
        constants={"weight": weight, "offset": offset},
        inputs=(Port("images", FLOAT, ("N", 2, 3, 4)),),
        outputs=(Port("scores", FLOAT, ("N", 5)),),
        opset=18,
    )
    images = RNG.normal(size=(3, 2, 3, 4)).astype(np.float32)
    flat = images.reshape(3, 24)
    expected = 0.5 * flat @ (weight.T if transposed else weight) + 2 * offset
    found = GraphModule(model)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_operator_that_is_not_built_is_named() -> None:
    with pytest.raises(ExportError, match="does not support Einsum, LSTM"):
        GraphModule(
            OnnxModel(
                nodes=(Node("LSTM", ("a",), ("b",), {}), Node("Einsum", ("b",), ("c",), {})),
                constants={},
                inputs=(Port("a", FLOAT, (1,)),),
                outputs=(Port("c", FLOAT, (1,)),),
                opset=18,
            )
        )


def test_padding_that_torch_has_not_is_refused() -> None:
    with pytest.raises(ExportError, match="one-sided padding of means"):
        GraphModule(graph("AveragePool", {}, kernel_shape=[2, 2], pads=[0, 0, 1, 1]))(
            torch.zeros(1, 3, 7, 8)
        )
    with pytest.raises(ExportError, match="auto_pad SAME_UPPER"):
        GraphModule(graph("Conv", {"w": KERNEL}, auto_pad="SAME_UPPER"))(torch.zeros(1, 3, 7, 8))
