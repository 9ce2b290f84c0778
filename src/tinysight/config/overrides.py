"""`-o a.b.0.c=value`: one value of a tree of plain data, changed by its dotted path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinysight.errors import ConfigError
from tinysight.files import parse_yaml


def apply_override(
    tree: dict[str, Any], text: str, read: Callable[[str, str], Any] = parse_yaml
) -> str:
    """Apply one `key.path=value` to `tree` in place; a missing section is made.

    Args:
        tree: mappings, lists and values; a list item is named by its index from 0.
        text: the override; the value may contain `=`.
        read: the value of a text, given also the place for messages.

    Returns:
        The key path.

    Raises:
        ConfigError: no `=`, no such index, or a value where a section is meant.
    """
    where = f"-o {text}"
    key, equals, value = text.partition("=")
    *parents, last = key.split(".")
    if not equals or not all([*parents, last]):
        raise ConfigError(where, "expected KEY=VALUE", "for example -o train.epochs=5")
    here: Any = tree
    for i, part in enumerate(parents):
        if isinstance(here, list):
            here = here[_index(here, part, where)]
        else:
            if here.get(part) is None:
                here[part] = {}
            here = here[part]
        if not isinstance(here, dict | list):
            raise ConfigError(where, f"{'.'.join(parents[: i + 1])} is a value, not a section")
    here[_index(here, last, where) if isinstance(here, list) else last] = read(value, where)
    return key


def _index(items: list[Any], part: str, where: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        what = f"{part!r} is no index of a list of {len(items)}"
        raise ConfigError(where, what, "the first is 0")
    return int(part)
