"""A long list of images in shards, by workers that may die, and so may this process.

A shard's results are one file of JSON lines, named after its number and after a digest of its
images, that appears whole or not at all. So a run that was killed leaves whole shards, the same
command makes the missing ones, and where images came or went only their shards are made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.disk import ENCODABLE, move, reserved, resolved, write_atomic, writing
from tinysight.errors import MissingDependency
from tinysight.pipelines.sources import stamp
from tinysight.tasks.results import csv_table, json_lines, result_from_json

Row = dict[str, Any]  # what `predict --json` writes about one image
_ROWS = 10_000  # of a group in a Parquet file: some megabytes at a time
_NUMBERS = ("class_ids", "output", "code")
_TEXTS = ("label_names", "attributes")


class Shard(NamedTuple):
    """Consecutive images: the shard's number, from 0, their paths, and the file of the results.

    The file is named after the images as they are now, so that of changed ones is another.
    """

    number: int
    names: tuple[str, ...]
    file: str


# Makes the results of shards, in any order.
Predict = Callable[[Sequence[Shard]], Iterator[tuple[Shard, list[Row]]]]


def shards(names: Iterable[str], size: int) -> Iterator[Shard]:
    """All images in order, `size` of them in each shard but the last."""
    rest = iter(names)
    lists = iter(lambda: tuple(islice(rest, size)), ())
    return (Shard(number, some, _file(number, some)) for number, some in enumerate(lists))


def _file(number: int, names: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    digest.update(b"".join(map(stamp, names)))
    return f"{number:06d}-{digest.hexdigest()[:16]}.jsonl"


def pending(folder: Path, plan: Iterable[Shard]) -> list[Shard]:
    """The shards without results in `folder`."""
    have = {path.name for path in folder.iterdir()}
    return [shard for shard in plan if shard.file not in have]


def save(folder: Path, shard: Shard, rows: Sequence[Row]) -> None:
    """Write a shard's results.

    Raises:
        ValueError: they are not about its images, one each, in order.
    """
    if [row["filename"] for row in rows] != list(shard.names):
        raise ValueError(f"the results are not about the images of shard {shard.number}")
    write_atomic(folder / shard.file, "".join(json.dumps(row) + "\n" for row in rows))


def load(folder: Path, plan: Iterable[Shard]) -> Iterator[Row]:
    """All results, in the order of the images; every shard of the plan has to be there."""
    for shard in plan:
        with (folder / shard.file).open("rb") as lines:
            yield from map(json.loads, lines)


def run(
    names: Iterable[str], output: Path, key: str, size: int, predict: Predict,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[int, int]:  # fmt: skip
    """Predict every image and write the results, in order, to `output`.

    Until all are made they lie in a folder beside it, `OUTPUT.<key>.shards`.

    Args:
        names: paths of the images.
        output: a `.csv` table, a `.parquet` table, or else JSON lines; appears whole.
        key: short text for what determines the results, images left out.
        size: images a shard, at least 1.
        predict: makes the results of the shards that are missing.
        progress: called with the number of images that are done, those of earlier runs among them.

    Returns:
        How many images there are, and how many could not be read.

    Raises:
        DataError: it cannot be written, or another process is writing the same results.
        MissingDependency: a Parquet table is asked for and pyarrow is not installed.
    """
    write = _writer(output)
    plan = list(shards(names, size))
    total = sum(len(shard.names) for shard in plan)
    output = resolved(output)
    folder = output.with_name(f"{output.name}.{key}.shards")
    with writing(output):
        folder.mkdir(parents=True, exist_ok=True)
        with reserved(output, wait=False) as part:
            missing = pending(folder, plan)
            done = total - sum(len(shard.names) for shard in missing)
            progress(done)
            for shard, rows in predict(missing) if missing else ():
                save(folder, shard, rows)
                done += len(rows)
                progress(done)
            through = output.exists() and not output.is_file()  # a device or a pipe
            write(output if through else part, load(folder, plan))
            failed = sum("error" in row for row in load(folder, plan))
            if not through:
                move(part.open("rb+"), part, output)
        shutil.rmtree(folder, ignore_errors=True)
    return total, failed


def _writer(output: Path) -> Callable[[Path, Iterable[Row]], None]:
    if output.suffix == ".parquet":
        return _parquet_writer()
    table = csv_table if output.suffix == ".csv" else json_lines

    def write(path: Path, rows: Iterable[Row]) -> None:
        with path.open("w", encoding="utf-8", errors=ENCODABLE, newline="") as out:
            deque(map(table(out), map(result_from_json, rows)), maxlen=0)

    return write


def _parquet_writer() -> Callable[[Path, Iterable[Row]], None]:
    """What writes rows to a Parquet file, lists where a result has several parts.

    Every table has the same columns, empty where they do not apply.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingDependency("pyarrow", "ray", "a Parquet table") from error
    text = pyarrow.string()
    numbers, texts = pyarrow.list_(pyarrow.int64()), pyarrow.list_(text)
    kinds = {"filename": text, **dict.fromkeys(_NUMBERS, numbers)}
    kinds |= {"scores": pyarrow.list_(pyarrow.float64()), **dict.fromkeys(_TEXTS, texts)}
    kinds["error"] = text
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
