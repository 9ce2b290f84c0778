"""The oracle itself is present and is what it says: without it a green suite would prove nothing."""

from __future__ import annotations

import hashlib

import pytest
from support.golden import GOLDEN, read_json, synth, synth_input

CHECKED = read_json("rule_check.json") if (GOLDEN / "rule_check.json").is_file() else {}


@pytest.mark.golden
@pytest.mark.parametrize(
    "kind", ["lr", "losses", "metrics", "models", "postprocess", "preprocess", "train"]
)
def test_every_kind_of_fixture_is_there(kind: str) -> None:
    assert any((GOLDEN / kind).glob("*.json")), (
        f"no fixtures in {GOLDEN / kind}; set TINYSIGHT_GOLDEN"
    )


@pytest.mark.golden
def test_the_weight_rule_gives_the_recorded_bytes() -> None:
    assert CHECKED, f"no rule_check.json in {GOLDEN}"
    for name, expected in CHECKED.items():
        kind, _, source = name.partition(":")
        shape = tuple(expected["shape"])
        if kind == "synth_input":
            value = synth_input(shape[0], shape[2], shape[3], name=source)
        else:
            value = synth(name, shape)
        assert value is not None
        assert hashlib.sha256(value.tobytes()).hexdigest() == expected["sha256"], name
