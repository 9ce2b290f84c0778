"""`kill -9` at random moments: nothing unreadable, nothing acknowledged lost, no half batch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support.commands import python
from support.galleries import embedding_bundle, make_photos

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("trials", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_killed_at_random_moments(trials: int, tmp_path: Path) -> None:
    embedding_bundle(tmp_path / "bundle")
    make_photos(tmp_path / "photos", ("a", "b", "c"), each=4)
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    done = python(TESTS / "gallery" / "killed.py", tmp_path, trials, 5, PYTHONPATH=paths)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["faults"] == []
    assert found["trials"] == trials
    assert found["kills"] > trials / 4
