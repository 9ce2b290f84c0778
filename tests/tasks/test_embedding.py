"""Vectors of images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses


def test_by_hand() -> None:
    scores = np.float32([[3, 4], [0, 0]])
    assert [a.embedding.tolist() for a in postprocesses.build({"name": "embedding"})(scores)] == [
        pytest.approx([0.6, 0.8]), [0, 0],
    ]  # fmt: skip
    plain = postprocesses.build({"name": "embedding", "normalize": False})
    assert [a.embedding.tolist() for a in plain(scores)] == [[3, 4], [0, 0]]
    with pytest.raises(ConfigError, match=r"\(N, D\)"):
        plain(scores[0])


@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(-(2.0**60), 2.0**60, width=32)))
def test_length_is_one_or_nothing(scores: np.ndarray) -> None:
    found = np.array([a.embedding for a in postprocesses.build({"name": "embedding"})(scores)])
    lengths = np.linalg.norm(found, axis=1)
    for row, length in zip(scores, lengths, strict=True):
        if np.linalg.norm(row.astype(np.float64)) > 1e-25:
            assert length == pytest.approx(1, abs=1e-5)
        else:
            assert length <= 1 + 1e-5
