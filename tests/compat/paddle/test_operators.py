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

from support.paddle import numbered, op, operator, plain_attributes, typed, write_legacy
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


Case = tuple[str, dict[str, Any], Callable[..., Any]]


def case(kind: str, oracle: Callable[..., Any], /, **attributes: Any) -> Case:
    """A row of a table: an operator with attributes, and what it should be."""
    return kind, attributes, oracle


def pool(
    kind: str, side: int, oracle: Callable[..., Any], step: int = 2, pad: int = 0, **more: Any
) -> Case:
    """As `case`, of windows of one side."""
    sides = {"ksize": [side] * 2, "strides": [step] * 2, "paddings": [pad] * 2}
    return case("pool2d", oracle, **sides, pooling_type=kind, **more)


def adaptive(kind: str, size: list[int], oracle: Callable[..., Any]) -> Case:
    """As `case`, of a pool to a size."""
    return case("pool2d", oracle, ksize=size, pooling_type=kind, adaptive=True)


def resize(
    kind: str, size: tuple[int, int], oracle: Callable[..., Any], corners: bool = False, **more: Any
) -> Case:
    """As `case`, of a resize to height and width."""
    height, width = size
    return case(kind, oracle, out_h=height, out_w=width, align_corners=corners, **more)


UNARY: list[Case] = [
    case("relu", F.relu),
    case("relu6", F.relu6, threshold=6.0),
    case("sigmoid", torch.sigmoid),
    case("tanh", torch.tanh),
    case("silu", F.silu),
    case("swish", lambda t: t * torch.sigmoid(1.5 * t), beta=1.5),
    case("mish", F.mish),
    case("gelu", F.gelu, approximate=False),
    case("gelu", lambda t: F.gelu(t, approximate="tanh"), approximate=True),
    case("elu", lambda t: F.elu(t, 0.7), alpha=0.7),
    case("selu", F.selu),
    case("softplus", lambda t: F.softplus(t, 2.0), beta=2.0),
    case("softsign", F.softsign),
    case("leaky_relu", lambda t: F.leaky_relu(t, 0.1), alpha=0.1),
    case("hard_swish", F.hardswish, threshold=6.0, scale=6.0, offset=3.0),
    case("hard_swish", lambda t: t * (t + 2).clamp(0, 4) / 5, threshold=4.0, scale=5.0, offset=2.0),
    case("hard_sigmoid", lambda t: (0.2 * t + 0.5).clamp(0, 1), slope=0.2, offset=0.5),
    case("brelu", lambda t: t.clamp(-0.5, 0.5), t_min=-0.5, t_max=0.5),
    case("clip", lambda t: t.clamp(-0.3, 0.8), min=-0.3, max=0.8),
    case("abs", torch.abs),
    case("exp", torch.exp),
    case("square", torch.square),
    case("floor", torch.floor),
    case("ceil", torch.ceil),
    case("sign", torch.sign),
    case("sin", torch.sin),
    case("cos", torch.cos),
    case("erf", torch.erf),
    case("reciprocal", torch.reciprocal),
    case("pow", lambda t: t**2, factor=2.0),
    case("pow", lambda t: t**3, factor=3.0),
    case("scale", lambda t: 2 * t + 1, scale=2.0, bias=1.0, bias_after_scale=True),
    case("scale", lambda t: 2 * (t + 1), scale=2.0, bias=1.0, bias_after_scale=False),
    case("softmax", lambda t: t.softmax(1), axis=1),
    case("log_softmax", lambda t: t.log_softmax(-1), axis=-1),
    case("cast", lambda t: t.long(), in_dtype=5, out_dtype=3),
    case(
        "dropout",
        lambda t: t * 0.75,
        dropout_implementation="downgrade_in_infer",
        dropout_prob=0.25,
    ),
    case("dropout", lambda t: t, dropout_implementation="upscale_in_train", dropout_prob=0.25),
    case("assign", lambda t: t),
    # pooling
    pool("max", 3, lambda t: F.max_pool2d(t, 3, 2, 1), pad=1),
    pool("max", 2, lambda t: F.max_pool2d(t, 2, 2, ceil_mode=True), ceil_mode=True),
    pool(
        "avg", 3, lambda t: F.avg_pool2d(t, 3, 2, 1, count_include_pad=False), pad=1, exclusive=True
    ),
    pool("avg", 3, lambda t: F.avg_pool2d(t, 3, 2, 1), pad=1, exclusive=False),
    pool("avg", 2, lambda t: F.avg_pool2d(t, 2, 2, ceil_mode=True), exclusive=True, ceil_mode=True),
    pool(
        "max",
        2,
        lambda t: F.max_pool2d(F.pad(t, (0, 1, 0, 1), value=-torch.inf), 2, 1),
        step=1,
        padding_algorithm="SAME",
    ),
    adaptive("avg", [1, 1], lambda t: t.mean((2, 3), keepdim=True)),
    adaptive("max", [1, 1], lambda t: t.amax((2, 3), keepdim=True)),
    adaptive("avg", [7, 5], lambda t: F.adaptive_avg_pool2d(t, (7, 5))),
    adaptive("avg", [3, 4], lambda t: F.adaptive_avg_pool2d(t, (3, 4))),
    adaptive("max", [3, 4], lambda t: F.adaptive_max_pool2d(t, (3, 4))),
    case(
        "pool2d",
        lambda t: t.mean((2, 3), keepdim=True),
        ksize=[3, 3],
        pooling_type="avg",
        global_pooling=True,
    ),
    # resizing
    resize(
        "bilinear_interp_v2",
        (11, 5),
        lambda t: F.interpolate(t, (11, 5), mode="bilinear"),
        align_mode=0,
    ),
    resize(
        "bilinear_interp_v2",
        (11, 5),
        lambda t: F.interpolate(t, (11, 5), mode="bilinear", align_corners=True),
        corners=True,
        align_mode=1,
    ),
    resize(
        "bilinear_interp_v2",
        (-1, -1),
        lambda t: F.interpolate(t, scale_factor=2, mode="bilinear"),
        scale=[2.0, 2.0],
        align_mode=0,
    ),
    resize("nearest_interp_v2", (11, 5), lambda t: F.interpolate(t, (11, 5))),
    case(
        "nearest_interp", lambda t: F.interpolate(t, scale_factor=2), scale=2.0, align_corners=False
    ),
    resize("bicubic_interp_v2", (14, 20), lambda t: F.interpolate(t, (14, 20), mode="bicubic")),
    # images
    case(
        "pad2d",
        lambda t: F.pad(t, (3, 0, 1, 2), value=0.5),
        paddings=[1, 2, 3, 0],
        mode="constant",
        pad_value=0.5,
    ),
    case(
        "pad2d",
        lambda t: F.pad(t, (3, 0, 1, 2), mode="reflect"),
        paddings=[1, 2, 3, 0],
        mode="reflect",
    ),
    case(
        "pad2d",
        lambda t: F.pad(t, (3, 0, 1, 2), mode="replicate"),
        paddings=[1, 2, 3, 0],
        mode="edge",
    ),
    case(
        "pad",
        lambda t: F.pad(t, (2, 1, 0, 0, 1, 0)),
        paddings=[0, 0, 1, 0, 0, 0, 2, 1],
        pad_value=0.0,
    ),
    case(
        "unfold",
        lambda t: F.unfold(t, (3, 2), (1, 2), (1, 0), (2, 1)),
        kernel_sizes=[3, 2],
        strides=[2, 1],
        paddings=[1, 0, 1, 0],
        dilations=[1, 2],
    ),
    case("shuffle_channel", lambda t: F.channel_shuffle(t, 3), group=3),
    case("channel_shuffle", lambda t: F.channel_shuffle(t, 2), groups=2),
    # reductions
    case("reduce_mean", lambda t: t.mean((2, 3)), dim=[2, 3], keep_dim=False),
    case("reduce_mean", lambda t: t.mean((2, 3), keepdim=True), dim=[2, 3], keep_dim=True),
    case("reduce_sum", lambda t: t.sum(-1), dim=[-1], keep_dim=False),
    case("reduce_max", lambda t: t.amax(1, keepdim=True), dim=[1], keep_dim=True),
    case("reduce_min", lambda t: t.amin((1, 2)), dim=[1, 2], keep_dim=False),
    case("reduce_prod", lambda t: t.prod(3), dim=[3], keep_dim=False),
    case("logsumexp", lambda t: t.logsumexp(1, keepdim=True), axis=[1], keepdim=True),
    case("p_norm", lambda t: t.norm(2, 1, keepdim=True), axis=1, porder=2.0, keepdim=True),
    case("p_norm", lambda t: t.norm(1, 1), axis=1, porder=1.0, keepdim=False),
    case("p_norm", lambda t: t.norm(3, 1), axis=1, porder=3.0, keepdim=False),
    case("p_norm", lambda t: t.abs().amax(1), axis=1, porder=float("inf"), keepdim=False),
    case("norm", lambda t: F.normalize(t, dim=1), axis=1, epsilon=1e-10),
    case("arg_max", lambda t: t.argmax(1), axis=1, keepdims=False, flatten=False, dtype=3),
    case(
        "arg_min",
        lambda t: t.argmin(-1, keepdim=True),
        axis=-1,
        keepdims=True,
        flatten=False,
        dtype=3,
    ),
    case("cumsum", lambda t: t.cumsum(2), axis=2),
    # shapes
    case("reshape2", lambda t: t.reshape(2, 42, 10), shape=[0, -1, 10]),
    case("reshape2", lambda t: t.reshape(-1, 3, 2, 70), shape=[-1, 3, 2, 70]),
    case("reshape2", lambda t: t.reshape(-1, 70), shape=[-1, 70]),
    case("flatten_contiguous_range", lambda t: t.flatten(1), start_axis=1, stop_axis=-1),
    case("flatten_contiguous_range", lambda t: t.flatten(0, 2), start_axis=0, stop_axis=2),
    case("flatten2", lambda t: t.reshape(12, 70), axis=2),
    case("transpose2", lambda t: t.permute(0, 2, 3, 1), axis=[0, 2, 3, 1]),
    case("unsqueeze2", lambda t: t[:, None, ..., None], axes=[1, -1]),
    case("slice", lambda t: t[:, 1:4, :, -4:], axes=[1, 3], starts=[1, -4], ends=[4, 2147483647]),
    case("slice", lambda t: t[:, 2], axes=[1], starts=[2], ends=[3], decrease_axis=[1]),
    case("slice", lambda t: t[:1], axes=[0], starts=[0], ends=[1]),
    case(
        "strided_slice",
        lambda t: t[:, :, ::2, 1:9:3],
        axes=[2, 3],
        starts=[0, 1],
        ends=[2147483647, 9],
        strides=[2, 3],
    ),
    case("flip", lambda t: t.flip(3, 1), axis=[3, 1]),
    case("roll", lambda t: t.roll((2, -3), (1, 3)), shifts=[2, -3], axis=[1, 3]),
    case("tile", lambda t: t.repeat(1, 2, 1, 3), repeat_times=[1, 2, 1, 3]),
    case("expand_v2", lambda t: t.expand(3, -1, 6, 7, 10), shape=[3, -1, 6, 7, 10]),
    case("tril_triu", lambda t: t.tril(1), diagonal=1, lower=True),
    case("tril_triu", lambda t: t.triu(), diagonal=0, lower=False),
    case("repeat_interleave", lambda t: t.repeat_interleave(2, 1), Repeats=2, dim=1),
]


