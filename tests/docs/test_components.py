"""The page of components names every one that is registered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinysight.registry import REGISTRIES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "components.md"

KINDS = ["distillation_loss", "embedding_loss", "head", "loss", "optimizer", "schedule"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_names_every_component(kind: str) -> None:
    words = set(re.findall(r"`(\w+)`", PAGE.read_text("utf-8")))
    assert set(REGISTRIES[kind].names()) - words == set()
