"""Strict validation of plain data against a pydantic model, with every problem in our own words.

Data is validated as JSON: lists become tuples, an integer is a number, and nothing else is converted ("7" is not 7).
pydantic is imported by the first call, so that prediction, which reads only sealed bundles, starts without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from tinysight.errors import NO_KEYS, DataError, Problem, join, nearest

T = TypeVar("T")

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    ModelT = TypeVar("ModelT", bound=BaseModel)


_MEMBER = re.compile(r"function-|\(|constrained-|(tuple|list|dict)\[|(str|int|float|bool)$")
PROBLEMS = "problems"  # type and context key of an error that holds problems found by another check


def validate(
    model: type[ModelT], tree: Mapping[str, Any], where: str = ""
) -> tuple[ModelT | None, list[Problem]]:
    """`tree` as a `model`, or None and what is wrong with it, each problem under its dotted path below `where`."""
    from pydantic import ValidationError

    try:
        text = json.dumps(tree)
    except (TypeError, ValueError) as error:
        return None, [Problem(where, f"not plain data: {error}")]
    try:
        return model.model_validate_json(text, strict=True), []
    except ValidationError as error:
        problems = [p for e in error.errors(include_url=False) for p in _problems(model, e, where)]
        # Of a value that may be of several types, the one with problems inside is meant.
        inside = {p.where.rpartition(".")[0] for p in problems}
        return None, [p for p in problems if p.where not in inside or "should be a" not in p.what]


def read_json(path: Path, kind: type[T], hint: str = "") -> T:
    """Plain data of `kind` from a small file that anybody may have edited.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(str(path), f"damaged, no JSON: {error}", hint) from None
    if not isinstance(value, kind):
        raise DataError(str(path), f"damaged: no {kind.__name__} in it", hint)
    return value


def read_records(path: Path) -> list[dict[str, Any]]:
    """Mappings, one a line; a last line that was cut off is left out.

    Raises:
        DataError: the file cannot be read, or another line is no mapping.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror}") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}", "damaged: no line of a run", "delete this line")
        records.append(record)
    return records


def leaves(tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in plain data that is neither a mapping nor a list."""
    if isinstance(tree, dict | list) and tree:
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, join(where, key))
    else:
        yield where, tree


def _problems(model: type[BaseModel], error: ErrorDetails, where: str) -> list[Problem]:
    """One error of pydantic as problems; several where a component of the recipe was checked by its registry."""
    # The name of a member of a union is no key of the user's.
    loc = tuple(part for part in error["loc"] if not _MEMBER.match(str(part)))
    if error["type"] != PROBLEMS:
        return [_problem(model, error, loc, join(where, *loc))]
    found: list[Problem] = error["ctx"][PROBLEMS]
    return [p._replace(where=join(where, *loc, p.where)) for p in found]


def _problem(
    model: type[BaseModel], error: ErrorDetails, loc: Sequence[int | str], place: str
) -> Problem:
    match error["type"]:
        case "extra_forbidden":
            key = str(loc[-1])
            hint = NO_KEYS.get(key) or nearest(key, _keys_at(model, loc[:-1]))
            return Problem(place, "unknown key", hint)
        case "missing":
            return Problem(place, "required key is missing")
        case "model_type" | "dataclass_type":
            return Problem(place, f"expected a mapping of keys, got {_short(error['input'])}")
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if error["type"] == "value_error" and isinstance(error["input"], dict):
        return Problem(place, message)  # of keys together; the message names them
    if message.startswith("input should be "):
        message = f"should be {message.removeprefix('input should be ')}"
    return Problem(place, f"{message}, got {_short(error['input'])}")


def _keys_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Keys that the section at `loc` knows; empty where it cannot be told."""
    here: Any = model
    for part in loc:
        if isinstance(part, int):
            continue
        field = getattr(here, "model_fields", {}).get(part)
        here = _section_of(field.annotation) if field else None
    return list(getattr(here, "model_fields", {}))


def _section_of(annotation: Any) -> Any:
    """The pydantic model inside an annotation such as `Section | None` or `tuple[Section, ...]`."""
    if hasattr(annotation, "model_fields"):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
