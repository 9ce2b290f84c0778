"""The options of a recorded component, none of which may be dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Options(Mapping[str, Any]):
    """A mapping that remembers which of its keys were read; `check` fails on the others.

    Copying it into a plain dict reads every key, so a test that does so takes them all upon itself.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values, self._where, self._read = dict(values), where, set[str]()

    def __getitem__(self, key: str) -> Any:
        self._read.add(key)
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def without_effect(self, *keys: str) -> None:
        """Options that change no number here; the reason stands beside the call."""
        self._read.update(keys)

    def renamed(self, words: Mapping[str, str]) -> dict[str, Any]:
        """The options of `words` that are given, under our names."""
        return {ours: self[theirs] for theirs, ours in words.items() if theirs in self}

    def check(self) -> None:
        """Fail if an option was not read."""
        unread = sorted(set(self._values) - self._read)
        assert not unread, f"{self._where}: the test drops {', '.join(unread)}"
