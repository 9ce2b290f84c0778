"""Sealed records: typed named tuples as plain data under a digest, read without any framework.

The text is written in the part of YAML that is also JSON, so a browser or a C++ program reads it with the
parser it has, and prediction here starts without importing a YAML parser. The digest is the SHA-256 of
everything else in canonical JSON (keys sorted, no blanks, ASCII), so a different layout of the same values
changes nothing, and changing one value shows.

A record's annotations are its schema. They are read as they stand, so a module with records does not
postpone them by `from __future__ import annotations`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Mapping
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from tinysight.errors import BundleError, ConfigError, nearest

EXPORT_AGAIN = "export the bundle again, or copy it again from where it came"
ON_DISK = {"images": "pictures", "variants": "targets"}  # keys that keep their first names on disk
_WIDTH = 100


class Rule(NamedTuple):
    """A condition on an annotated value: `Annotated[float, Rule(lambda v: v > 0, "a number above 0")]`.

    Attributes:
        holds: the condition.
        expected: what the value should be, for the error message.
    """

    holds: Callable[[Any], bool]
    expected: str


def wrong(value: Any, where: str, expected: str) -> BundleError:
    """The error for a value that is not what was expected at `where`."""
    return BundleError(where, f"expected {expected}, got {str(value)[:60]!r}", EXPORT_AGAIN)


_SCALARS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda v: isinstance(v, str), "a text"),
    bool: (lambda v: isinstance(v, bool), "true or false"),
    int: (lambda v: type(v) is int and v >= 0, "a whole number"),
    float: (lambda v: type(v) in (int, float) and abs(v) <= sys.float_info.max, "a number"),
    Any: (lambda v: True, ""),
}


def read(kind: Any, value: Any, where: str) -> Any:
    """Plain data as the type `kind`: lists as tuples, mappings as named tuples.

    Args:
        kind: an annotation made of str, bool, int (from 0), float, Any, tuples, dict, None, named tuples.
        value: what a JSON parser gives.
        where: dotted place of the value, for the error message.

    Raises:
        BundleError: the value is not of that type.
    """
    if kind in _SCALARS:
        fits, expected = _SCALARS[kind]
        if not fits(value):
            raise wrong(value, where, expected)
        return float(value) if kind is float else value
    if hasattr(kind, "_fields"):
        hints = {ON_DISK.get(name, name): hint for name, hint in kind.__annotations__.items()}
        if not isinstance(value, dict) or set(value) != set(hints):
            raise wrong(value, where, f"a mapping of {', '.join(hints)}")
        return kind(*(read(hint, value[key], f"{where}.{key}") for key, hint in hints.items()))
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        base, rule = parts
        container = {tuple: list, dict: dict}.get(get_origin(base))
        checked = value if container else read(base, value, where)
        if not isinstance(checked, container or object) or not rule.holds(checked):
            raise wrong(value, where, rule.expected)
        return read(base, value, where)
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise wrong(value, where, "a mapping")
        return {k: read(parts[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin is tuple:
        many = parts[-1] is Ellipsis
        if not isinstance(value, list) or not (many or len(value) == len(parts)):
            raise wrong(value, where, "a list of 0 or more" if many else "two numbers")
        pairs = enumerate(zip(parts[:1] * len(value) if many else parts, value, strict=True))
        return tuple(read(k, v, f"{where}.{i}") for i, (k, v) in pairs)
    assert parts[1:] == (NoneType,), f"no record may hold {kind}"
    return None if value is None else read(parts[0], value, where)


def as_tree(value: Any) -> Any:
    """Records as plain data, with the keys that files and JSON output have."""
    if hasattr(value, "_asdict"):
        return {ON_DISK.get(k, k): as_tree(v) for k, v in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(k): as_tree(v) for k, v in value.items()}
    return [as_tree(v) for v in value] if isinstance(value, list | tuple) else value


def sealed_text(version: int, tree: Mapping[str, Any], where: str) -> str:
    """The text of a sealed file: `tree` with its format version and digest.

    Raises:
        BundleError: a value that is not plain data or not finite.
    """
    tree = {"format": version, **tree}
    tree["digest"] = digest(tree, where)
    rows = [f"  {json.dumps(k)}: {laid_out(v, 2)}" for k, v in tree.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def unseal(text: bytes, where: str, newest: int) -> tuple[int, dict[str, Any]]:
    """Format version and contents of a sealed file.

    Args:
        text: contents of the file.
        where: its path, for error messages.
        newest: newest format version that can be read.

    Raises:
        BundleError: not readable, edited, or made by a newer version.
    """
    tree = _parse(text, where)
    if not isinstance(tree, dict) or "digest" not in tree or "format" not in tree:
        raise BundleError(where, "not a bundle's manifest: no format and digest", EXPORT_AGAIN)
    version = tree["format"]
    if type(version) is not int or version < 1:
        raise BundleError(where, f"format {version!r} does not exist", EXPORT_AGAIN)
    if version > newest:
        what = f"written in format {version}, this version reads up to {newest}"
        raise BundleError(where, what, "pip install --upgrade tinysight")
    if tree.pop("digest") != digest(tree, where):
        what = "edited after it was sealed: its digest does not match"
        raise BundleError(where, what, EXPORT_AGAIN)
    del tree["format"]
    return version, tree


def read_keys(
    kind: Any, tree: Mapping[str, Any], where: str, required: Collection[str], keys: Collection[str]
) -> Any:
    """The named tuple `kind` from the keys of a sealed file; absent keys take their defaults.

    Raises:
        BundleError: an unknown or missing key, or a value of another type.
    """
    for key in (key for key in tree if key not in keys):
        raise BundleError(f"{where}: {key}", "unknown key", nearest(key, keys))
    for key in (key for key in required if key not in tree):
        raise BundleError(f"{where}: {key}", "required key is missing", EXPORT_AGAIN)
    fields = {ON_DISK.get(name, name): name for name in kind._fields}
    hints = kind.__annotations__
    return kind(**{fields[k]: read(hints[fields[k]], v, f"{where}: {k}") for k, v in tree.items()})


def _parse(text: bytes, where: str) -> Any:
    try:
        if text.lstrip().startswith(b"{"):
            return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_not_finite)
        from tinysight.files import parse_yaml  # somebody laid it out by hand

        return parse_yaml(text, where)
    except ConfigError as error:
        raise BundleError(where, error.problems[0].what, EXPORT_AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise BundleError(where, f"not readable: {error}", EXPORT_AGAIN) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key appears twice")
    return tree


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} is no number")


def digest(tree: Mapping[str, Any], where: str) -> str:
    """SHA-256 of `tree` in canonical JSON."""
    try:
        text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(where, f"cannot be sealed: {error}") from None
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def laid_out(value: Any, indent: int) -> str:
    """JSON text of `value` after `indent` blanks, on one line if it fits."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= _WIDTH or not isinstance(value, dict | list):
        return flat
    blank = " " * (indent + 2)
    if isinstance(value, dict):
        rows = [f"{json.dumps(k)}: {laid_out(v, indent + 2)}" for k, v in value.items()]
    else:
        rows = [laid_out(v, indent + 2) for v in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{blank}" + f",\n{blank}".join(rows) + f"\n{' ' * indent}{closing}"
