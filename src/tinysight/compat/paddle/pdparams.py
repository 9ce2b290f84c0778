"""`.pdparams`, `.pdopt`, `.pdstates`: pickles of plain data and arrays, read without running any of them.

A pickle is a program for a small stack machine; `pickle_machine` is a machine that can only make plain data and arrays.
Arrays that come back are read-only views of the mapped file; copy them to write or to keep them past its deletion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tinysight.compat.paddle.pickle_machine import Called, Global, Machine, Unfinished
from tinysight.compat.paddle.tensors import map_file
from tinysight.errors import WeightsError

_MAX_DEPTH = 64
_STRUCTURED = "StructuredToParameterName@@"
_UNPACKED = "UnpackBigParamInfor@@"


class _Resolver:
    """From the machine's values to plain ones: tensors out of their boxes, cycles and bombs refused."""

    def __init__(self, limit: int, where: str) -> None:
        self.limit, self.where = limit, where
        self.done: dict[int, tuple[Any, int]] = {}  # id -> (value, how many objects it unfolds to)
        self.open: set[int] = set()

    def resolve(self, value: Any, depth: int = 0) -> tuple[Any, int]:
        if not isinstance(value, list | dict | tuple | Called | Unfinished | memoryview | Global):
            return value, 1
        key = id(value)
        if key in self.done:
            return self.done[key]
        if key in self.open:
            raise WeightsError(self.where, "a value that contains itself")
        if depth > _MAX_DEPTH:
            raise WeightsError(self.where, f"a value that is nested beyond {_MAX_DEPTH} levels")
        self.open.add(key)
        plain, size = self._one(value, depth)
        self.open.discard(key)
        if size > self.limit:
            raise WeightsError(self.where, "unfolds to more values than the file has bytes")
        self.done[key] = plain, size
        return plain, size

    def _one(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, memoryview):
            return bytes(value), 1 + len(value) // 16
        if isinstance(value, Global | Unfinished):
            if isinstance(value, Global) or value.kind == "dtype":
                raise WeightsError(self.where, "holds a name where a value belongs")
            if value.value is None:
                raise WeightsError(self.where, "damaged: a tensor without content")
            return value.value, 1
        if isinstance(value, dict):
            pairs = {k: self.resolve(v, depth + 1) for k, v in value.items()}
            return {k: v for k, (v, _) in pairs.items()}, 1 + sum(n + 1 for _, n in pairs.values())
        inside = value.items if isinstance(value, Called) else value
        items = [self.resolve(v, depth + 1) for v in inside]
        size = 1 + sum(n for _, n in items)
        if isinstance(value, list):
            return [v for v, _ in items], size
        match items:
            case [(str(), _), (np.ndarray() as array, _)]:  # a tensor, with its internal name
                return array, size
        return tuple(v for v, _ in items), size


def read_paddle_pickle(path: Path | str) -> Any:
    """The content of a `.pdparams`, `.pdopt` or `.pdstates` file.

    Returns:
        Dicts, lists, tuples, numbers, text and arrays. A tensor saved as `(internal name, array)` comes back as the
        array, bfloat16 as its uint16 bits; the arrays are read-only views of the mapped file.

    Raises:
        WeightsError: truncated, damaged, or asks for anything but arrays and plain data. Nothing of it was executed.
    """
    data = map_file(Path(path))
    return _Resolver(len(data), str(path)).resolve(Machine(data, str(path)).run())[0]


def read_paddle_state(path: Path | str) -> dict[str, np.ndarray]:
    """The state dict of a `.pdparams` file: entry name to array, in file order.

    The table of internal names is left out; tensors that an old protocol cut into parts are whole again.

    Raises:
        WeightsError: see `read_paddle_pickle`; also when the file holds something else than a dict of tensors.
    """
    content = read_paddle_pickle(path)
    if not isinstance(content, dict):
        raise WeightsError(str(path), "holds no dict of tensors", "is it a .pdopt or one tensor?")
    content.pop(_STRUCTURED, None)
    state = _rejoin(content, str(path))
    good = ((k, isinstance(v, np.ndarray) and isinstance(k, str)) for k, v in state.items())
    if wrong := [str(key) for key, is_good in good if not is_good]:
        raise WeightsError(str(path), f"entries that are not tensors: {', '.join(wrong[:8])}")
    return state


def _rejoin(content: dict[Any, Any], where: str) -> dict[str, np.ndarray]:
    """Put tensors together that protocols 2 and 3 cut at 1 GiB."""
    table = content.pop(_UNPACKED, None)
    if table is None:
        return content
    if not isinstance(table, dict):
        raise WeightsError(where, f"{_UNPACKED} is not a table")
    for name, entry in table.items():
        match entry:
            case {"OriginShape": tuple() | list() as shape, "slices": [*slices]}:
                parts = [content.pop(s, None) for s in slices if isinstance(s, str)]
            case _:
                raise WeightsError(where, f"{_UNPACKED} says nothing useful about {name!r}")
        try:
            content[name] = np.concatenate(parts).reshape(shape)
        except (ValueError, TypeError):
            raise WeightsError(where, f"the parts of {name!r} do not fit together") from None
    return content
