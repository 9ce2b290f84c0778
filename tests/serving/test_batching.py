"""The queue by itself: what shares a batch, whose turn it is, and what happens to those that fail, wait or go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from tinysight.serving.batching import BatchCall, BatchQueue, Done, WorkPool
from tinysight.serving.limits import Refusal


class Work:
    """Doubles numbers, a batch at a time; remembers the batches. The gate holds it up."""

    def __init__(self) -> None:
        self.gate, self.batches = threading.Event(), list[list[int]]()

    def __call__(self, items: list[int], key: str = "") -> Done:
        self.gate.wait(10)
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("thirteen")
        return Done([2 * item for item in items])


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 20))


def queue(pool: WorkPool, batch: int = 4, limit: int = 100) -> BatchQueue:
    return BatchQueue(pool, batch, limit, Counter())


def later(seconds: float = 10) -> float:
    return asyncio.get_running_loop().time() + seconds


def start(
    of: BatchQueue, work: Work, items: list[int], key: str = "", seconds: float = 10
) -> list[asyncio.Future[Any]]:
    call = BatchCall(work, (key,))
    return [asyncio.ensure_future(of.submit(call, item, later(seconds))) for item in items]


def test_what_waits_shares_batches_in_order() -> None:
    async def body() -> None:
        work, of = Work(), queue(WorkPool(1))
        jobs = start(of, work, [0, 1, 2, 3, 4, 5])
        await asyncio.sleep(0.01)
        jobs += start(of, work, [6, 7], "other")
        await asyncio.sleep(0.01)
        work.gate.set()
        assert await asyncio.gather(*jobs) == [0, 2, 4, 6, 8, 10, 12, 14]
        assert work.batches == [[0], [1, 2, 3, 4], [5], [6, 7]]
        assert of.counts["success"] == of.counts["inferences"] == 8
        assert of.counts["executions"] == 4

    run(body())


def test_several_threads_share_what_waits() -> None:
    async def body() -> None:
        work, of = Work(), queue(WorkPool(2), batch=8)
        jobs = start(of, work, [0, 1])
        await asyncio.sleep(0.01)
        jobs += start(of, work, list(range(2, 8)))
        await asyncio.sleep(0.01)
        work.gate.set()
        await asyncio.gather(*jobs)
        assert max(map(len, work.batches)) == 3  # of six, not all for the first

    run(body())


def test_models_take_turns() -> None:
    async def body() -> None:
        pool, work = WorkPool(1), Work()
        one, two = queue(pool, 2), queue(pool, 2)
        jobs = start(one, work, list(range(8)))
        await asyncio.sleep(0.01)
        jobs += start(two, work, [100, 101])
        await asyncio.sleep(0.01)
        work.gate.set()
        await asyncio.gather(*jobs)
        assert work.batches[:3] == [[0], [1, 2], [100, 101]]

    run(body())


def test_one_that_fails_spoils_no_other() -> None:
    async def body() -> None:
        work, of = Work(), queue(WorkPool(1))
        jobs = start(of, work, [0, 1, 13, 3])
        work.gate.set()
        found = await asyncio.gather(*jobs, return_exceptions=True)
        assert [f for f in found if not isinstance(f, ValueError)] == [0, 2, 6]
        assert (of.counts["success"], of.counts["failed"]) == (3, 1)

    run(body())


def test_full_late_and_gone() -> None:
    async def body() -> None:
        work, of = Work(), queue(WorkPool(1), limit=3)
        jobs = start(of, work, [0])
        await asyncio.sleep(0.01)
        jobs += start(of, work, [1, 2, 3], seconds=0.05)
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await start(of, work, [4])[0]
        assert (caught.value.status, of.counts["rejected"]) == (429, 1)
        jobs[3].cancel()
        await asyncio.sleep(0.1)
        work.gate.set()
        found = await asyncio.gather(*jobs, return_exceptions=True)
        assert found[0] == 0
        assert [getattr(f, "status", None) for f in found[1:3]] == [504, 504]
        assert isinstance(found[3], asyncio.CancelledError)
        assert work.batches == [[0]]  # nobody worked for those that had gone
        assert (of.counts["expired"], of.counts["cancelled"]) == (2, 1)
        assert await start(of, work, [5])[0] == 10

    run(body())


def test_slow_jobs_do_not_shut_others_out() -> None:
    async def body() -> None:
        of = queue(WorkPool(1))

        def slow(items: list[float]) -> Done:
            time.sleep(items[0])
            return Done(items)

        call = BatchCall(slow)
        await of.submit(call, 0.3, later())
        assert (
            await of.submit(call, 0.0, later(0.1)) == 0.0
        )  # though such jobs are expected to take longer
        waiting = [asyncio.ensure_future(of.submit(call, 0.2, later())) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(Refusal, match="too many"):
            await of.submit(call, 0.0, later(0.05))
        await asyncio.gather(*waiting)

    run(body())
