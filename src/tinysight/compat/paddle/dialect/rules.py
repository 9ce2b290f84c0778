"""The reader that goes by the tables of `keys.yaml`: what each key of PaddleClas' language means here.

A table has a rule for every key that PaddleClas knows: it is translated, has no effect, or is not available. What is in
no table is an error that names the nearest key. All problems of a file end in one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tinysight.compat.paddle.dialect.values import kind
from tinysight.errors import Problem, join, nearest
from tinysight.files import read_yaml

Spec = dict[str, Any]
Rule = Mapping[str, Any]
Table = Mapping[str, Rule]


@cache
def tables() -> dict[str, Any]:
    """The tables by name, every key on its own and the reasons written out."""
    found: dict[str, Any] = _expanded(read_yaml(Path(__file__).with_name("keys.yaml")))
    return found


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

    def unknown(self, keys: Iterable[str], sections: Sequence[str]) -> None:
        """Every key that is none of `sections` is wrong."""
        for key in keys:
            if key not in sections:
                self.wrong(key, "unknown section", nearest(key, sections))

    def section(self, values: Any, where: str, table: str | Table, out: Spec | None = None) -> Spec:
        """The values of a mapping by the rules of its table.

        Args:
            values: the mapping; None counts as empty.
            where: its dotted path.
            table: its rules, or their name in `keys.yaml`.
            out: native mapping that keys with a `to` are written to.

        Returns:
            The translated value of each key that is there or has a default.
        """
        if not isinstance(values, Mapping | None):
            self.wrong(where, f"expected a mapping of keys, got {_short(values)}")
            return {}
        values, rules = values or {}, tables()[table] if isinstance(table, str) else table
        for key in values:
            if key not in rules:
                self.wrong(join(where, key), "unknown key", nearest(str(key), list(rules)))
        found: dict[str, Any] = {}
        for key, rule in rules.items():
            place, value = join(where, key), values.get(key)
            match rule:
                case {"is": spec}:
                    given = value is not None
                    taken = self._value(value, place, spec) if given else rule.get("default")
                    if taken is not None:
                        found[key] = taken
                    if taken is not None and out is not None and "to" in rule:
                        put(out, rule["to"], taken)
                case {"dead": why} if key in values:
                    self.note(place, why)
                case {"only": allowed, "why": why} if value is not None and value not in allowed:
                    self.wrong(place, f"{_short(value)} is not available: {why}")
                case {"refused": why} if value not in (None, False, [], {}, ""):
                    self.wrong(place, why)
        return found

    def component(
        self, what: str, table: str, name: str, arguments: Any, where: str
    ) -> tuple[Spec, Spec] | None:
        """Our spec of a component of theirs, and the translated values of its keys; None where there is none.

        Args:
            what: kind of component, for messages.
            table: name of the table in `keys.yaml`.
            name: PaddleClas' name.
            arguments: its keys.
            where: dotted path of them.
        """
        rows = tables()[table]
        if isinstance(row := rows.get(name), list):
            native, keys, *fixed = row
            spec: Spec = {"name": native, **(fixed[0] if fixed else {})}
            return spec, self.section(arguments, where, keys, spec)
        named = where.endswith(f".{name}")  # then the place says the name already
        wrong, hint = row if named else f"{name}: {row}", ""
        if row is None:
            wrong, hint = f"unknown {what} {name!r}", nearest(name, rows)
        self.wrong(where if named else f"{where}.name", wrong, hint)
        return None

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

    def _value(self, value: Any, place: str, spec: Any) -> Any:
        try:
            return kind(spec)(value)
        except ValueError as error:
            self.wrong(place, f"should be {error}, got {_short(value)}")
            return None


def put(tree: Spec, path: str, value: Any) -> None:
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


def _expanded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(item) for keys, item in value.items() for key in keys.split()}
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return value


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
