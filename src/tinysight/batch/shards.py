"""A long list of images in shards: what is left to do, what is done, and the answers in order.

A shard's answers are one file of JSON lines, named after its number and after a digest of its
images, that appears whole or not at all. So a run that was killed leaves whole shards, the same
command makes the missing ones, and where images came or went only their shards are made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.files import write_atomic

Row = dict[str, Any]  # what `predict --json` writes about one image


class Shard(NamedTuple):
    """Consecutive images: the shard's number, from 0, and their paths."""

    number: int
    names: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the file of its answers."""
        digest = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape"))
        return f"{self.number:06d}-{digest.hexdigest()[:16]}.jsonl"


def shards(names: Iterable[str], size: int) -> Iterator[Shard]:
    """All images in order, `size` of them in each shard but the last."""
    rest = iter(names)
    number = 0
    while some := tuple(islice(rest, size)):
        yield Shard(number, some)
        number += 1


def left(folder: Path, plan: Iterable[Shard]) -> list[Shard]:
    """The shards without answers in `folder`."""
    have = {path.name for path in folder.iterdir()}
    return [shard for shard in plan if shard.file not in have]


def keep(folder: Path, shard: Shard, rows: Sequence[Row]) -> None:
    """Write a shard's answers.

    Raises:
        ValueError: they are not about its images, one each, in order.
    """
    if [row["filename"] for row in rows] != list(shard.names):
        raise ValueError(f"the answers are not about the images of shard {shard.number}")
    write_atomic(folder / shard.file, "".join(json.dumps(row) + "\n" for row in rows))


def kept(folder: Path, plan: Iterable[Shard]) -> Iterator[Row]:
    """All answers, in the order of the images; every shard of the plan has to be there."""
    for shard in plan:
        with (folder / shard.file).open("rb") as lines:
            yield from map(json.loads, lines)
