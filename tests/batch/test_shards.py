"""Shards without any cluster: order, resuming, and what a killed run leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinysight.batch.shards import Row, Shard, load, pending, run, save, shards
from tinysight.errors import DataError


@given(st.lists(st.text(max_size=3)), st.integers(1, 9))
def test_shards_are_the_list(names: list[str], size: int) -> None:
    plan = list(shards(names, size))
    assert [name for shard in plan for name in shard.names] == names
    assert [shard.number for shard in plan] == list(range(len(plan)))
    assert all(len(shard.names) == size for shard in plan[:-1])


def file_of(*names: str, number: int = 0) -> str:
    return list(shards([*"x" * number, *names], 1 if number else len(names)))[number].file


def test_a_file_is_about_its_images(tmp_path: Path) -> None:
    assert file_of("a", "b") == file_of("a", "b") != file_of("b", "a")
    assert file_of("a") != file_of("a", number=1)
    assert file_of("ab", "c") != file_of("a", "bc")
    assert file_of("\udcff").endswith(".jsonl")
    image = tmp_path / "image"
    image.write_text("one")
    before = file_of(str(image))
    (tmp_path / "other").write_text("two")
    (tmp_path / "other").replace(image)
    assert file_of(str(image)) != before


def test_what_is_saved_is_not_pending(tmp_path: Path) -> None:
    plan = list(shards("abcde", 2))
    save(tmp_path, plan[1], [{"filename": "c", "x": 1}, {"filename": "d", "x": 2}])
    assert pending(tmp_path, plan) == [plan[0], plan[2]]
    assert [row["x"] for row in load(tmp_path, plan[1:2])] == [1, 2]
    with pytest.raises(ValueError, match="not about the images of shard 0"):
        save(tmp_path, plan[0], [{"filename": "b"}, {"filename": "a"}])


class Backwards:
    """Answers the shards from the last on, and stops before number `dies`; remembers which it made."""

    def __init__(self, dies: int | None = None) -> None:
        self.dies, self.made = dies, list[int]()

    def __call__(self, plan: Sequence[Shard]) -> Iterator[tuple[Shard, list[Row]]]:
        for shard in reversed(plan):
            if shard.number == self.dies:
                raise KeyboardInterrupt
            self.made.append(shard.number)
            yield shard, [_row(name) for name in shard.names]


def _row(name: str) -> Row:
    if name == "bad":
        return {"filename": name, "error": "no image"}
    return {"class_ids": [1], "scores": [0.5], "label_names": ["x"], "filename": name}


NAMES = ["a", "b", "bad", "d", "e", "f", "g"]


def test_order_is_kept_and_failures_counted(tmp_path: Path) -> None:
    output, told = tmp_path / "out.jsonl", list[int]()
    assert run(NAMES, output, "key", 2, Backwards(), told.append) == (7, 1)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows == [_row(name) for name in NAMES]
    assert told == [0, 1, 3, 5, 7]
    assert list(tmp_path.iterdir()) == [output], "the shards are gone"


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    output, told = tmp_path / "out.csv", list[int]()
    with pytest.raises(KeyboardInterrupt):
        run(NAMES, output, "key", 2, Backwards(dies=1))
    assert not output.exists()
    again = Backwards()
    assert run(NAMES, output, "key", 2, again, told.append) == (7, 1)
    assert again.made == [1, 0]
    assert told == [3, 5, 7]
    lines = output.read_text().splitlines()
    assert lines[0].startswith('"filename"')
    assert [line.split(",")[0].strip('"') for line in lines[1:]] == NAMES
    assert lines[3].endswith('"no image"')


def test_where_images_came_only_their_shards_are_made_again(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(NAMES, output, "key", 2, Backwards(dies=0))
    again = Backwards()
    run([*NAMES, "h"], output, "key", 2, again)
    assert again.made == [3, 0], "the last one has another image now"


def test_two_at_the_same_file(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"

    def inside(plan: Sequence[Shard]) -> Iterator[tuple[Shard, list[Row]]]:
        with pytest.raises(DataError, match="another process is writing"):
            run(NAMES, output, "key", 2, Backwards())
        return Backwards()(plan)

    assert run(NAMES, output, "key", 2, inside) == (7, 1)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        run(NAMES, tmp_path / "file" / "out.jsonl", "key", 2, Backwards())


def test_links_are_followed_and_pipes_written_through(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    run(NAMES, tmp_path / "link.jsonl", "key", 2, Backwards())
    assert (tmp_path / "link.jsonl").is_symlink()
    whole = (tmp_path / "real.jsonl").read_text()
    assert len(whole.splitlines()) == 7
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_text)
        run(NAMES, pipe, "key", 2, Backwards())
        assert read.result() == whole
    assert pipe.is_fifo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.jsonl", "pipe.jsonl", "real.jsonl"]
