"""Several operators in one, as programs hold them that were trained or optimised with fused kernels."""

from __future__ import annotations

import math

import numpy as np

from tinysight.compat.paddle.to_onnx.layers import batch_norm, product_of, swap_last
from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import Unsupported, Value


def _activated(v: OpContext, x: Value, name: str) -> Value:
    if name in ("none", "", "identity"):
        return x
    if name not in ("relu", "sigmoid", "tanh"):
        raise Unsupported(f"activation {name!r:.40}")
    return v.emit(name.capitalize(), x)


@op("fused_batch_norm_act", "X Scale Bias Mean Variance", "Y")
def _batch_norm_and_activation(v: OpContext) -> Value:
    return _activated(v, batch_norm(v), v.get("act_type", "relu"))


@op("fused_gemm_epilogue", "X Y Bias")
def _linear_and_activation(v: OpContext) -> Value:
    return _activated(v, v.emit("Add", product_of(v), v["Bias"]), v.get("activation", "none"))


@op("swiglu", "X Y")
def _swiglu(v: OpContext) -> Value:
    parts = [v[name] for name in "XY" if name in v]
    if len(parts) == 1:
        axis = len(v.sides(parts[0])) - 1
        half, odd = divmod(v.side(parts[0], axis), 2)
        if odd:
            raise Unsupported("half of a side that is odd")
        parts = v.graph.emit_all("Split", parts[0], np.array([half, half]), axis=axis)
    x, y = parts
    return v.emit("Mul", v.emit("Mul", x, v.emit("Sigmoid", x)), y)


@op("flash_attn", "q k v fixed_seed_offset attn_mask", "out")
def _attention(v: OpContext) -> Value:
    """softmax(q k / sqrt(d) + mask) v for (images, positions, heads, d)."""
    if v.get("causal", False) or v.get("return_softmax", False):
        raise Unsupported("attention to the past alone")
    query, key, value = (v.emit("Transpose", v[n], perm=[0, 2, 1, 3]) for n in "qkv")
    size = v.numbers(v.sides(query)[-1:])[0]
    scaled = v.emit("Mul", query, v.like(1 / math.sqrt(size), query))
    weights = v.emit("MatMul", scaled, swap_last(v, key))
    if "attn_mask" in v:
        weights = v.emit("Add", weights, v["attn_mask"])
    mixed = v.emit("MatMul", v.emit("Softmax", weights, axis=-1), value)
    return v.emit("Transpose", mixed, perm=[0, 2, 1, 3])
