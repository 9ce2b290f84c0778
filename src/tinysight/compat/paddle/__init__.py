"""Foreign files, read safely without the framework that wrote them (NumPy shore).

`read_paddle_state` reads `.pdparams`; `read_paddle_inference` an exported folder; `paddle_to_onnx` translates one;
`paddle_bundle` makes a bundle of one, and `named_bundle` of a public one by its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinysight.compat.paddle.folder import PaddleModel, read_paddle_inference
    from tinysight.compat.paddle.pdparams import (
        read_paddle_pickle,
        read_paddle_state,
        read_parameter_names,
    )
    from tinysight.compat.paddle.tensors import read_tensor, read_tensors
    from tinysight.compat.paddle.to_onnx import paddle_to_onnx

_HOME = {
    "PaddleModel": "folder",
    "paddle_to_onnx": "to_onnx",
    "read_paddle_inference": "folder",
    "read_paddle_pickle": "pdparams",
    "read_paddle_state": "pdparams",
    "read_parameter_names": "pdparams",
    "read_tensor": "tensors",
    "read_tensors": "tensors",
}

__all__ = [
    "PaddleModel",
    "paddle_to_onnx",
    "read_paddle_inference",
    "read_paddle_pickle",
    "read_paddle_state",
    "read_parameter_names",
    "read_tensor",
    "read_tensors",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
