"""Work in a thread of its own."""

from __future__ import annotations

import threading

import pytest

from tinysight.concurrency import Deferred


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
