"""The dynamic micro-batcher of every server of our own: requests that wait together run together.

A request that finds the model idle runs at once; those that arrive during a run form the next batch. At each moment the
batcher is in one of three states:

    IDLE -- submit --> COLLECTING -- the batch is taken --> RUNNING -- nothing waits --> IDLE
                            ^                                  |
                            +---------- requests wait ---------+

Every method but `_compute` belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Any

from contract import Tensors
from serving.hosting.adaptive_wait import ArrivalEstimator
from serving.hosting.errors import DeadlineExceeded, QueueFull
from serving.hosting.pending import NotJoinableError, Outputs, PendingRequest, Result, Run, run_alone, run_batch
from serving.hosting.run_placement import RunPlacement

__all__ = ["Batcher", "DeadlineExceeded", "Observe", "Outputs", "QueueFull", "Run"]

Observe = Callable[[int, list[float], float], None]
"""Told after each run: rows, the seconds each request had queued, seconds of compute."""


class State(Enum):
    """What the batcher is doing."""

    IDLE = auto()
    COLLECTING = auto()
    """Requests wait, and a look at the queue is scheduled: at once, or when `max_queue_delay_us` is over."""
    RUNNING = auto()


class Batcher:
    """Runs a model for many requests: as few runs as the arrivals allow, no neighbour's mistake in anybody's answer."""

    def __init__(
        self,
        run: Run,
        *,
        max_batch_size: int,
        max_queue_delay_us: int = 0,
        max_queue_size: int = 1024,
        placement: RunPlacement | None = None,
        observe: Observe | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Batch `run` over the first dimension, up to `max_batch_size` rows; 1 turns batching off.

        `max_queue_size` bounds the requests that wait. `max_queue_delay_us` is how long several waiting requests may
        wait for more; a lone one never does. `on_failure` is told of every request that got an error for an answer.
        """
        self._run = run
        self._max_rows = max_batch_size
        self._delay_s = max_queue_delay_us * 1e-6
        self._max_waiting = max_queue_size
        self._placement = placement or RunPlacement()
        self._observe = observe
        self._on_failure = on_failure
        self._clock = clock
        self._state = State.IDLE
        self._timer: asyncio.TimerHandle | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._queues: dict[Any, deque[PendingRequest]] = {}  # by kind; the first kind's turn is next
        self._waiting = 0
        self._waiting_at_last_look = 0
        self._arrivals = ArrivalEstimator()
        self._last_batch = 0
        self._last_end_s = 0.0

    def submit(
        self,
        inputs: Tensors,
        deadline_s: float | None = None,
        then: Callable[[Outputs], Any] | None = None,
    ) -> asyncio.Future[Any]:
        """Queue a request; the future gives its `Outputs`, or what `then` makes of them, be it at once or as a future.

        `deadline_s` is a reading of the clock. Raises QueueFull. A cancelled request, or one whose deadline has passed,
        costs no run.
        """
        if self._waiting >= self._max_waiting and not self._forget_cancelled():
            raise QueueFull(f"{self._waiting} requests wait already, the most that is allowed")
        pending = PendingRequest(inputs, deadline_s, then, self._clock())
        queue = self._queues.get(pending.kind)
        if queue is None:
            queue = self._queues[pending.kind] = deque()
        queue.append(pending)
        self._waiting += 1
        self._arrivals.arrived(pending.submitted_s)
        if self._state is State.IDLE:
            self._collect_soon()
        elif self._timer is not None and _rows(queue) >= self._max_rows:
            self._end_waiting()
        return pending.future

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return self._state is not State.IDLE

    def close(self) -> None:
        """Fail what waits and let the thread go; call it when no request can come any more."""
        for queue in self._queues.values():
            for pending in queue:
                self._fail(pending, RuntimeError("the model was unloaded"))
        self._queues.clear()
        self._waiting = 0
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _fail(self, pending: PendingRequest, error: BaseException) -> None:
        if not pending.future.done():
            pending.future.set_exception(error)
            if self._on_failure is not None:
                self._on_failure(error)

    # IDLE or RUNNING -> COLLECTING -> RUNNING

    def _collect_soon(self) -> None:
        self._state = State.COLLECTING
        asyncio.get_running_loop().call_soon(self._collect)

    def _collect(self) -> None:
        """Start the run, or look again after what arrives in this round of the loop, or wait for the batch to fill."""
        if self._do_more_arrive():
            asyncio.get_running_loop().call_soon(self._collect)
        elif (wait_s := self._worthwhile_wait_s()) > 0:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._end_waiting)
        else:
            self._start_run()

    def _end_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._start_run()

    def _do_more_arrive(self) -> bool:
        """Whether to give the loop another round first: more came in the last one, or more are likely."""
        has_grown = self._waiting > self._waiting_at_last_look
        self._waiting_at_last_look = self._waiting
        if self._waiting < self._max_rows:
            if has_grown:
                return True
            if self._arrivals.is_waiting_worthwhile(self._waiting, self._clock()):
                os.sched_yield()  # to a client on the same core
                return True
        self._waiting_at_last_look = 0
        return False

    def _worthwhile_wait_s(self) -> float:
        """Seconds that the queue may still wait for more: only where there is reason to think that more will come."""
        if not self._delay_s or not self._queues:
            return 0.0
        queue = next(iter(self._queues.values()))
        now_s = self._clock()
        has_company = len(queue) > 1 or (self._last_batch > 1 and now_s - self._last_end_s < self._delay_s)
        if not has_company or _rows(queue) >= self._max_rows:
            return 0.0
        return queue[0].submitted_s + self._delay_s - now_s

    def _start_run(self) -> None:
        self._state = State.RUNNING
        batch = self._take()
        if not batch:
            self._state = State.IDLE
            return
        size_bytes = 0
        for pending in batch:
            size_bytes += pending.size_bytes
        if self._placement.in_thread(size_bytes):
            loop = asyncio.get_running_loop()
            self._pool = self._pool or ThreadPoolExecutor(1, "model")
            self._pool.submit(self._compute_in_thread, loop, batch)
        else:
            self._finish(batch, *self._compute(batch))

    # RUNNING -> COLLECTING or IDLE

    def _compute_in_thread(self, loop: asyncio.AbstractEventLoop, batch: list[PendingRequest]) -> None:
        computed = self._compute(batch)
        loop.call_soon_threadsafe(self._finish, batch, *computed)

    def _compute(self, batch: list[PendingRequest]) -> tuple[list[Result], float, float]:
        """One result per request, the start and the seconds of the run."""
        began_s = self._clock()
        try:
            results = run_batch(self._run, batch)
        except NotJoinableError:
            self._max_rows = 1  # whoever said that rows are independent was wrong: nothing is joined any more
            results = [run_alone(self._run, pending) for pending in batch]
        return results, began_s, self._clock() - began_s

    def _finish(self, batch: list[PendingRequest], results: list[Result], began_s: float, compute_s: float) -> None:
        rows = size_bytes = 0
        for pending in batch:
            rows += pending.rows
            size_bytes += pending.size_bytes
        self._placement.ran(size_bytes, compute_s)
        for pending, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                self._fail(pending, result)
            else:
                pending.answer(result, began_s, compute_s, rows)
        self._last_batch = len(batch)
        self._last_end_s = began_s + compute_s
        self._arrivals.ran(len(batch))
        if self._observe is not None:
            self._observe(rows, [began_s - pending.submitted_s for pending in batch], compute_s)
        if self._waiting:
            self._collect_soon()  # after what has arrived meanwhile
        else:
            self._state = State.IDLE

    # the queue

    def _take(self) -> list[PendingRequest]:
        """The next batch: the oldest of the kind whose turn it is, as many as fit, dead ones dropped."""
        batch: list[PendingRequest] = []
        while self._queues and not batch:
            kind, queue = next(iter(self._queues.items()))
            del self._queues[kind]
            rows = 0
            while queue and (not batch or (self._max_rows > 1 and rows + queue[0].rows <= self._max_rows)):
                pending = queue.popleft()
                self._waiting -= 1
                if pending.future.done():
                    continue
                if pending.deadline_s is not None and pending.deadline_s < self._clock():
                    self._fail(pending, DeadlineExceeded("the deadline passed while the request waited"))
                    continue
                batch.append(pending)
                rows += pending.rows
            if queue:
                self._queues[kind] = queue  # at the end: kinds alternate
        return batch

    def _forget_cancelled(self) -> int:
        """Drop the requests whose client has gone; returns how many."""
        before = self._waiting
        for kind, queue in list(self._queues.items()):
            kept = deque(pending for pending in queue if not pending.future.done())
            self._waiting -= len(queue) - len(kept)
            if kept:
                self._queues[kind] = kept
            else:
                del self._queues[kind]
        return before - self._waiting


def _rows(queue: deque[PendingRequest]) -> int:
    return sum([pending.rows for pending in queue])
