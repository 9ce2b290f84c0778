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
from tinysight.compat.paddle import paddle_to_onnx
from tinysight.errors import WeightsError

RNG = np.random.default_rng(11)
X = RNG.normal(size=(2, 6, 4, 8)).astype(np.float32)
Y = RNG.normal(size=X.shape).astype(np.float32)
U = RNG.uniform(0.05, 0.95, X.shape).astype(np.float32)
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


def unary(name: str, expected: Any, x: np.ndarray = X, **attributes: Any) -> Case:
    return Case(name, f"1.{name}", attributes, {"X": x}, expected)


MATRIX = RNG.normal(size=(3, 5)).astype(np.float32)
ROWS = RNG.normal(size=(2, 5)).astype(np.float32)
INDEX = np.array([2, 0])
PLACED = MATRIX.copy()
PLACED[INDEX] = ROWS
TWICE = RNG.normal(size=(3, 5)).astype(np.float32)
SUMMED = MATRIX.copy()
SUMMED[[1, 2]] = 0
np.add.at(SUMMED, [1, 2, 1], TWICE)
ADDED = MATRIX.copy()
np.add.at(ADDED, (np.array([0, 0, 2]), np.array([1, 1, 4])), np.float32([1, 2, 3]))
ALONG = np.array([[0, 4, 2], [1, 1, 3], [2, 0, 4]])
VALUES = RNG.normal(size=(3, 3)).astype(np.float32)
PUT = MATRIX.copy()
np.put_along_axis(PUT, ALONG[:, :2], VALUES[:, :2], 1)
PUT_ADDED = torch.from_numpy(MATRIX).scatter_add(
    1, torch.from_numpy(ALONG), torch.from_numpy(VALUES)
)
COLUMNS = RNG.normal(size=(2, 3 * 6, 12)).astype(np.float32)
SPREAD = RNG.normal(size=(2, 2 * 9, 20)).astype(np.float32)
GRID = RNG.uniform(-1.3, 1.3, (2, 5, 3, 2)).astype(np.float32)
VECTORS = tuple(RNG.normal(size=n).astype(np.float32) for n in (2, 3))
MASK, OTHER = X > 0, Y > 0
WHOLE = RNG.integers(-9, 9, (2, 7))
QKV = [RNG.normal(size=(2, n, 3, 4)).astype(np.float32) for n in (5, 7, 7)]
ATTENDED = F.scaled_dot_product_attention(
    *(torch.from_numpy(a).transpose(1, 2) for a in QKV)
).transpose(1, 2)
BATCHED = [RNG.normal(size=s).astype(np.float32) for s in ((2, 3, 5), (2, 3, 4), (2, 4, 5))]
POOL = {"strides": [2, 2], "paddings": [1, 1]}
CUBE = RNG.normal(size=(2, 3, 4, 6, 5)).astype(np.float32)
KERNEL = RNG.normal(size=(4, 3, 3, 3, 3)).astype(np.float32)
CUBE_CONV = {"strides": [1, 2, 1], "paddings": [1, 1, 1], "dilations": [1, 1, 1], "groups": 1}
SHRUNK = {"threshold": 0.4}

