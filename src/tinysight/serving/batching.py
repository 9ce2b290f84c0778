"""Dynamic batching: jobs of all models in bounded queues, run by a few threads, each model in its turn.

A batch is made of what waits when a thread becomes idle; nobody waits for a batch to fill. An idle server so answers
at once, and a busy one saves what a larger batch saves. All methods but the work itself run in the event loop.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from tinysight.serving.limits import Refusal

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
PARTS = ("input", "infer", "output")
_SMOOTHING = 0.1  # weight of the newest batch in the time that a job is expected to take


class Done(NamedTuple):
    """What became of a batch: a value or an exception for each item, and seconds for each of `PARTS`."""

    outcomes: Sequence[Any]
    seconds: Sequence[float] = (0.0, 0.0, 0.0)


class BatchCall(NamedTuple):
    """What is done with the items of a batch; only jobs with equal calls share one."""

    work: Callable[..., Done]
    arguments: tuple[Any, ...] = ()

    def run(self, items: list[Any]) -> Done:
        """Run the batch; where it fails as a whole, each item alone, so that one cannot spoil the others."""
        try:
            return self.work(items, *self.arguments)
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the result
            if len(items) == 1:
                return Done([error])
        return Done([self.run([item]).outcomes[0] for item in items])


class _Job:
    def __init__(
        self, call: BatchCall, item: Any, future: asyncio.Future[Any], since: float
    ) -> None:
        self.call, self.item, self.future, self.since = call, item, future, since

    def expire(self) -> None:
        if not self.future.done():
            self.future.set_exception(Refusal(504, "no result within the deadline"))


class WorkPool:
    """The threads that run batches.

    Args:
        threads: their number, at least 1.
    """

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="tinysight_serve")
        self.threads = self._idle = threads
        self._ready: deque[BatchQueue] = deque()  # those in which a job waits

    def offer(self, queue: BatchQueue) -> None:
        """A job has come into `queue`."""
        if queue not in self._ready:
            self._ready.append(queue)
        self._start()

    def _start(self) -> None:
        while self._idle and self._ready:
            queue = self._ready.popleft()
            batch = queue.take()
            if queue.waiting:
                self._ready.append(queue)
            if batch:
                self._idle -= 1
                loop = asyncio.get_running_loop()
                work = partial(batch[0].call.run, [job.item for job in batch])
                running = loop.run_in_executor(self._executor, work)
                running.add_done_callback(partial(self._finish, queue, batch, time.perf_counter()))

    def _finish(
        self, queue: BatchQueue, batch: list[_Job], started: float, running: asyncio.Future[Done]
    ) -> None:
        self._idle += 1
        queue.finish(batch, time.perf_counter() - started, running.result())
        self._start()


class BatchQueue:
    """The jobs of one model.

    Args:
        pool: the threads.
        batch: most jobs in a batch.
        limit: most jobs that wait.
        counts: where requests and seconds are counted.
    """

    def __init__(self, pool: WorkPool, batch: int, limit: int, counts: Counter[str]) -> None:
        self._pool, self._batch, self._limit, self.counts = pool, batch, limit, counts
        self._jobs: deque[_Job] = deque()
        self._seconds = 0.0  # that a job is expected to occupy a thread
        self.last_ms = 0  # when it last gave a result, milliseconds since 1970

    @property
    def waiting(self) -> int:
        """Number of jobs that no thread has taken."""
        return len(self._jobs)

    async def submit(self, call: BatchCall, item: Any, deadline: float) -> Any:
        """The outcome of `item`.

        Args:
            call: what is done with it.
            item: the job.
            deadline: time of the event loop by which the result is needed.

        Raises:
            Refusal: the queue is full or too long for the deadline (429), or the deadline has passed (504).
            Exception: what the work raised.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        wait = self._seconds * (len(self._jobs) + 1) / self._pool.threads
        # Where nothing waits a job is always tried: one slow kind must not shut the others out.
        if len(self._jobs) >= self._limit or (self._jobs and now + wait > deadline):
            self.counts["rejected"] += 1
            raise Refusal(429, "too many requests wait for this model", max(wait, 0.1))
        job = _Job(call, item, loop.create_future(), time.perf_counter())
        timer = loop.call_at(deadline, job.expire)
        self._jobs.append(job)
        self._pool.offer(self)
        outcome = "failed"
        try:
            result = await job.future
            outcome = "success"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Refusal:
            outcome = "expired"
            raise
        finally:
            timer.cancel()
            job.item = None
            seconds = time.perf_counter() - job.since
            self.counts[outcome] += 1
            ns = int(seconds * 1e9)
            self.counts["request_ns"] += ns
            self.counts["success_ns" if outcome == "success" else "failed_ns"] += ns
            if outcome == "success":
                self.last_ms = time.time_ns() // 10**6
                self.counts[f"le_{bisect_left(BUCKETS, seconds)}"] += 1
        return result

    def take(self) -> list[_Job]:
        """The next batch: a share of what waits, as large as the other threads' would be."""
        size = min(self._batch, -(-len(self._jobs) // self._pool.threads))
        batch: list[_Job] = []
        while self._jobs and len(batch) < size:
            if self._jobs[0].future.done():  # expired, or its client has gone
                self._jobs.popleft()
            elif batch and self._jobs[0].call != batch[0].call:
                break
            else:
                batch.append(self._jobs.popleft())
        now = time.perf_counter()
        self.counts["queue_ns"] += sum(int((now - job.since) * 1e9) for job in batch)
        return batch

    def finish(self, batch: list[_Job], seconds: float, done: Done) -> None:
        """A batch has been run."""
        each = seconds / len(batch)
        self._seconds += ((each - self._seconds) * _SMOOTHING) if self._seconds else each
        self.counts["executions"] += 1
        self.counts["inferences"] += len(batch)
        for part, spent in zip(PARTS, done.seconds, strict=True):
            self.counts[f"{part}_ns"] += int(spent * 1e9)
        for job, outcome in zip(batch, done.outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)
