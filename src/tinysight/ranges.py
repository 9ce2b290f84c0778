"""Bounds of a parameter, for `Annotated`: `Ge(0)` at least, `Gt(0)` above, `Le(1)`, `Lt(1)`.

The same as those of annotated-types, which they become when a schema is made. That package takes
15 ms to import, a tenth of a whole prediction, and a prediction makes no schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Bound:
    """One bound; validators see it as a group that holds the annotated-types one of its name."""

    __is_annotated_types_grouped_metadata__ = True

    def __init__(self, value: float) -> None:
        self.value = value

    def __iter__(self) -> Iterator[Any]:
        import annotated_types

        yield getattr(annotated_types, type(self).__name__)(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.value == getattr(other, "value", None)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.value))


class Ge(Bound):
    """At least `value`."""


class Gt(Bound):
    """Above `value`."""


class Le(Bound):
    """At most `value`."""


class Lt(Bound):
    """Below `value`."""
