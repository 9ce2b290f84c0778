"""Operators one at a time, in programs of a few lines, against torch or NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name

from support.paddle import numbered, operator, plain_attributes, typed, write_legacy
from tinysight.compat.paddle.to_onnx import paddle_to_onnx
from tinysight.errors import WeightsError

RNG = np.random.default_rng(7)
X = RNG.normal(size=(2, 6, 7, 10)).astype(np.float32)
T = torch.from_numpy(X)


def run(
    folder: Path,
    operators: Sequence[bytes],
    feeds: Mapping[str, np.ndarray],
    outputs: Sequence[str] = ("y",),
    weights: Mapping[str, np.ndarray] | None = None,
    open_sides: Sequence[int] = (0,),
) -> list[np.ndarray]:
    """Write a legacy program, translate it, run it."""
    shapes = {
        n: [-1 if i in open_sides else s for i, s in enumerate(a.shape)] for n, a in feeds.items()
    }
    write_legacy(folder, operators, inputs=shapes, outputs=outputs, weights=weights)
    session = onnxruntime.InferenceSession(
        paddle_to_onnx(folder).to_bytes(), providers=["CPUExecutionProvider"]
    )
    return [np.asarray(v) for v in session.run(None, dict(feeds))]


def close(got: np.ndarray, expected: Any) -> None:
    expected = np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


Case = tuple[str, dict[str, Any], Callable[[torch.Tensor], Any]]
UNARY: list[Case] = [
    ("relu", {}, F.relu),
    ("relu6", {"threshold": 6.0}, F.relu6),
    ("sigmoid", {}, torch.sigmoid),
    ("tanh", {}, torch.tanh),
    ("silu", {}, F.silu),
    ("swish", {"beta": 1.5}, lambda t: t * torch.sigmoid(1.5 * t)),
    ("mish", {}, F.mish),
    ("gelu", {"approximate": False}, F.gelu),
    ("gelu", {"approximate": True}, lambda t: F.gelu(t, approximate="tanh")),
    ("elu", {"alpha": 0.7}, lambda t: F.elu(t, 0.7)),
    ("selu", {}, F.selu),
    ("softplus", {"beta": 2.0}, lambda t: F.softplus(t, 2.0)),
    ("softsign", {}, F.softsign),
    ("leaky_relu", {"alpha": 0.1}, lambda t: F.leaky_relu(t, 0.1)),
    ("hard_swish", {"threshold": 6.0, "scale": 6.0, "offset": 3.0}, F.hardswish),
    (
        "hard_swish",
        {"threshold": 4.0, "scale": 5.0, "offset": 2.0},
        lambda t: t * (t + 2).clamp(0, 4) / 5,
    ),
    ("hard_sigmoid", {"slope": 0.2, "offset": 0.5}, lambda t: (0.2 * t + 0.5).clamp(0, 1)),
    ("brelu", {"t_min": -0.5, "t_max": 0.5}, lambda t: t.clamp(-0.5, 0.5)),
    ("clip", {"min": -0.3, "max": 0.8}, lambda t: t.clamp(-0.3, 0.8)),
    ("abs", {}, torch.abs),
    ("exp", {}, torch.exp),
    ("square", {}, torch.square),
    ("floor", {}, torch.floor),
    ("ceil", {}, torch.ceil),
    ("sign", {}, torch.sign),
    ("sin", {}, torch.sin),
    ("cos", {}, torch.cos),
    ("erf", {}, torch.erf),
    ("reciprocal", {}, torch.reciprocal),
    ("pow", {"factor": 2.0}, lambda t: t**2),
    ("pow", {"factor": 3.0}, lambda t: t**3),
    ("scale", {"scale": 2.0, "bias": 1.0, "bias_after_scale": True}, lambda t: 2 * t + 1),
    ("scale", {"scale": 2.0, "bias": 1.0, "bias_after_scale": False}, lambda t: 2 * (t + 1)),
    ("softmax", {"axis": 1}, lambda t: t.softmax(1)),
    ("log_softmax", {"axis": -1}, lambda t: t.log_softmax(-1)),
    ("cast", {"in_dtype": 5, "out_dtype": 3}, lambda t: t.long()),
    (
        "dropout",
        {"dropout_implementation": "downgrade_in_infer", "dropout_prob": 0.25},
        lambda t: t * 0.75,
    ),
    ("dropout", {"dropout_implementation": "upscale_in_train", "dropout_prob": 0.25}, lambda t: t),
    ("assign", {}, lambda t: t),
    # pooling
    (
        "pool2d",
        {"ksize": [3, 3], "strides": [2, 2], "paddings": [1, 1], "pooling_type": "max"},
        lambda t: F.max_pool2d(t, 3, 2, 1),
    ),
    (
        "pool2d",
        {
            "ksize": [2, 2],
            "strides": [2, 2],
            "paddings": [0, 0],
            "pooling_type": "max",
            "ceil_mode": True,
        },
        lambda t: F.max_pool2d(t, 2, 2, ceil_mode=True),
    ),
    (
        "pool2d",
        {
            "ksize": [3, 3],
            "strides": [2, 2],
            "paddings": [1, 1],
            "pooling_type": "avg",
            "exclusive": True,
        },
        lambda t: F.avg_pool2d(t, 3, 2, 1, count_include_pad=False),
    ),
    (
        "pool2d",
        {
            "ksize": [3, 3],
            "strides": [2, 2],
            "paddings": [1, 1],
            "pooling_type": "avg",
            "exclusive": False,
        },
        lambda t: F.avg_pool2d(t, 3, 2, 1),
    ),
    (
        "pool2d",
        {
            "ksize": [2, 2],
            "strides": [2, 2],
            "paddings": [0, 0],
            "pooling_type": "avg",
            "exclusive": True,
            "ceil_mode": True,
        },
        lambda t: F.avg_pool2d(t, 2, 2, ceil_mode=True),
    ),
    (
        "pool2d",
        {
            "ksize": [2, 2],
            "strides": [1, 1],
            "paddings": [0, 0],
            "pooling_type": "max",
            "padding_algorithm": "SAME",
        },
        lambda t: F.max_pool2d(F.pad(t, (0, 1, 0, 1), value=-torch.inf), 2, 1),
    ),
    (
        "pool2d",
        {"ksize": [1, 1], "pooling_type": "avg", "adaptive": True},
        lambda t: t.mean((2, 3), keepdim=True),
    ),
    (
        "pool2d",
        {"ksize": [1, 1], "pooling_type": "max", "adaptive": True},
        lambda t: t.amax((2, 3), keepdim=True),
    ),
    (
        "pool2d",
        {"ksize": [7, 5], "pooling_type": "avg", "adaptive": True},
        lambda t: F.adaptive_avg_pool2d(t, (7, 5)),
    ),
    (
        "pool2d",
        {"ksize": [3, 4], "pooling_type": "avg", "adaptive": True},
        lambda t: F.adaptive_avg_pool2d(t, (3, 4)),
    ),
    (
        "pool2d",
        {"ksize": [3, 4], "pooling_type": "max", "adaptive": True},
        lambda t: F.adaptive_max_pool2d(t, (3, 4)),
    ),
    (
        "pool2d",
        {"ksize": [3, 3], "pooling_type": "avg", "global_pooling": True},
        lambda t: t.mean((2, 3), keepdim=True),
    ),
    # resizing
    (
        "bilinear_interp_v2",
        {"out_h": 11, "out_w": 5, "align_corners": False, "align_mode": 0},
        lambda t: F.interpolate(t, (11, 5), mode="bilinear"),
    ),
    (
        "bilinear_interp_v2",
        {"out_h": 11, "out_w": 5, "align_corners": True, "align_mode": 1},
        lambda t: F.interpolate(t, (11, 5), mode="bilinear", align_corners=True),
    ),
    (
        "bilinear_interp_v2",
        {"out_h": -1, "out_w": -1, "scale": [2.0, 2.0], "align_corners": False, "align_mode": 0},
        lambda t: F.interpolate(t, scale_factor=2, mode="bilinear"),
    ),
    (
        "nearest_interp_v2",
        {"out_h": 11, "out_w": 5, "align_corners": False},
        lambda t: F.interpolate(t, (11, 5)),
    ),
    (
        "nearest_interp",
        {"scale": 2.0, "align_corners": False},
        lambda t: F.interpolate(t, scale_factor=2),
    ),
    (
        "bicubic_interp_v2",
        {"out_h": 14, "out_w": 20, "align_corners": False},
        lambda t: F.interpolate(t, (14, 20), mode="bicubic"),
    ),
    # images
    (
        "pad2d",
        {"paddings": [1, 2, 3, 0], "mode": "constant", "pad_value": 0.5},
        lambda t: F.pad(t, (3, 0, 1, 2), value=0.5),
    ),
    (
        "pad2d",
        {"paddings": [1, 2, 3, 0], "mode": "reflect"},
        lambda t: F.pad(t, (3, 0, 1, 2), mode="reflect"),
    ),
    (
        "pad2d",
        {"paddings": [1, 2, 3, 0], "mode": "edge"},
        lambda t: F.pad(t, (3, 0, 1, 2), mode="replicate"),
    ),
    (
        "pad",
        {"paddings": [0, 0, 1, 0, 0, 0, 2, 1], "pad_value": 0.0},
        lambda t: F.pad(t, (2, 1, 0, 0, 1, 0)),
    ),
    (
        "unfold",
        {"kernel_sizes": [3, 2], "strides": [2, 1], "paddings": [1, 0, 1, 0], "dilations": [1, 2]},
        lambda t: F.unfold(t, (3, 2), (1, 2), (1, 0), (2, 1)),
    ),
    ("shuffle_channel", {"group": 3}, lambda t: F.channel_shuffle(t, 3)),
    ("channel_shuffle", {"groups": 2}, lambda t: F.channel_shuffle(t, 2)),
    # reductions
    ("reduce_mean", {"dim": [2, 3], "keep_dim": False}, lambda t: t.mean((2, 3))),
    ("reduce_mean", {"dim": [2, 3], "keep_dim": True}, lambda t: t.mean((2, 3), keepdim=True)),
    ("reduce_sum", {"dim": [-1], "keep_dim": False}, lambda t: t.sum(-1)),
    ("reduce_max", {"dim": [1], "keep_dim": True}, lambda t: t.amax(1, keepdim=True)),
    ("reduce_min", {"dim": [1, 2], "keep_dim": False}, lambda t: t.amin((1, 2))),
    ("reduce_prod", {"dim": [3], "keep_dim": False}, lambda t: t.prod(3)),
    ("logsumexp", {"axis": [1], "keepdim": True}, lambda t: t.logsumexp(1, keepdim=True)),
    ("p_norm", {"axis": 1, "porder": 2.0, "keepdim": True}, lambda t: t.norm(2, 1, keepdim=True)),
    ("p_norm", {"axis": 1, "porder": 1.0, "keepdim": False}, lambda t: t.norm(1, 1)),
    ("p_norm", {"axis": 1, "porder": 3.0, "keepdim": False}, lambda t: t.norm(3, 1)),
    ("p_norm", {"axis": 1, "porder": float("inf"), "keepdim": False}, lambda t: t.abs().amax(1)),
    ("norm", {"axis": 1, "epsilon": 1e-10}, lambda t: F.normalize(t, dim=1)),
    (
        "arg_max",
        {"axis": 1, "keepdims": False, "flatten": False, "dtype": 3},
        lambda t: t.argmax(1),
    ),
    (
        "arg_min",
        {"axis": -1, "keepdims": True, "flatten": False, "dtype": 3},
        lambda t: t.argmin(-1, keepdim=True),
    ),
    ("cumsum", {"axis": 2}, lambda t: t.cumsum(2)),
    # shapes
    ("reshape2", {"shape": [0, -1, 10]}, lambda t: t.reshape(2, 42, 10)),
    ("reshape2", {"shape": [-1, 3, 2, 70]}, lambda t: t.reshape(-1, 3, 2, 70)),
    ("reshape2", {"shape": [-1, 70]}, lambda t: t.reshape(-1, 70)),
    ("flatten_contiguous_range", {"start_axis": 1, "stop_axis": -1}, lambda t: t.flatten(1)),
    ("flatten_contiguous_range", {"start_axis": 0, "stop_axis": 2}, lambda t: t.flatten(0, 2)),
    ("flatten2", {"axis": 2}, lambda t: t.reshape(12, 70)),
    ("transpose2", {"axis": [0, 2, 3, 1]}, lambda t: t.permute(0, 2, 3, 1)),
    ("unsqueeze2", {"axes": [1, -1]}, lambda t: t[:, None, ..., None]),
    (
        "slice",
        {"axes": [1, 3], "starts": [1, -4], "ends": [4, 2147483647]},
        lambda t: t[:, 1:4, :, -4:],
    ),
    ("slice", {"axes": [1], "starts": [2], "ends": [3], "decrease_axis": [1]}, lambda t: t[:, 2]),
    ("slice", {"axes": [0], "starts": [0], "ends": [1]}, lambda t: t[:1]),
    (
        "strided_slice",
        {"axes": [2, 3], "starts": [0, 1], "ends": [2147483647, 9], "strides": [2, 3]},
        lambda t: t[:, :, ::2, 1:9:3],
    ),
    ("flip", {"axis": [3, 1]}, lambda t: t.flip(3, 1)),
    ("roll", {"shifts": [2, -3], "axis": [1, 3]}, lambda t: t.roll((2, -3), (1, 3))),
    ("tile", {"repeat_times": [1, 2, 1, 3]}, lambda t: t.repeat(1, 2, 1, 3)),
    ("expand_v2", {"shape": [3, -1, 6, 7, 10]}, lambda t: t.expand(3, -1, 6, 7, 10)),
    ("tril_triu", {"diagonal": 1, "lower": True}, lambda t: t.tril(1)),
    ("tril_triu", {"diagonal": 0, "lower": False}, lambda t: t.triu()),
    ("repeat_interleave", {"Repeats": 2, "dim": 1}, lambda t: t.repeat_interleave(2, 1)),
]


@pytest.mark.parametrize(
    ("kind", "attributes", "oracle"), UNARY, ids=[f"{i}-{c[0]}" for i, c in enumerate(UNARY)]
)
def test_one_input(kind: str, attributes: dict[str, Any], oracle: Any, tmp_path: Path) -> None:
    slot = "Input" if "slice" in kind else "X"
    [got] = run(tmp_path, [operator(kind, {slot: ["x"]}, {"Out": ["y"]}, attributes)], {"x": X})
    close(got, oracle(T))


POSITIVE = [
    ("log", np.log),
    ("sqrt", np.sqrt),
    ("rsqrt", lambda x: 1 / np.sqrt(x)),
    ("log1p", np.log1p),
    ("log2", np.log2),
]


@pytest.mark.parametrize(("kind", "oracle"), POSITIVE)
def test_positive(kind: str, oracle: Any, tmp_path: Path) -> None:
    x = np.abs(X) + 0.1
    [got] = run(tmp_path, [operator(kind, {"X": ["x"]}, {"Out": ["y"]})], {"x": x})
    close(got, oracle(x))


BINARY = [
    ("elementwise_add", np.add),
    ("elementwise_sub", np.subtract),
    ("elementwise_mul", np.multiply),
    ("elementwise_div", np.divide),
    ("elementwise_max", np.maximum),
    ("elementwise_min", np.minimum),
    ("elementwise_mod", np.mod),
    ("elementwise_floordiv", np.floor_divide),
    ("less_than", np.less),
    ("less_equal", np.less_equal),
    ("greater_than", np.greater),
    ("greater_equal", np.greater_equal),
    ("equal", np.equal),
    ("not_equal", np.not_equal),
]


@pytest.mark.parametrize(("kind", "oracle"), BINARY)
@pytest.mark.parametrize(
    ("shape", "axis"), [((6,), 1), ((6, 7), 1), ((10,), -1), ((2, 6), 0), ((), -1)]
)
def test_two_inputs(
    kind: str, oracle: Any, shape: tuple[int, ...], axis: int, tmp_path: Path
) -> None:
    w = np.asarray(RNG.normal(size=shape), np.float32)
    [got] = run(
        tmp_path,
        [operator(kind, {"X": ["x"], "Y": ["w"]}, {"Out": ["y"]}, {"axis": axis})],
        {"x": X},
        weights={"w": w},
    )
    place = w if axis < 0 else w.reshape(*w.shape, *[1] * (4 - axis - w.ndim))
    close(got, oracle(X, place))


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(("groups", "dilation", "stride"), [(1, 1, 1), (2, 2, 1), (6, 1, 2)])
def test_convolution_with_everything_behind_it(
    groups: int, dilation: int, stride: int, same: bool, tmp_path: Path
) -> None:
    """Convolution, bias, batch norm, scale: one node, the function of torch."""
    weights = {
        "k": RNG.normal(size=(12, 6 // groups, 3, 2)),
        "b": RNG.normal(size=12),
        "scale": RNG.normal(size=12),
        "bias": RNG.normal(size=12),
        "mean": RNG.normal(size=12),
        "variance": RNG.uniform(0.5, 1.5, 12),
    }
    weights = {n: np.asarray(w, np.float32) for n, w in weights.items()}
    attributes = {
        "groups": groups,
        "dilations": [dilation] * 2,
        "strides": [stride] * 2,
        "paddings": [1, 0, 2, 1],
        "padding_algorithm": "SAME" if same else "EXPLICIT",
    }
    norm = {
        "X": ["c"],
        "Scale": ["scale"],
        "Bias": ["bias"],
        "Mean": ["mean"],
        "Variance": ["variance"],
    }
    operators = [
        operator("conv2d", {"Input": ["x"], "Filter": ["k"]}, {"Output": ["a"]}, attributes),
        operator("elementwise_add", {"X": ["a"], "Y": ["b"]}, {"Out": ["c"]}, {"axis": 1}),
        operator("batch_norm", norm, {"Y": ["d"]}, {"epsilon": 1e-3}),
        operator("relu", {"X": ["d"]}, {"Out": ["e"]}),
        operator("scale", {"X": ["e"]}, {"Out": ["y"]}, {"scale": 0.8, "bias": 0.0}),
    ]
    [got] = run(tmp_path, operators, {"x": X}, weights=weights)
    w = {n: torch.from_numpy(a) for n, a in weights.items()}
    if same:
        dilation, pads = 1, []
        for side, k in ((10, 2), (7, 3)):
            total = max((-(-side // stride) - 1) * stride + k - side, 0)
            pads += [total // 2, total - total // 2]
        padded = F.pad(T, pads)
    else:
        padded = F.pad(T, (2, 1, 1, 0))
    expected = F.conv2d(padded, w["k"], w["b"], stride, 0, dilation, groups)
    expected = F.batch_norm(expected, w["mean"], w["variance"], w["scale"], w["bias"], eps=1e-3)
    np.testing.assert_allclose(got, F.relu(expected) * 0.8, rtol=1e-4, atol=1e-5)
    nodes = [n.op for n in paddle_to_onnx(tmp_path).nodes]
    assert nodes == ["Conv", "Relu"]


@pytest.mark.parametrize("factor", [0.7, -0.7])
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_learnable_factor_and_offset_behind_an_activation(
    activation: str, factor: float, tmp_path: Path
) -> None:
    weights = {"k": RNG.normal(size=(4, 6, 3, 3)), "s": np.array([factor]), "o": np.array([0.3])}
    weights = {n: np.asarray(w, np.float32) for n, w in weights.items()}
    operators = [
        operator(
            "conv2d",
            {"Input": ["x"], "Filter": ["k"]},
            {"Output": ["a"]},
            {"strides": [1, 1], "paddings": [1, 1]},
        ),
        operator(activation, {"X": ["a"]}, {"Out": ["b"]}, {}),
        operator("elementwise_mul", {"X": ["s"], "Y": ["b"]}, {"Out": ["c"]}, {"axis": -1}),
        operator("elementwise_add", {"X": ["c"], "Y": ["o"]}, {"Out": ["y"]}, {"axis": -1}),
    ]
    [got] = run(tmp_path, operators, {"x": X}, weights=weights)
    expected = (
        getattr(F, activation)(F.conv2d(T, torch.from_numpy(weights["k"]), None, 1, 1)) * factor
        + 0.3
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert [n.op for n in paddle_to_onnx(tmp_path).nodes] == ["Conv", "Clip"]


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups: int, tmp_path: Path) -> None:
    weights = {"k": RNG.normal(size=(6, 4, 3, 3)), "scale": RNG.normal(size=4 * groups)}
    weights |= {n: RNG.uniform(0.5, 1.5, 4 * groups) for n in ("bias", "mean", "variance")}
    weights = {n: np.asarray(w, np.float32) for n, w in weights.items()}
    attributes = {
        "groups": groups,
        "strides": [2, 2],
        "paddings": [1, 1],
        "dilations": [1, 1],
        "output_padding": [1, 0],
    }
    norm = {
        "X": ["a"],
        "Scale": ["scale"],
        "Bias": ["bias"],
        "Mean": ["mean"],
        "Variance": ["variance"],
    }
    operators = [
        operator(
            "conv2d_transpose", {"Input": ["x"], "Filter": ["k"]}, {"Output": ["a"]}, attributes
        ),
        operator("batch_norm", norm, {"Y": ["y"]}, {"epsilon": 1e-5}),
    ]
    [got] = run(tmp_path, operators, {"x": X}, weights=weights)
    w = {n: torch.from_numpy(a) for n, a in weights.items()}
    expected = F.conv_transpose2d(T, w["k"], None, 2, 1, (1, 0), groups)
    expected = F.batch_norm(expected, w["mean"], w["variance"], w["scale"], w["bias"])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert len(paddle_to_onnx(tmp_path).nodes) == 1


@pytest.mark.parametrize(
    ("kind", "attributes", "oracle"),
    [
        (
            "layer_norm",
            {"begin_norm_axis": 3, "epsilon": 1e-5},
            lambda w, b: F.layer_norm(T, (10,), w[:10], b[:10]),
        ),
        (
            "group_norm",
            {"groups": 3, "epsilon": 1e-5},
            lambda w, b: F.group_norm(T, 3, w[:6], b[:6]),
        ),
        (
            "instance_norm",
            {"epsilon": 1e-5},
            lambda w, b: F.instance_norm(T, weight=w[:6], bias=b[:6]),
        ),
    ],
)
def test_norms(kind: str, attributes: dict[str, Any], oracle: Any, tmp_path: Path) -> None:
    size = 10 if kind == "layer_norm" else 6
    w, b = (RNG.normal(size=10).astype(np.float32) for _ in range(2))
    [got] = run(
        tmp_path,
        [operator(kind, {"X": ["x"], "Scale": ["w"], "Bias": ["b"]}, {"Y": ["y"]}, attributes)],
        {"x": X},
        weights={"w": w[:size], "b": b[:size]},
    )
    np.testing.assert_allclose(
        got, oracle(torch.from_numpy(w), torch.from_numpy(b)), rtol=1e-4, atol=1e-5
    )


def test_layer_norm_over_several_axes(tmp_path: Path) -> None:
    w, b = (RNG.normal(size=420).astype(np.float32) for _ in range(2))
    slots = {"X": ["x"], "Scale": ["w"], "Bias": ["b"]}
    [got] = run(
        tmp_path,
        [operator("layer_norm", slots, {"Y": ["y"]}, {"begin_norm_axis": 1, "epsilon": 1e-5})],
        {"x": X},
        weights={"w": w, "b": b},
    )
    shape = (6, 7, 10)
    expected = F.layer_norm(
        T, shape, torch.from_numpy(w).reshape(shape), torch.from_numpy(b).reshape(shape)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["mul", "matmul", "matmul_v2", "fc"])
def test_products(kind: str, tmp_path: Path) -> None:
    """A scaled product with a bias and a norm behind it is one node on matrices."""
    x = RNG.normal(size=(3, 5)).astype(np.float32)
    weights = {
        n: RNG.normal(size=s).astype(np.float32) for n, s in (("w", (5, 4)), ("b", 4), ("f", 4))
    }
    slots = {"Input": ["x"], "W": ["w"]} if kind == "fc" else {"X": ["x"], "Y": ["w"]}
    operators = [
        operator("scale", {"X": ["x"]}, {"Out": ["s"]}, {"scale": 0.8, "bias": 0.0}),
        operator(
            kind, {k: ["s" if v == ["x"] else v[0]] for k, v in slots.items()}, {"Out": ["a"]}, {}
        ),
        operator("elementwise_add", {"X": ["a"], "Y": ["b"]}, {"Out": ["c"]}, {"axis": -1}),
        operator("elementwise_mul", {"X": ["c"], "Y": ["f"]}, {"Out": ["y"]}, {"axis": -1}),
    ]
    [got] = run(tmp_path, operators, {"x": x}, weights=weights)
    close(got, ((0.8 * x) @ weights["w"] + weights["b"]) * weights["f"])
    assert [n.op for n in paddle_to_onnx(tmp_path).nodes] == ["Gemm"]


def test_transposed_products(tmp_path: Path) -> None:
    a, b = (RNG.normal(size=s).astype(np.float32) for s in ((2, 3, 5, 4), (2, 3, 6, 5)))
    slots = {"X": ["a"], "Y": ["b"]}
    flags = {"trans_x": True, "trans_y": True}
    [got] = run(tmp_path, [operator("matmul_v2", slots, {"Out": ["y"]}, flags)], {"a": a, "b": b})
    close(got, a.swapaxes(2, 3) @ b.swapaxes(2, 3))


def test_several_outputs(tmp_path: Path) -> None:
    operators = [
        operator(
            "split", {"X": ["x"]}, {"Out": ["a", "b", "c"]}, {"sections": [1, -1, 2], "axis": 1}
        ),
        operator("unbind", {"X": ["x"]}, {"Out": [f"u{i}" for i in range(6)]}, {"axis": 1}),
        operator("top_k_v2", {"X": ["x"]}, {"Out": ["t"], "Indices": ["i"]}, {"k": 3, "axis": 3}),
        operator("stack", {"X": ["u0", "u5"]}, {"Y": ["s"]}, {"axis": -1}),
    ]
    a, b, c, t, i, s = run(tmp_path, operators, {"x": X}, ["a", "b", "c", "t", "i", "s"])
    for got, expected in zip((a, b, c), np.split(X, [1, 4], 1), strict=True):
        close(got, expected)
    values, indices = T.topk(3, 3)
    close(t, values)
    close(i, indices)
    close(s, np.stack([X[:, 0], X[:, 5]], -1))


def test_look_ups(tmp_path: Path) -> None:
    weights = {"index": np.array([3, 0, 3]), "table": RNG.normal(size=(5, 4)).astype(np.float32)}
    operators = [
        operator("gather", {"X": ["x"], "Index": ["index"]}, {"Out": ["g"]}, {"axis": 1}),
        operator("index_select", {"X": ["x"], "Index": ["index"]}, {"Out": ["s"]}, {"dim": 2}),
        operator("lookup_table_v2", {"Ids": ["index"], "W": ["table"]}, {"Out": ["e"]}, {}),
        operator("one_hot_v2", {"X": ["index"]}, {"Out": ["o"]}, {"depth": 4}),
    ]
    g, s, e, o = run(tmp_path, operators, {"x": X}, ["g", "s", "e", "o"], weights)
    close(g, X[:, [3, 0, 3]])
    close(s, X[:, :, [3, 0, 3]])
    close(e, weights["table"][[3, 0, 3]])
    close(o, np.eye(4, dtype=np.float32)[[3, 0, 3]])


def _constant(name: str, shape: list[int], value: float, dtype: int = 3) -> bytes:
    return operator(
        "fill_constant", {}, {"Out": [name]}, {"shape": shape, "value": value, "dtype": dtype}
    )


@pytest.mark.parametrize("open_sides", [(0,), (0, 2, 3), (0, 1, 2, 3)])
def test_shape_computations(open_sides: tuple[int, ...], tmp_path: Path) -> None:
    """`n, c, h, w = x.shape; y = x.reshape([n * 2, c // 2, h * w])` and a constant of that batch."""
    side = {"axes": [0], "decrease_axis": [0]}
    operators = [operator("shape", {"Input": ["x"]}, {"Out": ["s"]})]
    for i, name in enumerate("nchw"):
        operators.append(
            operator(
                "slice", {"Input": ["s"]}, {"Out": [name]}, {**side, "starts": [i], "ends": [i + 1]}
            )
        )
    operators += [
        _constant("two", [], 2.0),
        operator("elementwise_mul", {"X": ["n"], "Y": ["two"]}, {"Out": ["n2"]}, {"axis": -1}),
        operator("elementwise_floordiv", {"X": ["c"], "Y": ["two"]}, {"Out": ["c2"]}, {"axis": -1}),
        operator("elementwise_mul", {"X": ["h"], "Y": ["w"]}, {"Out": ["hw"]}, {"axis": -1}),
        operator(
            "reshape2",
            {"X": ["x"], "ShapeTensor": ["n2", "c2", "hw"]},
            {"Out": ["y"]},
            {"shape": [-1, -1, -1]},
        ),
        operator(
            "fill_constant",
            {"ShapeTensorList": ["n2", "two"]},
            {"Out": ["z"]},
            {"shape": [], "value": 3.0, "dtype": 5},
        ),
    ]
    y, z = run(tmp_path, operators, {"x": X}, ["y", "z"], open_sides=open_sides)
    close(y, X.reshape(4, 3, 70))
    close(z, np.full((4, 2), 3, np.float32))


def test_open_sides_through_a_network(tmp_path: Path) -> None:
    """Image sides left open: the same program answers for two sizes."""
    k = RNG.normal(size=(4, 6, 3, 3)).astype(np.float32)
    pool = {
        "ksize": [2, 2],
        "strides": [2, 2],
        "paddings": [0, 0],
        "pooling_type": "max",
        "ceil_mode": True,
    }
    operators = [
        operator(
            "conv2d",
            {"Input": ["x"], "Filter": ["k"]},
            {"Output": ["a"]},
            {"strides": [2, 2], "paddings": [1, 1]},
        ),
        operator("pool2d", {"X": ["a"]}, {"Out": ["b"]}, pool),
        operator(
            "flatten_contiguous_range",
            {"X": ["b"]},
            {"Out": ["c"]},
            {"start_axis": 2, "stop_axis": 3},
        ),
        operator("transpose2", {"X": ["c"]}, {"Out": ["y"]}, {"axis": [0, 2, 1]}),
    ]
    for x in (X, X[:, :, :5]):
        folder = tmp_path / str(x.shape[2])
        [got] = run(
            folder,
            operators,
            {"x": np.ascontiguousarray(x)},
            weights={"k": k},
            open_sides=(0, 2, 3),
        )
        expected = F.max_pool2d(
            F.conv2d(torch.from_numpy(x), torch.from_numpy(k), None, 2, 1), 2, 2, ceil_mode=True
        )
        np.testing.assert_allclose(got, expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_assignments(tmp_path: Path) -> None:
    value = RNG.normal(size=(2, 3, 10)).astype(np.float32)
    box = {
        "axes": [1, 3],
        "starts": [1, -4],
        "ends": [3, 9],
        "steps": [1, 1],
        "decrease_axes": [],
        "none_axes": [],
    }
    one = {
        "axes": [2, 1],
        "starts": [4, 2],
        "ends": [5, 5],
        "steps": [1, 1],
        "decrease_axes": [2],
        "none_axes": [],
    }
    operators = [
        operator(
            "set_value",
            {"Input": ["x"]},
            {"Out": ["y"]},
            {**box, "shape": [1], "fp32_values": [5.0]},
        ),
        operator("set_value", {"Input": ["x"], "ValueTensor": ["v"]}, {"Out": ["z"]}, one),
    ]
    y, z = run(tmp_path, operators, {"x": X, "v": value}, ["y", "z"])
    expected = X.copy()
    expected[:, 1:3, :, -4:9] = 5
    close(y, expected)
    expected = X.copy()
    expected[:, 2:5, 4] = value
    close(z, expected)


def overlap(a: np.ndarray, b: np.ndarray, more: int) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inner = np.prod(np.maximum(high - low + more, 0))
    return float(inner / (np.prod(a[2:] - a[:2] + more) + np.prod(b[2:] - b[:2] + more) - inner))


def nms_by_hand(
    boxes: np.ndarray, scores: np.ndarray, a: dict[str, Any]
) -> tuple[np.ndarray, list[int]]:
    rows, counts, more = [], [], 0 if a["normalized"] else 1
    for image, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        kept = []
        for label in range(len(score)):
            if label == a["background_label"]:
                continue
            order = [
                i
                for i in np.argsort(-score[label], kind="stable")
                if score[label, i] > a["score_threshold"]
            ]
            chosen: list[int] = []
            for i in order[: a["nms_top_k"] if a["nms_top_k"] > 0 else None]:
                if all(overlap(box[i], box[j], more) <= a["nms_threshold"] for j in chosen):
                    chosen.append(i)
            kept += [(label, score[label, i], *box[i]) for i in chosen]
        if a["keep_top_k"] > 0:
            best = sorted(range(len(kept)), key=lambda i: -kept[i][1])[: a["keep_top_k"]]
            kept = [kept[i] for i in sorted(best)]
        rows += kept
        counts.append(len(kept))
        assert image >= 0
    return np.array(rows, np.float32).reshape(-1, 6), counts


@pytest.mark.parametrize("background", [-1, 1])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(
    ("threshold", "top", "keep"),
    [(0.3, 15, 9), (0.3, -1, -1), (0.0, 1000, 100), (0.99, 15, 9), (2.0, 15, 9)],
)
def test_detections(
    threshold: float, top: int, keep: int, normalized: bool, background: int, tmp_path: Path
) -> None:
    """Includes images without any detection, and no detection at all."""
    corner = RNG.uniform(0, 40, (3, 40, 2))
    boxes = np.concatenate([corner, corner + RNG.uniform(5, 30, (3, 40, 2))], 2).astype(np.float32)
    scores = RNG.permutation(3 * 4 * 40).reshape(3, 4, 40).astype(np.float32) / 480
    attributes = {
        "background_label": background,
        "score_threshold": threshold,
        "nms_top_k": top,
        "nms_threshold": 0.4,
        "keep_top_k": keep,
        "nms_eta": 1.0,
        "normalized": normalized,
    }
    outputs = {"Out": ["y"], "Index": ["i"], "NmsRoisNum": ["n"]}
    rows, index, counts = run(
        tmp_path,
        [operator("multiclass_nms3", {"BBoxes": ["b"], "Scores": ["s"]}, outputs, attributes)],
        {"b": boxes, "s": scores},
        ["y", "i", "n"],
    )
    expected, numbers = nms_by_hand(boxes, scores, attributes)
    assert counts.tolist() == numbers
    close(rows, expected)
    assert np.array_equal(boxes.reshape(-1, 4)[index.ravel()], rows[:, 2:])


def test_every_uncovered_operator_is_named(tmp_path: Path) -> None:
    operators = [
        operator("warp", {"X": ["x"]}, {"Out": ["a"]}),
        operator("relu", {"X": ["a"]}, {"Out": ["b"]}),
        operator("warp", {"X": ["b"]}, {"Out": ["c"]}),
        operator("while", {"X": ["c"]}, {"Out": ["y"]}),
        operator("unused_thing", {"X": ["x"]}, {"Out": ["dead"]}),
    ]
    with pytest.raises(WeightsError, match=r"not covered: warp \(2\), while \(1\)$"):
        run(tmp_path, operators, {"x": X})


LAYOUTS: list[tuple[str, dict[str, Any], dict[str, str], Callable[[torch.Tensor, Any], Any]]] = [
    (
        "pool2d",
        {"ksize": [2, 2], "strides": [2, 2], "paddings": [0, 0], "data_format": "NHWC"},
        {"X": "x"},
        lambda t, w: F.max_pool2d(t, 2),
    ),
    (
        "conv2d",
        {"strides": [2, 1], "paddings": [1, 1], "data_format": "NHWC"},
        {"Input": "x", "Filter": "k"},
        lambda t, w: F.conv2d(t, w["k"], None, (2, 1), 1),
    ),
    (
        "batch_norm",
        {"epsilon": 1e-5, "data_layout": "NHWC"},
        {"X": "x", "Mean": "v", "Variance": "v", "Scale": "v", "Bias": "v"},
        lambda t, w: F.batch_norm(t, w["v"], w["v"], w["v"], w["v"]),
    ),
    (
        "bilinear_interp_v2",
        {"scale": [2.0, 2.0], "align_corners": False, "align_mode": 0, "data_layout": "NHWC"},
        {"X": "x"},
        lambda t, w: F.interpolate(t, scale_factor=2, mode="bilinear"),
    ),
]


@pytest.mark.parametrize(
    ("kind", "attributes", "slots", "oracle"), LAYOUTS, ids=[c[0] for c in LAYOUTS]
)
def test_channels_last(
    kind: str, attributes: dict[str, Any], slots: dict[str, str], oracle: Any, tmp_path: Path
) -> None:
    arrays = {"k": RNG.normal(size=(4, 6, 3, 3)), "v": RNG.uniform(0.5, 1.5, 6)}
    weights = {n: a.astype(np.float32) for n, a in arrays.items() if n in slots.values()}
    step = operator(kind, {k: [v] for k, v in slots.items()}, {"Out": ["y"]}, attributes)
    last = np.ascontiguousarray(X.transpose(0, 2, 3, 1))
    [got] = run(tmp_path, [step], {"x": last}, weights=weights)
    expected = oracle(T, {n: torch.from_numpy(a) for n, a in weights.items()}).permute(0, 2, 3, 1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_layout_that_is_none_is_refused(tmp_path: Path) -> None:
    attributes = {"ksize": [2, 2], "strides": [2, 2], "paddings": [0, 0], "data_format": "CHWN"}
    with pytest.raises(WeightsError, match=r"operator 0 \(pool2d\): layout CHWN"):
        run(tmp_path, [operator("pool2d", {"X": ["x"]}, {"Out": ["y"]}, attributes)], {"x": X})


def test_outputs_that_are_inputs_or_constants(tmp_path: Path) -> None:
    operators = [
        operator(
            "dropout", {"X": ["x"]}, {"Out": ["y"]}, {"dropout_implementation": "upscale_in_train"}
        ),
        _constant("z", [2], 4.0, 5),
        operator("relu", {"X": ["x"]}, {"Out": ["r"]}),
        operator("assign", {"X": ["r"]}, {"Out": ["s"]}),
    ]
    y, z, r, s = run(tmp_path, operators, {"x": X}, ["y", "z", "r", "s"])
    close(y, X)
    close(z, [4, 4])
    close(r, np.maximum(X, 0))
    close(s, r)


def run_numbered(
    folder: Path, kind: str, attributes: Mapping[str, Any], more: Sequence[Any] = ()
) -> np.ndarray:
    """One operator of the numbered form; lists of numbers are inputs behind the first."""
    name = {"#": "0.a_str", "D": "x"}
    operators: list[dict[str, Any]] = [
        {
            "#": "1.data",
            "I": [],
            "A": [{"N": "name", "AT": name}],
            "O": [typed(1, [-1, *X.shape[1:]])],
        }
    ]
    for index, value in enumerate(more, 2):
        if isinstance(value, list):
            given = plain_attributes({"value": value, "dtype": "int64"})
            operators.append(
                {
                    "#": "1.full_int_array",
                    "I": [],
                    "A": given,
                    "O": [typed(index, [len(value)], "i64")],
                }
            )
        else:
            dtype = "float32" if isinstance(value, float) else "int64"
            given = plain_attributes({"shape": [], "value": float(value), "dtype": dtype})
            operators.append({"#": "1.full", "I": [], "A": given, "O": [typed(index, [])]})
    used = [{"%": i} for i in range(1, 2 + len(more))]
    operators.append(
        {"#": kind, "I": used, "A": plain_attributes(attributes), "O": [{"%": 50}, {"%": 51}]}
    )
    operators.append(
        {
            "#": "1.fetch",
            "I": [{"%": 50}],
            "A": plain_attributes({"name": "y", "col": 0}),
            "O": [{"%": 52}],
        }
    )
    folder.mkdir(exist_ok=True)
    (folder / "inference.json").write_bytes(numbered(operators))
    (folder / "inference.pdiparams").write_bytes(b"\0")
    model = paddle_to_onnx(folder).to_bytes()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": X})[0])


NUMBERED: list[tuple[str, dict[str, Any], list[Any], Callable[[torch.Tensor], Any]]] = [
    ("1.relu_", {}, [], F.relu),
    ("1.scale_", {"bias": 1.0, "bias_after_scale": True}, [2.0], lambda t: 2 * t + 1),
    ("1.clip", {}, [-0.5, 0.25], lambda t: t.clamp(-0.5, 0.25)),
    ("1.reshape", {}, [[0, 3, -1]], lambda t: t.reshape(2, 3, 140)),
    ("1.tile", {}, [[1, 2, 1, 1]], lambda t: t.repeat(1, 2, 1, 1)),
    ("1.expand", {}, [[3, -1, -1, -1, -1]], lambda t: t.expand(3, -1, -1, -1, -1)),
    ("1.sum", {"keepdim": False}, [[1, 3]], lambda t: t.sum((1, 3))),
    ("1.mean", {"keepdim": False}, [[]], lambda t: t.mean()),
    ("1.max", {"keepdim": True}, [[2]], lambda t: t.amax(2, keepdim=True)),
    ("1.amin", {"keepdim": False, "axis": [2]}, [], lambda t: t.amin(2)),
    (
        "1.argmax",
        {"keepdims": False, "flatten": False, "dtype": "int64"},
        [1],
        lambda t: t.argmax(1),
    ),
    ("1.topk", {"axis": -1, "largest": True, "sorted": True}, [3], lambda t: t.topk(3)[0]),
    (
        "1.cumsum",
        {"flatten": False, "exclusive": False, "reverse": False},
        [2],
        lambda t: t.cumsum(2),
    ),
    (
        "1.pad",
        {"paddings": [0, 0, 0, 0, 1, 0, 0, 2]},
        [0.5],
        lambda t: F.pad(t, (0, 2, 1, 0), value=0.5),
    ),
    ("1.slice", {"axes": [1], "decrease_axis": [1]}, [[2], [3]], lambda t: t[:, 2]),
    ("1.strided_slice", {"axes": [3]}, [[1], [9], [2]], lambda t: t[..., 1:9:2]),
    ("1.roll", {"axis": [2]}, [[3]], lambda t: t.roll(3, 2)),
    ("1.squeeze", {}, [[0]], lambda t: t),
    ("1.unsqueeze", {}, [[0, -1]], lambda t: t[None, ..., None]),
    ("1.full_like", {"dtype": "float32"}, [7.0], lambda t: torch.full_like(t, 7)),
    ("1.transpose", {"perm": [0, 2, 1, 3]}, [], lambda t: t.permute(0, 2, 1, 3)),
    ("1.tril", {"diagonal": -1}, [], lambda t: t.tril(-1)),
    (
        "1.p_norm",
        {"porder": 2.0, "axis": -1, "keepdim": True, "asvector": False},
        [],
        lambda t: t.norm(2, -1, True),
    ),
    (
        "1.frobenius_norm",
        {"keep_dim": True, "reduce_all": False},
        [[2, 3]],
        lambda t: t.norm(2, (2, 3), True),
    ),
    (
        "1.pool2d",
        {"strides": [2, 2], "paddings": [1, 1], "pooling_type": "max"},
        [[3, 3]],
        lambda t: F.max_pool2d(t, 3, 2, 1),
    ),
    ("1.cast", {"dtype": "int32"}, [], lambda t: t.int()),
    ("1.leaky_relu", {"negative_slope": 0.3}, [], lambda t: F.leaky_relu(t, 0.3)),
]


@pytest.mark.parametrize(
    ("kind", "attributes", "more", "oracle"), NUMBERED, ids=[c[0] for c in NUMBERED]
)
def test_numbered_form(
    kind: str, attributes: dict[str, Any], more: list[Any], oracle: Any, tmp_path: Path
) -> None:
    close(run_numbered(tmp_path, kind, attributes, more), oracle(T))
