"""The recorded numbers of the reference framework: where they lie, and the rule that refills weights and inputs.

The folder is `TINYSIGHT_GOLDEN`; without it `../shared/golden` beside the checkout, else the compact set in
`tests/golden`. Tests list the folder when they are collected, so a fixture dropped there is tested as it is.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

_HERE = Path(__file__).resolve()
_REPO = _HERE.parents[2]
_CHOICES = (_REPO.parent / "shared" / "golden", _REPO / "tests" / "golden")
GOLDEN = Path(
    os.environ.get("TINYSIGHT_GOLDEN") or next((p for p in _CHOICES if p.is_dir()), _CHOICES[-1])
)


def read_json(*parts: str) -> Any:
    """One JSON fixture; an absent file fails the test that asks for it."""
    return json.loads(GOLDEN.joinpath(*parts).read_text("utf-8"))


def read_npz(*parts: str) -> dict[str, np.ndarray]:
    """One NPZ fixture, read without pickle."""
    with np.load(GOLDEN.joinpath(*parts), allow_pickle=False) as data:
        return {key: data[key] for key in data.files}


def cases(folder: str, file: str = "cases.json") -> list[dict[str, Any]]:
    """The recorded cases of one kind; empty when the folder is missing (a test of its own fails then)."""
    path = GOLDEN / folder / file
    return list(json.loads(path.read_text("utf-8"))["cases"]) if path.is_file() else []


def ids(case: dict[str, Any]) -> str:
    """A case's id, for `pytest.mark.parametrize(ids=...)`."""
    return str(case["id"])


def not_built(what: str) -> NoReturn:
    """Report a fixture of something that does not exist yet: neither passed nor failed."""
    pytest.xfail(f"not built yet: {what}")


_STRUCTURAL = ("relative_position_index", "attn_mask")
_RES_LAST = re.compile(r"(^|\.)conv2\.(bn|_batch_norm)\.weight$")
_REP_BRANCH = re.compile(r"(^|\.)(linear_conv|dw_conv_list\.\d+)\.bn\.weight$")


def rng_for(name: str) -> np.random.RandomState:
    """The generator of one named entry; `RandomState` has a stream frozen by numpy's policy."""
    return np.random.RandomState(zlib.crc32(name.encode("utf-8")))


def synth(name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Weight of the entry `name` by the recording's rule, reference name and layout; None: keep as built."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf in _STRUCTURAL:
        return None
    rng = rng_for(name)
    if leaf.endswith("_mean"):
        value = rng.normal(0.0, 0.1, shape)
    elif leaf.endswith("_variance"):
        value = rng.uniform(0.5, 1.5, shape)
    elif leaf in ("weight", "weights") and len(shape) == 4:
        gain = 2.6 if shape[1] == 1 else 2.0
        value = rng.normal(0.0, np.sqrt(gain / (shape[1] * shape[2] * shape[3])), shape)
    elif leaf in ("weight", "weights") and len(shape) == 2:
        value = rng.normal(0.0, np.sqrt(2.0 / shape[0]), shape)
    elif leaf == "weight" and len(shape) == 1:
        low, high = 0.5, 1.5
        if _RES_LAST.search(name):
            low, high = 0.1, 0.3
        elif _REP_BRANCH.search(name):
            high = 1.0
        value = rng.uniform(low, high, shape)
    elif leaf == "scale":
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.normal(0.0, 0.1, shape)
    return np.asarray(value, np.float64).astype(np.float32)


def synth_columns(name: str, shape: tuple[int, int], step: int) -> np.ndarray:
    """`synth(name, shape)[:, ::step]` of a weight too large to hold: its rows are drawn one by one."""
    rng, scale = rng_for(name), np.sqrt(2.0 / shape[0])
    rows = [rng.normal(0.0, scale, shape[1])[::step] for _ in range(shape[0])]
    return np.stack(rows).astype(np.float32)


def synth_input(n: int, h: int = 224, w: int = 224, c: int = 3, name: str = "input") -> np.ndarray:
    """A batch of the recording's synthetic images, (n, c, h, w) float32."""
    rng = rng_for(name)
    offset = rng.normal(0.0, 1.0, (n, c, 1, 1))
    coarse = rng.normal(0.0, 1.0, (n, c, 7, 7))
    noise = rng.normal(0.0, 0.5, (n, c, h, w))
    fh, fw = -(-h // 7), -(-w // 7)
    up = np.repeat(np.repeat(coarse, fh, axis=2), fw, axis=3)[:, :, :h, :w]
    return (offset + up + noise).astype(np.float32)
