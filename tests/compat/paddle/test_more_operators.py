"""Operators that few networks use, in both forms of a program, against torch or NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name

from support.paddle import write_both
from tinysight.compat.paddle.to_onnx import paddle_to_onnx
from tinysight.errors import WeightsError

RNG = np.random.default_rng(11)
X = RNG.normal(size=(2, 6, 4, 8)).astype(np.float32)
Y = RNG.normal(size=X.shape).astype(np.float32)
T = torch.from_numpy(X)
Arrays = Mapping[str, "np.ndarray | Sequence[np.ndarray] | None"]


class Case(NamedTuple):
    """Kinds in the legacy and the numbered form ("" where there is none), attributes, inputs, expected outputs."""

    legacy: str
    pir: str
    attributes: Mapping[str, Any]
    inputs: Arrays
    expected: Any
    slot: str = "Out"
    numbered: Mapping[str, Any] | None = None  # attributes that are named otherwise there


MATRIX = RNG.normal(size=(3, 5)).astype(np.float32)
ROWS = RNG.normal(size=(2, 5)).astype(np.float32)
COLUMNS = RNG.normal(size=(2, 3 * 6, 12)).astype(np.float32)
SPREAD = RNG.normal(size=(2, 2 * 9, 20)).astype(np.float32)
VECTORS = tuple(RNG.normal(size=n).astype(np.float32) for n in (2, 3))
QKV = [RNG.normal(size=(2, n, 3, 4)).astype(np.float32) for n in (5, 7, 7)]
ATTENDED = F.scaled_dot_product_attention(
    *(torch.from_numpy(a).transpose(1, 2) for a in QKV)
).transpose(1, 2)
POOL = {"strides": [2, 2], "paddings": [1, 1]}
CUBE = RNG.normal(size=(2, 3, 4, 6, 5)).astype(np.float32)
KERNEL = RNG.normal(size=(4, 3, 3, 3, 3)).astype(np.float32)
CUBE_CONV = {"strides": [1, 2, 1], "paddings": [1, 1, 1], "dilations": [1, 1, 1], "groups": 1}

CASES = [
    Case("swiglu", "1.swiglu", {}, {"X": X, "Y": Y}, F.silu(T).numpy() * Y),
    Case("swiglu", "1.swiglu", {}, {"X": X, "Y": None}, F.silu(T[..., :4]) * T[..., 4:]),
    Case(
        "flash_attn", "1.flash_attn", {"dropout": 0.0, "causal": False}, dict(zip(("q", "k", "v"), QKV, strict=True)),
        ATTENDED, "out",
    ),
    Case(
        "fused_gemm_epilogue", "1.fused_gemm_epilogue", {"trans_x": False, "trans_y": True, "activation": "relu"},
        {"X": ROWS, "Y": MATRIX, "Bias": VECTORS[1]}, np.maximum(ROWS @ MATRIX.T + VECTORS[1], 0),
    ),
    Case("meshgrid", "1.meshgrid", {}, {"X": VECTORS}, np.meshgrid(*VECTORS, indexing="ij")),
    Case("broadcast_tensors", "1.broadcast_tensors", {}, {"X": (X, Y[:1, :, :1])},
         [X, np.broadcast_to(Y[:1, :, :1], X.shape)]),
    Case("", "1.view_shape", {"dims": [-1, 3, 64]}, {"X": X}, X.reshape(2, 3, 64)),
    Case(
        "fold", "1.fold",
        {"output_sizes": [6, 8], "kernel_sizes": [3, 2], "strides": [3, 2], "paddings": [0] * 4, "dilations": [1, 1]},
        {"X": COLUMNS[:, :, :8].copy()}, 
        F.fold(torch.from_numpy(COLUMNS[:, :, :8]), (6, 8), (3, 2), stride=(3, 2)), "Y",
    ),
    Case(
        "fold", "1.fold",
        {"output_sizes": [4, 5], "kernel_sizes": [3, 3], "strides": [1, 1], "paddings": [1] * 4, "dilations": [1, 1]},
        {"X": SPREAD}, F.fold(torch.from_numpy(SPREAD), (4, 5), 3, padding=1), "Y",
    ),
    Case(
        "max_pool2d_with_index", "1.max_pool2d_with_index", {"ksize": [3, 3], **POOL}, {"X": X},
        F.max_pool2d(T, 3, 2, 1), numbered={"kernel_size": [3, 3], **POOL},
    ),
    Case(
        "max_pool2d_with_index", "1.max_pool2d_with_index", {"ksize": [2, 3], "adaptive": True}, {"X": X},
        F.adaptive_max_pool2d(T, (2, 3)), numbered={"kernel_size": [2, 3], "adaptive": True},
    ),
    Case(
        "pool3d", "1.pool3d", {"ksize": [2, 2, 2], "strides": [2, 2, 1], "paddings": [0, 0, 0], "pooling_type": "avg"},
        {"X": CUBE}, F.avg_pool3d(torch.from_numpy(CUBE), 2, (2, 2, 1)),
        numbered={"kernel_size": [2, 2, 2], "strides": [2, 2, 1], "paddings": [0, 0, 0], "pooling_type": "avg"},
    ),
    Case(
        "conv3d", "1.conv3d", {**CUBE_CONV, "data_format": "NCDHW"}, {"Input": CUBE, "Filter": KERNEL},
        F.conv3d(torch.from_numpy(CUBE), torch.from_numpy(KERNEL), None, (1, 2, 1), 1), "Output",
    ),
    Case("", "1.softmax_", {"axis": 1}, {"X": X}, T.softmax(1)),
    Case("", "1.tanh_", {}, {"X": X}, np.tanh(X)),
]  # fmt: skip


def answers(folder: Path, arrays: Arrays) -> list[np.ndarray]:
    flat: list[np.ndarray] = []
    for value in arrays.values():
        flat += [] if value is None else [value] if isinstance(value, np.ndarray) else list(value)
    model = paddle_to_onnx(folder).to_bytes()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    feeds = {f"in{i}": array for i, array in enumerate(flat) if f"in{i}" in wanted}
    return [np.asarray(v) for v in session.run(None, feeds)]


@pytest.mark.parametrize("case", CASES, ids=[c.legacy or c.pir for c in CASES])
def test_both_forms(case: Case, tmp_path: Path) -> None:
    several = case.legacy in ("meshgrid", "broadcast_tensors")
    expected = list(case.expected) if several else [case.expected]
    written = write_both(
        tmp_path,
        (case.legacy, case.attributes) if case.legacy else None,
        (case.pir, case.numbered or case.attributes) if case.pir else None,
        case.inputs,
        {case.slot: len(expected)},
    )
    assert written
    for folder in written:
        found = answers(folder, case.inputs)
        assert len(found) == len(expected)
        for got, wanted in zip(found, expected, strict=True):
            assert got.shape == np.shape(wanted)
            np.testing.assert_allclose(got, np.asarray(wanted), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("kind", "attributes", "inputs", "message"),
    [
        ("swiglu", {}, {"X": X[..., :7].copy()}, "odd"),
        ("flash_attn", {"causal": True}, {"q": X, "k": X, "v": X}, "the past"),
        ("fused_gemm_epilogue", {"activation": "warp"}, {"X": ROWS, "Y": MATRIX.T.copy(), "Bias": VECTORS[1]}, "warp"),
    ],
)  # fmt: skip
def test_what_is_not_covered_says_so(
    kind: str, attributes: dict[str, Any], inputs: Arrays, message: str, tmp_path: Path
) -> None:
    [folder] = write_both(tmp_path, (kind, attributes), None, inputs, {"Out": 1})
    with pytest.raises(WeightsError, match=message):
        paddle_to_onnx(folder)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhid,bhjd->bhij", [(2, 3, 5, 4), (2, 3, 6, 4)]),
        ("b h i d, b h j d -> b h i j", [(2, 3, 5, 4), (2, 3, 6, 4)]),
        ("...ij,...jk->...ik", [(2, 3, 5, 4), (2, 3, 4, 6)]),
        ("...ij,jk->...ik", [(2, 3, 5, 4), (4, 6)]),
        ("ij,jk", [(5, 4), (4, 6)]),
        ("bij,bkj", [(2, 5, 4), (2, 6, 4)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], tmp_path: Path) -> None:
    operands = [RNG.normal(size=shape).astype(np.float32) for shape in shapes]
    inputs: Arrays = {"Operands": operands}
    form = {"equation": equation}
    for folder in write_both(tmp_path, ("einsum", form), ("1.einsum", form), inputs, {"Out": 1}):
        [got] = answers(folder, inputs)
        expected = np.einsum(equation.replace(" ", ""), *operands)
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)


def test_an_equation_that_does_not_fit(tmp_path: Path) -> None:
    form = {"equation": "ijk,jk->i"}
    inputs: Arrays = {"Operands": [MATRIX, MATRIX]}
    [folder] = write_both(tmp_path, ("einsum", form), None, inputs, {"Out": 1})
    with pytest.raises(WeightsError, match="equation"):
        paddle_to_onnx(folder)
