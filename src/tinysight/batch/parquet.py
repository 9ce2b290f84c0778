"""Results as a Parquet table: one row an image, lists where a result has several parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from tinysight.batch.shards import Row
from tinysight.errors import MissingDependency

_ROWS = 10_000  # a group: some megabytes at a time
_NUMBERS = ("class_ids", "output", "code")
_TEXTS = ("label_names", "attributes")


def writer() -> Callable[[Path, Iterable[Row]], None]:
    """What writes rows to a file; every table has the same columns, empty where they do not apply.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingDependency("pyarrow", "ray", "a Parquet table") from error
    text = pyarrow.string()
    kinds = {
        "filename": text,
        **dict.fromkeys(_NUMBERS, pyarrow.list_(pyarrow.int64())),
        "scores": pyarrow.list_(pyarrow.float64()),
        **dict.fromkeys(_TEXTS, pyarrow.list_(text)),
        "error": text,
    }
    schema = pyarrow.schema(list(kinds.items()))

    def write(path: Path, rows: Iterable[Row]) -> None:
        rest = iter(rows)
        with pyarrow.parquet.ParquetWriter(path, schema) as table:
            while group := [_cells(row) for row in islice(rest, _ROWS)]:
                table.write_table(pyarrow.Table.from_pylist(group, schema=schema))

    return write


def _cells(row: Row) -> dict[str, Any]:
    """Texts alone as a list of one; a file name that is no Unicode with its bytes escaped."""
    lists = {name: [row[name]] for name in _TEXTS if isinstance(row.get(name), str)}
    name = row["filename"].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return {**row, **lists, "filename": name}
