"""Values as PaddleClas writes them: numbers in text, Python literals, sizes. Nothing is ever evaluated.

A kind is a function from what stands in the YAML to what our recipe takes; it raises `ValueError` with words that
follow "should be".
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Any

Kind = Callable[[Any], Any]

_QUOTIENT = re.compile(r"\s*([0-9.eE+-]+)\s*(?:/\s*([0-9.eE+-]+)\s*)?")
_ARITHMETIC: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.UAdd: operator.add, ast.Sub: operator.sub, ast.USub: operator.sub,
    ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
_MAX_EXPRESSION = 200  # characters
_CODES = ("nearest", "bilinear", "bicubic", "area", "lanczos")  # OpenCV's numbers for them
_FALSE, _TRUE = ("false", "no", "off", "0"), ("true", "yes", "on", "1")
_MAX_LITERAL = 10_000  # characters; a literal is a number, a word or a short list


def number(value: Any) -> float:
    """A number, or one written as text or as a quotient: `1e-4`, `1.0/255.0`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a number")  # noqa: TRY004 - one exception for every kind
    match = _QUOTIENT.fullmatch(str(value))
    try:
        found = float(match[1]) / float(match[2] or 1) if match else math.nan
    except (ValueError, ZeroDivisionError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError("a number")
    return found


def arithmetic(value: Any) -> float:
    """A number, or numbers with brackets and + - * / **, for the keys that PaddleClas evaluates."""
    if not isinstance(value, str):
        return number(value)
    try:
        found = _computed(ast.parse(value[:_MAX_EXPRESSION].strip(), mode="eval").body)
    except (ArithmeticError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        found = math.nan
    return number(found)


def _computed(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return number(value)
        case ast.UnaryOp(op=op, operand=inner) if type(op) in _ARITHMETIC:
            return float(_ARITHMETIC[type(op)](0.0, _computed(inner)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return float(_ARITHMETIC[type(op)](_computed(left), _computed(right)))
    raise ValueError("no arithmetic")


def integer(value: Any) -> int:
    """A whole number."""
    found = number(value)
    if found != int(found):
        raise ValueError("a whole number")
    return int(found)


def flag(value: Any) -> bool:
    """True or False; words that YAML 1.1 reads so, too."""
    word = str(value).lower()
    if word not in (*_FALSE, *_TRUE):
        raise ValueError("True or False")
    return word in _TRUE


def text(value: Any) -> str:
    """Any word or path; a number is taken as it is written."""
    if isinstance(value, dict | list | tuple | bool):
        raise ValueError("text")  # noqa: TRY004
    return str(value)


def several(kind: Kind, count: int | None = None) -> Kind:
    """A list of a kind, `count` long if that is given; one value counts as a list of one."""

    def read(value: Any) -> list[Any]:
        items = list(value) if isinstance(value, list | tuple) else [value]
        if count is not None and len(items) != count:
            raise ValueError(f"a list of {count}")
        return [kind(item) for item in items]

    return read


def one_or_list(kind: Kind, *lengths: int) -> Kind:
    """A value of a kind, or a list of them that has one of some lengths."""

    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return kind(value)
        return several(kind, len(value) if len(value) in lengths else lengths[0])(value)

    return read


def one_of(**words: Any) -> Kind:
    """One of some words, and what it is called here."""

    def read(value: Any) -> Any:
        if str(value).lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return words[str(value).lower()]

    return read


def interpolation(value: Any) -> str:
    """The name of an interpolation, or OpenCV's number for it."""
    if isinstance(value, int) and 0 <= value < len(_CODES):
        return _CODES[value]
    return text(value).lower()


def kind(spec: Any) -> Kind:
    """The kind that a rule names: a name, [kind], [kind, count], or {theirs: ours}."""
    if isinstance(spec, dict):
        return one_of(**spec)
    if isinstance(spec, list):
        return several(kind(spec[0]), *spec[1:])
    return _KINDS[spec]


size = one_or_list(integer, 2)  # pixels: a side, or [width, height]
_KINDS: dict[str, Kind] = {
    **{kind.__name__: kind for kind in (arithmetic, number, integer, flag, text, interpolation)},
    "anything": lambda value: value,  # checked by whoever takes it
    "seed": lambda value: 0 if value is False else integer(value),
    "size": size,
    "angle": one_or_list(number, 2),  # degrees, or [lowest, highest]
    # A width in pixels, [horizontal, vertical], or [left, top, right, bottom].
    "sides": one_or_list(integer, 2, 4),
}


def literal(words: str) -> Any:
    """The Python literal that `words` spells, else `words`: PaddleClas' rule, without running anything."""
    if len(words) > _MAX_LITERAL:
        return words
    try:
        return plain(ast.literal_eval(words.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return words


def plain(value: Any) -> Any:
    """`value` with tuples as lists; `ValueError` for what YAML does not have."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError("plain data")