CASES = [
    unary("tan", np.tan(X)),
    unary("asin", np.arcsin(U), U),
    unary("acos", np.arccos(U), U),
    unary("atan", np.arctan(X)),
    unary("sinh", np.sinh(X)),
    unary("cosh", np.cosh(X)),
    unary("asinh", np.arcsinh(X)),
    unary("acosh", np.arccosh(1 + U), 1 + U),
    unary("atanh", np.arctanh(U), U),
    unary("expm1", np.expm1(X)),
    unary("trunc", np.trunc(3 * X), 3 * X),
    unary("logit", np.log(U / (1 - U)), U, eps=1e-6),
    unary("stanh", 1.2 * np.tanh(0.5 * X), scale_a=0.5, scale_b=1.2),
    unary("maxout", X.reshape(2, 2, 3, 4, 8).max(2), groups=3, axis=1),
    unary("isinf", [[False, True, True, False]], np.float32([[1, np.inf, -np.inf, np.nan]])),
    unary("isfinite", [[True, False, False, False]], np.float32([[1, np.inf, -np.inf, np.nan]])),
    unary("bitwise_not", ~MASK, MASK),
    unary("mean_all", X.mean()),
    Case("softshrink", "1.softshrink", {"lambda": 0.4}, {"X": X}, F.softshrink(T, 0.4), numbered=SHRUNK),
    Case("hard_shrink", "1.hardshrink", SHRUNK, {"X": X}, F.hardshrink(T, 0.4)),
    Case("increment", "1.increment_", {"step": 2.0}, {"X": X}, X + 2, numbered={"value": 2.0}),
    Case("isfinite_v2", "", {}, {"X": X}, np.ones_like(MASK)),
    Case("where_index", "1.nonzero", {}, {"Condition": MASK}, np.argwhere(MASK)),
    Case("bitwise_and", "1.bitwise_and", {}, {"X": MASK, "Y": OTHER}, MASK & OTHER),
    Case("bitwise_or", "1.bitwise_or_", {}, {"X": MASK, "Y": OTHER}, MASK | OTHER),
    Case("bitwise_xor", "1.bitwise_xor", {}, {"X": WHOLE, "Y": WHOLE[::-1].copy()}, WHOLE ^ WHOLE[::-1]),
    Case("lerp", "1.lerp", {}, {"X": X, "Y": Y, "Weight": U}, X + U * (Y - X)),
    Case("dot", "1.dot", {}, {"X": ROWS, "Y": ROWS[::-1].copy()}, (ROWS * ROWS[::-1]).sum(-1)),
    Case("mv", "1.mv", {}, {"X": MATRIX, "Vec": ROWS[0]}, MATRIX @ ROWS[0]),
    Case(
        "baddbmm", "1.baddbmm", {"alpha": 0.5, "beta": 2.0}, dict(zip(("Input", "X", "Y"), BATCHED, strict=True)),
        2 * BATCHED[0] + 0.5 * BATCHED[1] @ BATCHED[2],
    ),
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
    Case("scatter", "1.scatter", {"overwrite": True}, {"X": MATRIX, "Ids": INDEX, "Updates": ROWS}, PLACED),
    Case(
        "scatter", "1.scatter_", {"overwrite": False}, {"X": MATRIX, "Ids": np.array([1, 2, 1]), "Updates": TWICE},
        SUMMED,
    ),
    Case(
        "scatter_nd_add", "1.scatter_nd_add", {},
        {"X": MATRIX, "Index": np.array([[0, 1], [0, 1], [2, 4]]), "Updates": np.float32([1, 2, 3])}, ADDED,
    ),
    Case(
        "put_along_axis", "1.put_along_axis", {"Axis": 1, "Reduce": "assign"},
        {"Input": MATRIX, "Index": ALONG[:, :2].copy(), "Value": VALUES[:, :2].copy()}, PUT, "Result",
        {"axis": 1, "reduce": "assign"},
    ),
    Case(
        "put_along_axis", "1.put_along_axis", {"Axis": 1, "Reduce": "add"},
        {"Input": MATRIX, "Index": ALONG, "Value": VALUES}, PUT_ADDED, "Result", {"axis": 1, "reduce": "add"},
    ),
    Case("meshgrid", "1.meshgrid", {}, {"X": VECTORS}, np.meshgrid(*VECTORS, indexing="ij")),
    Case("broadcast_tensors", "1.broadcast_tensors", {}, {"X": (X, Y[:1, :, :1])},
         [X, np.broadcast_to(Y[:1, :, :1], X.shape)]),
    Case("", "1.view_shape", {"dims": [-1, 3, 64]}, {"X": X}, X.reshape(2, 3, 64)),
    Case(
        "crop_tensor", "", {"shape": [-1, 2, 3, 4], "offsets": [0, 1, 1, 3]}, {"X": X}, X[:, 1:3, 1:4, 3:7],
    ),
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
        "grid_sampler", "1.grid_sample", {"mode": "bilinear", "padding_mode": "border", "align_corners": True},
        {"X": X, "Grid": GRID}, F.grid_sample(T, torch.from_numpy(GRID), "bilinear", "border", True), "Output",
    ),
    Case(
        "grid_sampler", "1.grid_sample", {"mode": "nearest", "padding_mode": "zeros", "align_corners": False},
        {"X": X, "Grid": GRID}, F.grid_sample(T, torch.from_numpy(GRID), "nearest", "zeros", False), "Output",
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
        ("maxout", {"groups": 4}, {"X": X}, "4 groups"),
        ("swiglu", {}, {"X": X[..., :7].copy()}, "odd"),
        ("flash_attn", {"causal": True}, {"q": X, "k": X, "v": X}, "the past"),
        ("grid_sampler", {"mode": "bicubic"}, {"X": X, "Grid": GRID}, "sampling"),
        ("crop_tensor", {"shape": [1, 1], "offsets": [0, 0]}, {"X": X}, "a crop of"),
        ("put_along_axis", {"Reduce": "mean"}, {"Input": MATRIX, "Index": ALONG, "Value": VALUES}, "joining"),
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
