"""Damaged images and decoding bombs: an image, or an error of ours; the same for Python and for C++."""

from __future__ import annotations

import json
import os
import random
from functools import partial
from pathlib import Path

import pytest

from support.breaking import Campaign, bombs, mutated_images
from support.cpp import run_cpp
from tinysight.bundle import SHIPPED
from tinysight.data.audit.inspect import inspect
from tinysight.pipelines.pipeline import Classifier
from tinysight.transforms import decode

CLARITY = SHIPPED / "clarity_assessment"
SEED = int(os.environ.get("TINYSIGHT_SEED", "1"))


@pytest.mark.parametrize("count", [400, pytest.param(3500, marks=pytest.mark.slow)])
def test_damaged_images(count: int, capfd: pytest.CaptureFixture[str]) -> None:
    campaign, rng = Campaign("images", SEED), random.Random(SEED)
    for name, data in mutated_images(count, SEED):
        min_size = rng.choice((None, (20, 20), (60, 40)))
        campaign.attempt(name, partial(decode, data, min_size=min_size, max_pixels=4_000_000))
    campaign.check(count)
    assert 0.1 < campaign.counts["refused"] / count < 0.9
    assert capfd.readouterr().err == ""  # nothing of a library's own, which has no file name


def test_bombs(tmp_path: Path) -> None:
    campaign, count = Campaign("bombs", 0), 0
    for name, data in bombs():
        count += 1
        campaign.attempt(name, partial(decode, data))
        (tmp_path / name).write_bytes(data)
        campaign.attempt(f"{name}, inspected", partial(inspect, tmp_path / name))
    assert count >= 60
    campaign.check(2 * count)


@pytest.mark.parametrize("count", [300, pytest.param(4000, marks=pytest.mark.slow)])
def test_python_and_cpp_decide_alike(count: int, tmp_path: Path) -> None:
    for name, data in mutated_images(count, SEED + 1):
        (tmp_path / name).write_bytes(data)
    ran = run_cpp("predict", tmp_path, "--model", CLARITY, "--json")
    expected = [item.to_json() for item in Classifier(CLARITY, workers=1).stream(str(tmp_path))]
    differ = []
    for here, there in zip(expected, ran.rows, strict=True):
        assert here["filename"] == there["filename"]
        scores = [row.get("scores", [-1.0])[0] for row in (here, there)]
        if abs(scores[0] - scores[1]) > 1e-3:
            differ.append((here, there))
    assert differ == [], f"seed {SEED + 1}: {json.dumps(differ, indent=1)}"
    assert ran.code == 1