@pytest.mark.parametrize(
    ("kind", "attributes", "oracle"), UNARY, ids=[f"{i}-{c[0]}" for i, c in enumerate(UNARY)]
)
def test_one_input(kind: str, attributes: dict[str, Any], oracle: Any, tmp_path: Path) -> None:
    slot = "Input" if "slice" in kind else "X"
    [got] = run(tmp_path, [op(kind, f"{slot}=x", **attributes)], {"x": X})
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
    [got] = run(tmp_path, [op(kind, "X=x")], {"x": x})
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
    [got] = run(tmp_path, [op(kind, "X=x Y=w", axis=axis)], {"x": X}, weights={"w": w})
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
    norm = "X=c Scale=scale Bias=bias Mean=mean Variance=variance"
    operators = [
        op("conv2d", "Input=x Filter=k", "Output=a", **attributes),
        op("elementwise_add", "X=a Y=b", "Out=c", axis=1),
        op("batch_norm", norm, "Y=d", epsilon=1e-3),
        op("relu", "X=d", "Out=e"),
        op("scale", "X=e", scale=0.8, bias=0.0),
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
        op("conv2d", "Input=x Filter=k", "Output=a", strides=[1, 1], paddings=[1, 1]),
        op(activation, "X=a", "Out=b"),
        op("elementwise_mul", "X=s Y=b", "Out=c", axis=-1),
        op("elementwise_add", "X=c Y=o", axis=-1),
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
    norm = "X=a Scale=scale Bias=bias Mean=mean Variance=variance"
    operators = [
        op("conv2d_transpose", "Input=x Filter=k", "Output=a", **attributes),
        op("batch_norm", norm, "Y=y", epsilon=1e-5),
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
        case(
            "layer_norm",
            lambda w, b: F.layer_norm(T, (10,), w[:10], b[:10]),
            begin_norm_axis=3,
            epsilon=1e-5,
        ),
        case("group_norm", lambda w, b: F.group_norm(T, 3, w[:6], b[:6]), groups=3, epsilon=1e-5),
        case(
            "instance_norm", lambda w, b: F.instance_norm(T, weight=w[:6], bias=b[:6]), epsilon=1e-5
        ),
    ],
)
def test_norms(kind: str, attributes: dict[str, Any], oracle: Any, tmp_path: Path) -> None:
    size = 10 if kind == "layer_norm" else 6
    w, b = (RNG.normal(size=10).astype(np.float32) for _ in range(2))
    [got] = run(
        tmp_path,
        [op(kind, "X=x Scale=w Bias=b", "Y=y", **attributes)],
        {"x": X},
        weights={"w": w[:size], "b": b[:size]},
    )
    np.testing.assert_allclose(
        got, oracle(torch.from_numpy(w), torch.from_numpy(b)), rtol=1e-4, atol=1e-5
    )


