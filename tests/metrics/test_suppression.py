"""Non-maximum suppression and the other ways to choose boxes: every recorded case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.golden import Case, cases, each
from tinysight.metrics.suppression import Suppression, multiclass_nms


def recorded(kind: str) -> list[Any]:
    found = [c for c in cases("detpost") if c.path.stem == kind]
    return [pytest.param(c, id=c["id"]) for c in found]


@each("case", recorded("nms"), "detpost/nms")
def test_rows_and_places(case: Case) -> None:
    about, arrays = case["attrs"], case.arrays
    rule = Suppression(
        about["score_threshold"], about["nms_top_k"], about["nms_threshold"], about["keep_top_k"],
        about["normalized"], about["nms_eta"], about["background_label"],
    )  # fmt: skip
    found = [
        multiclass_nms(b, s, rule) for b, s in zip(arrays["boxes"], arrays["scores"], strict=True)
    ]
    assert [len(rows) for rows, _ in found] == arrays["num"].reshape(-1).tolist()
    if case["strict"]:
        count = arrays["boxes"].shape[1]
        places = np.concatenate([at + i * count for i, (_, at) in enumerate(found)])
        assert np.array_equal(places, arrays["index"].reshape(-1))
        rows = np.concatenate([rows for rows, _ in found])
        assert np.array_equal(rows, arrays["out"].reshape(-1, 6))
