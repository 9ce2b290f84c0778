"""Damaged archives: what is inside, or an error of ours; nothing outside the folder, and nothing left behind."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from support.breaking import Campaign, mutated
from tinysight.fetch.archive import Limits, extract

_SPEC = importlib.util.spec_from_file_location(
    "archives", Path(__file__).parents[1] / "fetch" / "test_archive.py"
)
assert _SPEC
assert _SPEC.loader
archives = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(archives)

SEED = int(os.environ.get("TINYSIGHT_SEED", "1"))
SMALL = Limits(members=50, total=1 << 20, ratio=50, ratio_from=1 << 16)


@pytest.mark.parametrize("count", [150, pytest.param(900, marks=pytest.mark.slow)])
def test_archives(count: int, tmp_path: Path) -> None:
    campaign, rng = Campaign("archives", SEED), random.Random(SEED)
    hostile = [make() for make, _ in archives.HOSTILE.values()]
    for number in range(count):
        whole = rng.choice(archives.WHOLE) if rng.random() < 0.6 else rng.choice(hostile)
        place = tmp_path / "place"
        place.mkdir()
        (place / "archive").write_bytes(mutated(whole, rng))
        read = campaign.attempt(
            f"archive {number}", partial(extract, place / "archive", place / "out", SMALL)
        )
        assert {path.name for path in place.iterdir()} == {"archive", *(["out"] if read else [])}
        assert [path.name for path in tmp_path.iterdir()] == ["place"]
        for path in place.rglob("*"):
            assert not path.is_symlink()
            assert path.is_dir() or path.is_file()
        shutil.rmtree(place)
    campaign.check(count)
