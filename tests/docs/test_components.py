"""The page of components names every one that is registered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinysight.registry import REGISTRIES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "components.md"


@pytest.mark.parametrize("kind", ["head", "loss", "optimizer", "schedule", "postprocess"])
def test_the_page_names_every_component(kind: str) -> None:
    words = set(re.findall(r"`(\w+)`", PAGE.read_text("utf-8")))
    assert set(REGISTRIES[kind].names()) - words == set()
