"""YAML 1.2, and what `disk` has for files.

YAML is read with the core schema of version 1.2: `1e-3` is a number, `no` and `on` are words, `1:30` and dates are
text. PyYAML alone follows 1.1, where each of these surprises. Anchors, aliases and merge keys (`<<: *base`) are read;
what they expand to is bounded, since they are a way to make a small file large. Duplicate keys are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tinysight.disk import lock_file, read_regular, write_atomic, writing
from tinysight.errors import ConfigError

__all__ = [
    "lock_file", "parse_yaml", "parse_yaml11", "read_yaml", "sha256", "to_yaml", "write_atomic", "writing",
]  # fmt: skip

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_MAX_BYTES = 2 << 20  # of a document
_MAX_DEPTH = 50
_MAX_EXPANDED = 10_000  # values that the aliases of a document may add to it
_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_SCALARS = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", _FLOAT, "-+0123456789."),
)


class _Yaml12Loader(_Base):  # type: ignore[misc]  # the C loader is an untyped extension class
    yaml_implicit_resolvers: dict[str, Any] = {}

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._checked: set[int] = set()  # mapping nodes, before anything is merged into them

    def flatten_mapping(self, node: Any) -> None:
        """Merge what `<<` names; called before a mapping is made, perhaps again where an alias stands for it."""
        if id(node) not in self._checked:
            self._checked.add(id(node))
            seen: set[Hashable] = set()
            for key_node, _ in node.value:
                key = "<<" if key_node.tag == _MERGE else self.construct_object(key_node, deep=True)
                known = isinstance(key, Hashable) and key in seen
                if known or not isinstance(key, Hashable):
                    twice = f"key {key!r} appears twice"
                    what = twice if known else "a key may not be a collection"
                    raise yaml.constructor.ConstructorError(None, None, what, key_node.start_mark)
                seen.add(key)
        super().flatten_mapping(node)


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


for _tag, _pattern, _first in _SCALARS:
    _Yaml12Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list(_first))
_Yaml12Loader.add_implicit_resolver(_MERGE, re.compile("<<$"), ["<"])
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _int)


class _Yaml11Loader(_Yaml12Loader):
    yaml_implicit_resolvers = _Base.yaml_implicit_resolvers
    yaml_constructors = _Base.yaml_constructors


def parse_yaml(text: str | bytes, where: str) -> Any:
    """Parse one YAML 1.2 document.

    Raises:
        ConfigError: not YAML, a duplicate key, aliases without bound or a tag of a foreign type; names line and column
            in `where`.
    """
    return _parse(text, where, _Yaml12Loader)


def parse_yaml11(text: str | bytes, where: str) -> Any:
    """Parse one document of YAML 1.1, as older programs write it; raises as `parse_yaml`."""
    return _parse(text, where, _Yaml11Loader)


def _parse(text: str | bytes, where: str, kind: Any) -> Any:
    if len(text) > _MAX_BYTES:
        raise ConfigError(where, f"{len(text)} bytes of YAML, more than the limit of {_MAX_BYTES}")
    try:
        aliases = _bounded(text)
        loader = kind(text)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
        return _unshared(value) if aliases else value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        what, hint = error.problem or "not readable as YAML", ""
        if "cannot start any token" in what:
            lines = (
                text if isinstance(text, str) else text.decode("utf-8", "replace")
            ).splitlines()
            if mark and "\t" in lines[mark.line][: mark.column + 1]:
                what, hint = "a tab before the first word", "indent with blanks"
        raise ConfigError(place, what, hint) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(where, f"not readable as YAML: {str(error).splitlines()[0]}") from None


def _bounded(text: str | bytes) -> bool:
    """Whether a document has aliases; refuses one that is too deep or expands to too much.

    Looks at the flat stream of events: the C composer recurses, and a deep document would crash the process.
    """
    sizes: dict[str | None, tuple[int, int]] = {}  # by anchor: values and levels of what it names
    opened: list[list[Any]] = [["", 0, 0]]  # anchor, values before it, deepest level in it
    values = expanded = 0
    events: Any = yaml.parse(text, _Base)  # Any: the C parser's marks are a type of their own
    for event in events:
        level, what = len(opened) - 1, ""
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before, level = opened.pop()
            sizes[anchor] = (values - before, level - len(opened) + 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append([event.anchor, values, level + 1])
            values, level = values + 1, level + 1
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            sizes[event.anchor] = (1, 0)
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _, _ in opened):
                what = f"the alias *{event.anchor} stands inside of what it names"
            count, levels = sizes.get(event.anchor, (0, 0))  # the composer names an unknown one
            values, expanded, level = values + count, expanded + count, level + levels
        opened[-1][2] = max(opened[-1][2], level)
        if level > _MAX_DEPTH:
            what = f"more than {_MAX_DEPTH} levels deep"
        elif expanded > _MAX_EXPANDED:
            what = f"its aliases expand to more than {_MAX_EXPANDED} values"
        if what:
            raise yaml.composer.ComposerError(None, None, what, event.start_mark)
    return expanded > 0


def _unshared(value: Any) -> Any:
    """`value` with what several aliases name copied, so that changing one changes no other."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def read_yaml(path: Path) -> Any:
    """Read one YAML 1.2 file; errors name the file and the line."""
    return parse_yaml(read_regular(path), str(path))


class _PlainDumper(_Dumper):  # type: ignore[misc]  # as the loader above
    def ignore_aliases(self, data: Any) -> bool:
        return True  # a value that is used twice is written twice, for the reader


# A text that version 1.2 alone takes for a number is quoted.
for _tag, _pattern, _first in _SCALARS:
    _PlainDumper.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list(_first))


def to_yaml(value: Any) -> str:
    """YAML text of plain data, keys in the order given; `parse_yaml` reads it back equal."""
    text = yaml.dump(value, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100)
    return str(text)


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()
