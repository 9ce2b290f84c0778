"""Data types as attributes write them: a code in the legacy form, a name in the numbered one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinysight.compat.paddle.tensors import DTYPES
from tinysight.compat.paddle.to_onnx.graph import Unsupported


def dtype_of(value: Any) -> np.dtype[Any]:
    """The NumPy type of a `dtype` attribute.

    Raises:
        Unsupported: not a type, or one that ONNX has and NumPy has not (bfloat16).
    """
    name = DTYPES.get(value) if isinstance(value, int) else value
    if name in ("bfloat16", None) or name not in DTYPES.values():
        raise Unsupported(f"data type {value!r:.40}")
    return np.dtype(name)
