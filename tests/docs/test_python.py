"""The page of the package's names has them all, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tinysight

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(\w+)[^|]*\|", TEXT, re.MULTILINE)
BLOCKS = "\n".join(re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))


def test_each_name_has_a_row() -> None:
    assert sorted(set(ROWS)) == sorted(tinysight.__all__)


@pytest.mark.parametrize("name", sorted({*tinysight.__all__} - {"TrainedRun"}))
def test_each_name_is_used_in_an_example(name: str) -> None:
    assert re.search(rf"\b{name}\b", BLOCKS)


@pytest.mark.parametrize("name", ["train", "fit", "evaluate", "load"])
def test_verbs_are_functions_and_no_modules(name: str) -> None:
    for module in ("tinysight.starter.train", "tinysight.evaluation", "tinysight.training.loop"):
        __import__(module)
    assert callable(getattr(tinysight, name))
