"""Tables of keys: what each key of PaddleClas' language means here, and the reader that goes by them.

A table has a rule for every key that PaddleClas knows. `Key` is translated, `Quiet` and `Dead` change nothing (a
dead one is said, once, with the reason), `Only` is translated by being what we do anyway, `Refused` is not available.
What is in no table is an error that names the nearest key. All problems of a file end in one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect.values import Kind
from tinysight.errors import Problem, nearest

LATER = "comes with {}, which this version does not have yet"
RECOGNITION = LATER.format("recognition")
DISTILLATION = LATER.format("distillation")
SEARCH = LATER.format("search")


class Key(NamedTuple):
    """A key that is translated.

    `to` is its dotted place in the native mapping; empty: the section's function takes the value. `default` is what
    PaddleClas takes where the key is absent; None leaves the place empty.
    """

    kind: Kind
    to: str = ""
    default: Any = None


class Quiet(NamedTuple):
    """A key that changes no number and is not mentioned: logging, memory, speed."""

    why: str


class Dead(NamedTuple):
    """A key that has no effect, there or here, though it looks as if; said once."""

    why: str


class Only(NamedTuple):
    """A key whose listed values are what we do anyway; any other is refused."""

    values: tuple[Any, ...]
    why: str


class Refused(NamedTuple):
    """A key of something that is not available; `False`, null and empty values ask for nothing."""

    why: str


Rule = Key | Quiet | Dead | Only | Refused
Table = Mapping[str, Rule]


class Reader:
    """Goes by the tables, and collects what is wrong (`problems`) and what the user should know (`notes`)."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def wrong(self, where: str, what: str, hint: str = "") -> None:
        """Something that stops the run."""
        self.problems.append(Problem(where, what, hint))

    def note(self, where: str, what: str) -> None:
        """Something that does not; the same words are kept once."""
        line = f"{where}: {what}"
        if line not in self.notes:
            self.notes.append(line)

    def section(
        self, values: Any, where: str, table: Table, into: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The values of a mapping by the rules of its table.

        Args:
            values: the mapping; None counts as empty.
            where: its dotted path.
            table: its rules.
            into: native mapping that keys with a `to` are written to.

        Returns:
            The translated value of each `Key` that is there or has a default.
        """
        if not isinstance(values, Mapping | None):
            self.wrong(where, f"expected a mapping of keys, got {_short(values)}")
            return {}
        values = values or {}
        for key in values:
            if key not in table:
                self.wrong(f"{where}.{key}", "unknown key", nearest(str(key), list(table)))
        found: dict[str, Any] = {}
        for key, rule in table.items():
            place, value = f"{where}.{key}", values.get(key)
            match rule:
                case Key():
                    taken = self._value(value, place, rule)
                    if taken is not None:
                        found[key] = taken
                        if rule.to and into is not None:
                            put(into, rule.to, taken)
                case Dead() if key in values:
                    self.note(place, rule.why)
                case Only() if value is not None and value not in rule.values:
                    self.wrong(place, f"{_short(value)} is not available: {rule.why}")
                case Refused() if value not in (None, False, [], {}, ""):
                    self.wrong(place, rule.why)
                case _:
                    pass
        return found

    def items(self, value: Any, where: str) -> list[tuple[str, str, Mapping[str, Any]]]:
        """A list of one-key mappings, `- Name: {...}`, as (place, name, arguments)."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(where, f"expected a list of `- Name: ...`, got {_short(value)}")
            return []
        found = []
        for i, item in enumerate(value):
            item = {item: None} if isinstance(item, str) else item
            if not (isinstance(item, Mapping) and len(item) == 1):
                self.wrong(f"{where}.{i}", f"expected one `Name: ...`, got {_short(item)}")
                continue
            ((name, arguments),) = item.items()
            if isinstance(arguments, Mapping | None):
                found.append((f"{where}.{i}.{name}", str(name), arguments or {}))
            else:
                self.wrong(f"{where}.{i}.{name}", f"expected keys, got {_short(arguments)}")
        return found

    def _value(self, value: Any, place: str, rule: Key) -> Any:
        if value is None:
            return rule.default
        try:
            return rule.kind(value)
        except ValueError as error:
            self.wrong(place, f"should be {error}, got {_short(value)}")
            return None


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Write `value` to the dotted `path`; a number in it is a place in a list, filled up with None."""
    *parents, last = path.split(".")
    here: Any = tree
    for part, following in zip(parents, [*parents, last][1:], strict=True):
        here = here.setdefault(part, [] if following.isdecimal() else {})
    if isinstance(here, list):
        here.extend([None] * (int(last) + 1 - len(here)))
        here[int(last)] = value
    else:
        here[last] = value


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
