"""Paddle programs to ONNX, operator by operator, without Paddle and without torch.

`translate` walks the program; the table of operators is filled by `elementwise`, `layers`, `shape_ops`, `constants`,
`reduce`, `image` and `detect`; `graph` folds what is known; `fuse` makes the result lean; `model` writes it.
"""

from __future__ import annotations

from tinysight.compat.paddle.to_onnx.model import paddle_to_onnx

__all__ = ["paddle_to_onnx"]
