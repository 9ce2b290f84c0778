"""Many images to one file of answers, by workers that may die, and so may this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tinysight.batch.shards import Row, Shard, keep, kept, left, shards
from tinysight.errors import DataError
from tinysight.files import lock_file
from tinysight.tasks.results import csv_table, from_row

# Answers of shards, as they are made, in any order.
Percentiles = Callable[[Sequence[Shard]], Iterator[tuple[Shard, list[Row]]]]


def run(
    names: Iterable[str],
    output: Path,
    key: str,
    size: int,
    spread: Percentiles,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[int, int]:
    """Answer every image and write the answers, in order, to `output`.

    Until all are made they lie in a folder beside it, `OUTPUT.<key>.shards`.

    Args:
        names: paths of the images.
        output: a `.csv` table, a `.parquet` table, or else JSON lines; appears whole.
        key: short text for what determines the answers, images left out.
        size: images a shard.
        spread: who makes the answers.
        progress: told how many images are done, those of earlier runs among them.

    Returns:
        How many images there are, and how many could not be read.

    Raises:
        DataError: it cannot be written, or another process is writing the same answers.
        MissingDependency: a Parquet table is asked for and pyarrow is not installed.
    """
    write = _writer(output)
    plan = list(shards(names, size))
    total = sum(len(shard.names) for shard in plan)
    folder = output.with_name(f"{output.name}.{key}.shards")
    try:
        with _held(folder, str(output)):
            missing = left(folder, plan)
            done = total - sum(len(shard.names) for shard in missing)
            progress(done)
            if missing:
                for shard, rows in spread(missing):
                    keep(folder, shard, rows)
                    done += len(rows)
                    progress(done)
            failed = 0

            def counted() -> Iterator[Row]:
                nonlocal failed
                for row in kept(folder, plan):
                    failed += "error" in row
                    yield row

            draft = folder / "answers"
            write(draft, counted())
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(output)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise DataError(str(output), f"cannot be written: {error.strerror}") from None
    return total, failed


@contextmanager
def _held(folder: Path, output: str) -> Iterator[None]:
    """The folder of the shards, for this process alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        lock_file(file, output)
        yield


def _writer(output: Path) -> Callable[[Path, Iterable[Row]], None]:
    if output.suffix == ".parquet":
        from tinysight.batch.parquet import writer

        return writer()
    return _csv if output.suffix == ".csv" else _lines


def _lines(path: Path, rows: Iterable[Row]) -> None:
    import json

    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def _csv(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
        write = csv_table(out)
        for row in rows:
            write(from_row(row))
