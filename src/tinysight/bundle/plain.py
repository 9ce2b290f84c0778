"""Plain data, as JSON gives it, checked and made into records; names the place of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinysight.errors import BundleError

AGAIN = "export the bundle again, or copy it again from where it came"
Read = Callable[[Any, str], Any]


def wrong(value: Any, where: str, expected: str) -> BundleError:
    """The error of a value that is not what was expected there."""
    return BundleError(where, f"expected {expected}, got {str(value)[:60]!r}", AGAIN)


def text(value: Any, where: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise wrong(value, where, "a text")
    return value


def integer(value: Any, where: str) -> int:
    """A whole number from 0."""
    if type(value) is not int or value < 0:
        raise wrong(value, where, "a whole number")
    return value


def number(value: Any, where: str) -> float:
    """A number."""
    if type(value) not in (int, float):
        raise wrong(value, where, "a number")
    return float(value)


def anything(value: Any, where: str) -> Any:
    """Whatever it is."""
    return value


def maybe(read: Read) -> Read:
    """None, or what `read` reads."""
    return lambda value, where: None if value is None else read(value, where)


def many(read: Read, least: int = 0) -> Read:
    """A list of `least` or more, as a tuple."""

    def each(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise wrong(value, where, f"a list of {least} or more")
        return tuple(read(v, f"{where}.{i}") for i, v in enumerate(value))

    return each


def by_name(read: Read) -> Read:
    """A mapping of texts to what `read` reads."""

    def each(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise wrong(value, where, "a mapping")
        return {k: read(v, f"{where}.{k}") for k, v in value.items()}

    return each


def record(kind: Callable[..., Any], reads: Sequence[tuple[str, Read]]) -> Read:
    """A mapping of exactly these keys, as a `kind`."""

    def record(value: Any, where: str) -> Any:
        names = [name for name, _ in reads]
        if not isinstance(value, dict) or set(value) != set(names):
            raise wrong(value, where, f"a mapping of {', '.join(names)}")
        fields = {name: read(value[name], f"{where}.{name}") for name, read in reads}
        return kind(**{"images" if k == "pictures" else k: v for k, v in fields.items()})

    return record
