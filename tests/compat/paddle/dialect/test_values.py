"""Numbers and literals as PaddleClas writes them; nothing is run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinysight.compat.paddle.dialect.values import (
    arithmetic,
    flag,
    integer,
    interpolation,
    literal,
    number,
    several,
    size,
)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.0/255.0", 1 / 255),
        ("1.0/3.0", 1 / 3),
        ("1e-4", 1e-4),
        (3, 3.0),
        ("0.5", 0.5),
        (-2, -2.0),
    ],
)
def test_a_number(written: Any, value: float) -> None:
    assert number(written) == value


@pytest.mark.parametrize(
    "written",
    ["", "1/0", "1//2", "__import__('os')", "1+1", "nan", "1e999", True, None, [1], "2**9"],
)
def test_no_number(written: Any) -> None:
    with pytest.raises(ValueError, match="a number"):
        number(written)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_reads_back(value: float) -> None:
    assert number(value) == number(repr(value)) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("False", False),
        ("30", 30),
        ("1e-3", 1e-3),
        ("None", None),
        ("[1,2]", [1, 2]),
        ("0,1,2", [0, 1, 2]),
        ("{'a': (1, 2)}", {"a": [1, 2]}),
        ("'L2'", "L2"),
        ("L2", "L2"),
        ("list", "list"),  # PaddleClas would make Python's type of it
        ("__import__('os').system('echo')", "__import__('os').system('echo')"),
        ("1.0/255.0", "1.0/255.0"),
        ("b'x'", "b'x'"),
        ("{1: 2}.keys()", "{1: 2}.keys()"),
        ("(" * 200, "(" * 200),
        ("9" * 20_000, "9" * 20_000),
    ],
)
def test_a_literal_or_the_text_itself(written: str, value: Any) -> None:
    assert literal(written) == value


@given(st.text(max_size=60))
def test_any_text_is_a_literal_or_itself(text: str) -> None:
    found = literal(text)
    assert found == text or not isinstance(found, bytes | set | complex)


def test_other_kinds() -> None:
    assert (integer("7"), flag("yes"), flag(0), size([4, 3]), size("5")) == (
        7,
        True,
        False,
        [4, 3],
        5,
    )
    assert (interpolation(2), interpolation("BICUBIC")) == ("bicubic", "bicubic")
    assert (several(integer)(3), several(number, 2)(["1/2", 1])) == ([3], [0.5, 1.0])
    for kind, value in (
        (integer, 1.5),
        (flag, "maybe"),
        (several(integer, 2), [1]),
        (size, [1, 2, 3]),
    ):
        with pytest.raises(ValueError, match="a |True or False"):
            kind(value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.0/255.0", 1 / 255),
        ("1./(2**8 - 1)", 1 / 255),
        ("-2 * +3", -6.0),
        (0.5, 0.5),
        ("1+1", 2.0),
    ],
)
def test_arithmetic(written: Any, value: float) -> None:
    assert arithmetic(written) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "written",
    ["", "1/0", "9**9**9**9", "(-1)**0.5", "a", "abs(1)", "True", "[1]", "(" * 500, None, "1e999"],
)
def test_no_arithmetic(written: Any) -> None:
    with pytest.raises(ValueError, match="a number"):
        arithmetic(written)
