"""Paddle programs to ONNX, operator by operator, without Paddle and without torch.

`translate` walks the program. The table of operators is filled by `elementwise`, `layers`, `shape_ops`, `constants`,
`reduce`, `image`, `detect` and `fused_ops`; `tinysight.graph` folds, fuses and writes the result.
"""

from __future__ import annotations

from tinysight.compat.paddle.to_onnx.translate import paddle_to_onnx

__all__ = ["paddle_to_onnx"]
