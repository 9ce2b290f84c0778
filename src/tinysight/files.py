"""Files on disk: written whole or not at all, hashed, read as YAML 1.2.

YAML is read with the core schema of version 1.2: `1e-3` is a number, `no` and `on` are words, `1:30` and dates are
text. PyYAML alone follows 1.1, where each of these surprises. Duplicate keys and aliases are refused: the first hides a
line of the recipe, the second is a way to make a small file large.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import IO, Any

import yaml

from tinysight.errors import ConfigError, DataError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_MAX_DEPTH = 50
_SCALARS = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
)


class _Yaml12Loader(_Base):  # type: ignore[misc]  # the C loader is an untyped extension class
    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            known = isinstance(key, Hashable) and key in seen
            if known or not isinstance(key, Hashable):
                what = f"key {key!r} appears twice" if known else "a key may not be a collection"
                raise yaml.constructor.ConstructorError(None, None, what, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


for _tag, _pattern, _first in _SCALARS:
    _Yaml12Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list(_first))
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _int)


class _Yaml11Loader(_Yaml12Loader):
    yaml_implicit_resolvers = _Base.yaml_implicit_resolvers
    yaml_constructors = _Base.yaml_constructors


def parse_yaml(text: str | bytes, where: str) -> Any:
    """Parse one YAML 1.2 document.

    Raises:
        ConfigError: not YAML, a duplicate key, an alias or a tag of a foreign type; names line and column in `where`.
    """
    return _parse(text, where, _Yaml12Loader, scalars=False)


def parse_yaml11(text: str | bytes, where: str) -> Any:
    """Parse one document of YAML 1.1, as older programs write it; raises as `parse_yaml`.

    Aliases of words and numbers are taken.
    """
    return _parse(text, where, _Yaml11Loader, scalars=True)


def _parse(text: str | bytes, where: str, kind: Any, scalars: bool) -> Any:
    try:
        _refuse_bombs(text, scalars)
        loader = kind(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise ConfigError(place, error.problem or "not readable as YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(where, f"not readable as YAML: {str(error).splitlines()[0]}") from None


def _refuse_bombs(text: str | bytes, scalars: bool) -> None:
    """Look at the flat stream of events first: the C composer recurses, and a deep document would crash the process.

    An alias may stand for a number or a word only (`&classes 2`), so none of them makes the document larger.
    """
    depth = 0
    known: set[str] = set()
    events: Any = yaml.parse(text, _Base)  # Any: the C parser's marks are a type of their own
    for event in events:
        mark = event.start_mark
        if isinstance(event, yaml.ScalarEvent) and event.anchor:
            known.add(event.anchor)
        if isinstance(event, yaml.AliasEvent) and not (scalars and event.anchor in known):
            what = "aliases (*name) are not supported; write the value out"
            raise yaml.composer.ComposerError(None, None, what, mark)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            what = f"more than {_MAX_DEPTH} levels deep"
            raise yaml.composer.ComposerError(None, None, what, mark)


def read_yaml(path: Path) -> Any:
    """Read one YAML 1.2 file; errors name the file and the line."""
    return parse_yaml(path.read_bytes(), str(path))


class _PlainDumper(_Dumper):  # type: ignore[misc]  # as the loader above
    def ignore_aliases(self, data: Any) -> bool:
        return True  # a value that is used twice is written twice: `parse_yaml` takes no aliases


def to_yaml(value: Any) -> str:
    """YAML text of plain data, keys in the order given; `parse_yaml` reads it back equal."""
    text = yaml.dump(value, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100)
    return str(text)


def write_atomic(path: Path, data: bytes | str | Iterable[bytes | memoryview]) -> None:
    """Write `data` to `path` so that a crash leaves either the old file or the new one, never a part.

    The bytes, whole or in pieces, go to a temporary name in the same folder, are flushed to the disk, and take the
    final name in one step.
    """
    import tempfile  # draws in `random`; reading needs neither

    path.parent.mkdir(parents=True, exist_ok=True)
    text = data.encode("utf-8") if isinstance(data, str) else data
    pieces = [text] if isinstance(text, bytes) else text
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)  # noqa: PTH105 - the atomic step, spelt as the system call
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def lock_file(file: IO[str], path: str) -> None:
    """Keep other processes from writing `file`, until it is closed.

    Args:
        file: an open file.
        path: its path, for the message.

    Raises:
        DataError: another process has locked it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two such processes are the user's to avoid
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        what = "another process is writing this file"
        raise DataError(path, what, "wait for it, or choose another file") from None
