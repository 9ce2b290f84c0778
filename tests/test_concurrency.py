"""One call in a thread of its own, and ordered work in threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinysight.concurrency import Deferred, grouped, ordered_map, usable_cores


def test_the_result_and_the_error_come_to_whoever_asks() -> None:
    started, go = threading.Event(), threading.Event()

    def work() -> int:
        started.set()
        assert go.wait(10)
        return 7

    job = Deferred(work)
    assert started.wait(10), "it runs before anybody asks"
    go.set()
    assert [job.result(), job.result()] == [7, 7]
    failing = Deferred(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.result()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_waits_so_that_the_child_has_the_result() -> None:
    started = threading.Event()

    def work() -> int:
        started.set()
        time.sleep(0.05)
        return 7

    job = Deferred(work)
    assert started.wait(10)
    child = os.fork()
    if not child:
        os._exit(job.result() if job.done() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(1, 5), st.integers(0, 5))
def test_it_is_map(items: list[int], workers: int, ahead: int) -> None:
    assert list(ordered_map(lambda x: 2 * x, items, workers, ahead)) == [2 * x for x in items]


def test_order_is_kept_when_later_items_are_done_first() -> None:
    def work(i: int) -> int:
        time.sleep(0.02 if i % 3 == 0 else 0)
        return i

    assert list(ordered_map(work, range(30), 3, 6)) == list(range(30))


def test_no_more_are_taken_than_said() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    stream = ordered_map(lambda x: x, items(), 2, 3)
    for expected in range(1, 20):
        assert next(stream) == expected
        assert taken <= expected + 2 + 3 + 1
    stream.close()


def test_one_item_starts_no_thread() -> None:
    assert list(ordered_map(lambda _: threading.current_thread(), [1], 4, 4)) == [
        threading.current_thread()
    ]


def test_an_error_of_the_work_comes_in_its_turn() -> None:
    stream = ordered_map(lambda x: 1 // x, [1, 1, 0, 1], 2, 2)
    assert [next(stream), next(stream)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(stream)


@settings(deadline=None)
@given(st.lists(st.booleans()), st.integers(1, 4))
def test_groups_hold_as_many_as_count(items: list[bool], size: int) -> None:
    groups = list(grouped(items, size, bool))
    assert [x for g in groups for x in g] == items
    assert all(sum(g) == size and g[-1] for g in groups[:-1])
    assert all(groups)


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1


def test_an_error_that_nobody_catches_ends_the_process() -> None:
    """Its traceback keeps the iterator open, whose threads must not keep the process."""
    text = """
from tinysight.concurrency import ordered_map

def begin():
    found = ordered_map(lambda i: i, range(1000), 3, 4)
    next(found)
    raise ValueError("mine")

begin()
"""
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert ran.stderr.endswith(b"ValueError: mine\n")