def test_layer_norm_over_several_axes(tmp_path: Path) -> None:
    w, b = (RNG.normal(size=420).astype(np.float32) for _ in range(2))
    [got] = run(
        tmp_path,
        [op("layer_norm", "X=x Scale=w Bias=b", "Y=y", begin_norm_axis=1, epsilon=1e-5)],
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
    slots = "Input=s W=w" if kind == "fc" else "X=s Y=w"
    operators = [
        op("scale", "X=x", "Out=s", scale=0.8, bias=0.0),
        op(kind, slots, "Out=a"),
        op("elementwise_add", "X=a Y=b", "Out=c", axis=-1),
        op("elementwise_mul", "X=c Y=f", axis=-1),
    ]
    [got] = run(tmp_path, operators, {"x": x}, weights=weights)
    close(got, ((0.8 * x) @ weights["w"] + weights["b"]) * weights["f"])
    assert [n.op for n in paddle_to_onnx(tmp_path).nodes] == ["Gemm"]


def test_transposed_products(tmp_path: Path) -> None:
    a, b = (RNG.normal(size=s).astype(np.float32) for s in ((2, 3, 5, 4), (2, 3, 6, 5)))
    step = op("matmul_v2", "X=a Y=b", trans_x=True, trans_y=True)
    [got] = run(tmp_path, [step], {"a": a, "b": b})
    close(got, a.swapaxes(2, 3) @ b.swapaxes(2, 3))


def test_several_outputs(tmp_path: Path) -> None:
    operators = [
        op("split", "X=x", "Out=a,b,c", sections=[1, -1, 2], axis=1),
        op("unbind", "X=x", "Out=u0,u1,u2,u3,u4,u5", axis=1),
        op("top_k_v2", "X=x", "Out=t Indices=i", k=3, axis=3),
        op("stack", "X=u0,u5", "Y=s", axis=-1),
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
        op("gather", "X=x Index=index", "Out=g", axis=1),
        op("index_select", "X=x Index=index", "Out=s", dim=2),
        op("lookup_table_v2", "Ids=index W=table", "Out=e"),
        op("one_hot_v2", "X=index", "Out=o", depth=4),
    ]
    g, s, e, o = run(tmp_path, operators, {"x": X}, ["g", "s", "e", "o"], weights)
    close(g, X[:, [3, 0, 3]])
    close(s, X[:, :, [3, 0, 3]])
    close(e, weights["table"][[3, 0, 3]])
    close(o, np.eye(4, dtype=np.float32)[[3, 0, 3]])


def _constant(name: str, shape: list[int], value: float, dtype: int = 3) -> bytes:
    return op("fill_constant", "", f"Out={name}", shape=shape, value=value, dtype=dtype)


@pytest.mark.parametrize("open_sides", [(0,), (0, 2, 3), (0, 1, 2, 3)])
def test_shape_computations(open_sides: tuple[int, ...], tmp_path: Path) -> None:
    """`n, c, h, w = x.shape; y = x.reshape([n * 2, c // 2, h * w])` and a constant of that batch."""
    side = {"axes": [0], "decrease_axis": [0]}
    operators = [op("shape", "Input=x", "Out=s")]
    for i, name in enumerate("nchw"):
        operators.append(op("slice", "Input=s", f"Out={name}", **side, starts=[i], ends=[i + 1]))
    operators += [
        _constant("two", [], 2.0),
        op("elementwise_mul", "X=n Y=two", "Out=n2", axis=-1),
        op("elementwise_floordiv", "X=c Y=two", "Out=c2", axis=-1),
        op("elementwise_mul", "X=h Y=w", "Out=hw", axis=-1),
        op("reshape2", "X=x ShapeTensor=n2,c2,hw", shape=[-1, -1, -1]),
        op("fill_constant", "ShapeTensorList=n2,two", "Out=z", shape=[], value=3.0, dtype=5),
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
        op("conv2d", "Input=x Filter=k", "Output=a", strides=[2, 2], paddings=[1, 1]),
        op("pool2d", "X=a", "Out=b", **pool),
        op("flatten_contiguous_range", "X=b", "Out=c", start_axis=2, stop_axis=3),
        op("transpose2", "X=c", axis=[0, 2, 1]),
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
        op("set_value", "Input=x", **box, shape=[1], fp32_values=[5.0]),
        op("set_value", "Input=x ValueTensor=v", "Out=z", **one),
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
        op("warp", "X=x", "Out=a"),
        op("relu", "X=a", "Out=b"),
        op("warp", "X=b", "Out=c"),
        op("while", "X=c"),
        op("unused_thing", "X=x", "Out=dead"),
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
        run(tmp_path, [op("pool2d", "X=x", **attributes)], {"x": X})


def test_outputs_that_are_inputs_or_constants(tmp_path: Path) -> None:
    operators = [
        op("dropout", "X=x", dropout_implementation="upscale_in_train"),
        _constant("z", [2], 4.0, 5),
        op("relu", "X=x", "Out=r"),
        op("assign", "X=r", "Out=s"),
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
