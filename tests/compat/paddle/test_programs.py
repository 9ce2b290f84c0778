"""Every exported program among the golden fixtures, both forms, through ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from support.exports import export
from support.golden import Case, synth_input
from support.paddle import FORMS, each_program, write_program
from tinysight.compat.paddle.folder import read_paddle_inference
from tinysight.compat.paddle.to_onnx import paddle_to_onnx
from tinysight.files import sha256
from tinysight.graph.onnx_file import OnnxModel

pytestmark = pytest.mark.golden
LOOSE = {"MobileNetV2_x0_25": 1e-4}  # amplifies rounding by itself: README section 12


def session(model: OnnxModel) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.to_bytes(), options, providers=["CPUExecutionProvider"]
    )


def checked(model: OnnxModel) -> None:
    """The file is valid, and what it says of its interface is what ONNX's own shape inference finds."""
    proto = onnx.load_model_from_string(model.to_bytes())
    onnx.checker.check_model(proto, full_check=True)
    declared = {o.name: o.type for o in proto.graph.output}
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    for output in inferred.graph.output:
        assert output.type.tensor_type.elem_type == declared[output.name].tensor_type.elem_type
        pairs = zip(
            output.type.tensor_type.shape.dim, declared[output.name].tensor_type.shape.dim,
            strict=False,
        )  # fmt: skip
        for found, said in pairs:
            if found.dim_value and said.dim_value:
                assert found.dim_value == said.dim_value


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(1, keepdims=True)


@each_program()
def test_program(program: tuple[Case, str], tmp_path: Path) -> None:
    case, file = program
    recorded, limit = case.arrays, LOOSE.get(case["id"], 2e-5)
    weights = write_program(case, file, tmp_path)
    assert sha256(weights) == case["forms"][file]["pdiparams_sha256"]
    model = paddle_to_onnx(tmp_path)
    checked(model)
    runner = session(model)
    names = [i.name for i in runner.get_inputs()]
    n, _, h, w = case["input"]
    feeds = {names[0]: synth_input(n, h, w), **{name: recorded[name] for name in names[1:]}}
    found = runner.run(None, feeds)
    output = recorded["output"]
    assert found[0].shape == output.shape
    last = case["last_operation"]
    if last in ("softmax", "sigmoid"):
        logits = recorded["logits"]
        np.testing.assert_allclose(found[0], output, rtol=0, atol=limit)
        with np.errstate(divide="ignore"):
            back = np.log(found[0]) if last == "softmax" else np.log(found[0] / (1 - found[0]))
        got, expected = (centred(back), centred(logits)) if last == "softmax" else (back, logits)
        np.testing.assert_allclose(got, expected, rtol=0, atol=3e-4 * logits.std())
        for row in range(n):  # the batch is open, and no image sees another
            alone = runner.run(None, {k: v[row : row + 1] for k, v in feeds.items()})[0]
            np.testing.assert_allclose(alone, output[row : row + 1], rtol=0, atol=limit)
    else:
        np.testing.assert_allclose(found[0], output, rtol=0, atol=1e-4 * np.abs(output).max())
    if last == "multiclass_nms3":
        assert np.array_equal(found[0][:, 0], output[:, 0]), "labels and their order"
    for index, other in enumerate(found[1:], 1):
        assert np.array_equal(other, recorded[f"output_{index}"])


@pytest.mark.parametrize("file", FORMS)
def test_facts_and_fusion(file: str, tmp_path: Path) -> None:
    export(tmp_path, "PPLCNet_x0_5", file)
    paddle = read_paddle_inference(tmp_path)
    assert paddle.input_shape == (-1, 3, 224, 224)
    assert paddle.last_operation == "softmax"
    model = paddle_to_onnx(tmp_path, tmp_path / "out.onnx", inputs=["images"], outputs=["scores"])
    assert (tmp_path / "out.onnx").read_bytes() == model.to_bytes()
    assert Counter(node.op for node in model.nodes) == {
        "Conv": 32,
        "HardSwish": 28,
        "GlobalAveragePool": 3,
        "Relu": 2,
        "HardSigmoid": 2,
        "Mul": 2,
        "Reshape": 1,
        "Gemm": 1,
        "Softmax": 1,
    }
    [image], [scores] = model.inputs, model.outputs
    assert (image.name, image.shape) == ("images", ("N", 3, 224, 224))
    assert (scores.name, scores.shape) == ("scores", ("N", 10))
    assert model.opset == 18


@pytest.mark.parametrize(
    ("case", "absent"),
    [
        ("ResNet18", {"BatchNormalization", "Identity", "Dropout", "Mul"}),
        ("PPHGNetV2_B0", {"BatchNormalization", "Identity", "Mul", "Relu"}),
        ("RepVGG_A0", {"BatchNormalization", "Add", "Mul"}),
        (
            "SwinTransformer_tiny",
            {"Where", "Equal", "Expand", "Shape", "Range"},
        ),  # masks are folded
    ],
)
def test_lean(case: str, absent: set[str], tmp_path: Path) -> None:
    export(tmp_path, case)
    model = paddle_to_onnx(tmp_path)
    assert not absent & {node.op for node in model.nodes}
    used = {name for node in model.nodes for name in node.inputs}
    assert set(model.constants) <= used
