"""YAML 1.2 scalars, refusals, and writes that are whole or absent."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinysight.errors import ConfigError
from tinysight.files import parse_yaml, parse_yaml11, read_yaml, to_yaml, write_atomic


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        ("-.5", -0.5),
        ("7.", 7.0),
        ("no", "no"),
        ("On", "On"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("+3", 3),
        ("True", True),
        ("~", None),
        ("", None),
        ("[1, a]", [1, "a"]),
        ("'1'", "1"),
        (".inf", math.inf),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_yaml(f"k: {text}", "f")["k"]
    assert parsed == value
    assert type(parsed) is type(value)


# Nine lines that would be a thousand million words; and 50 lists, each in the one after it.
LAUGHS = "a0: &a0 [" + "ha, " * 10 + "]\n"
LAUGHS += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
LADDER = "b0: &b0 []\n" + "".join(f"b{i}: &b{i} [*b{i - 1}]\n" for i in range(1, 51))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &b [1]\nc: *b", {"a": [1], "c": [1]}),
        ("a: &n 2\nc: {d: *n}", {"a": 2, "c": {"d": 2}}),
        ("a: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}", {"a": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}}),
        (
            "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: [*b, *a], z: *a}",
            {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 2, "z": {"x": 1}}},
        ),
        ("a: '<<'", {"a": "<<"}),
    ],
)
@pytest.mark.parametrize("parse", [parse_yaml, parse_yaml11])
def test_aliases_and_merge_keys(parse: Any, text: str, value: object) -> None:
    assert parse(text, "f") == value


def test_what_aliases_name_is_no_common_object() -> None:
    found = parse_yaml("a: &b {x: [1]}\nc: *b\nd: {<<: *b}", "f")
    found["c"]["x"].append(2)
    assert found == {"a": {"x": [1]}, "c": {"x": [1, 2]}, "d": {"x": [1]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"f\.yaml:3:1: key 'a' appears twice"),
        ("x:\n  - {a: 1, a: 2}", r"f\.yaml:2:12: key 'a' appears twice"),
        ("a: &b [*b]", r"f\.yaml:1:8: the alias \*b stands inside of what it names"),
        ("a: *b", r"f\.yaml:1:4: found undefined alias"),
        ("a: &b {x: 1}\nc: {<<: *b, y: 1, y: 2}", r"f\.yaml:2:19: key 'y' appears twice"),
        ("a: &b {x: 1}\nc: {<<: *b, <<: *b}", r"f\.yaml:2:13: key '<<' appears twice"),
        ("a: {<<: 3}", r"f\.yaml:1:9: expected a mapping"),
        (LAUGHS, r"f\.yaml:\d+:\d+: its aliases expand to more than 10000 values"),
        (LADDER, r"f\.yaml:\d+:\d+: more than 50 levels deep"),
        (
            "a: !!python/object/apply:os.system [x]",
            r"f\.yaml:1:4: could not determine a constructor",
        ),
        ("a: [1", r"f\.yaml:\d+:\d+: "),
        ("[" * 100_000, r"f\.yaml:1:51: more than 50 levels deep"),
        ("- " * 100_000, r"more than 50 levels deep"),
        ("a: \x00", r"f\.yaml"),
        (b"\xff\xfe\xfa", r"f\.yaml"),
    ],
)
def test_refuses_what_hides_or_explodes(text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "f.yaml")


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_plain)
@example({"0E0": "1e5", "0o7": ["-1e-3", 1e22]})
def test_yaml_round_trip(value: object) -> None:
    assert parse_yaml(to_yaml(value), "f") == value


def test_read_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "配置 a.yaml"
    path.write_text("k: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="配置 a.yaml:"):
        read_yaml(path)


def test_write_replaces_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "f.txt"
    write_atomic(path, "old")
    write_atomic(path, b"new")
    assert path.read_text("utf-8") == "new"
    assert [p.name for p in path.parent.iterdir()] == ["f.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.txt"
    write_atomic(path, "old")

    def full_disk(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text("utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]
