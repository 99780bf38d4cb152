"""The dynamic micro-batcher of every server of our own: requests that wait together run together.

One run at a time. A request that finds the model idle runs at once; those that arrive meanwhile form the next batch.
A short run is done on the event loop's own thread (`in_thread=False`: nothing is faster on one core), a long one in a
thread of its own, so that health checks stay alive.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from contract import Tensors
from serving.hosting.adaptive_wait import Crowd
from serving.hosting.pending import DeadlineExceeded, Outputs, QueueFull, Run, Waiting, run_alone, run_together

__all__ = ["Batcher", "DeadlineExceeded", "Observe", "Outputs", "QueueFull", "Run"]

Observe = Callable[[int, list[float], float], None]
"""Told after each run: rows, the seconds each request had queued, seconds of compute."""


class Batcher:
    """Runs a model for many requests: as few runs as the arrivals allow, no neighbour's mistake in anybody's answer."""

    def __init__(
        self,
        run: Run,
        *,
        max_batch_size: int,
        max_queue_delay_us: int = 0,
        max_queue_size: int = 1024,
        in_thread: bool = False,
        observe: Observe | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Batch `run` over the first dimension, up to `max_batch_size` rows; 1 turns batching off.

        `max_queue_size` bounds the requests that wait. `max_queue_delay_us` is how long several waiting requests may
        wait for more; a lone one never does. `on_failure` is told of every request that got an error for an answer.
        """
        self._run = run
        self._max_rows = max_batch_size
        self._delay_s = max_queue_delay_us * 1e-6
        self._max_waiting = max_queue_size
        self._observe = observe
        self._on_failure = on_failure
        self._in_thread = in_thread
        self._pool: ThreadPoolExecutor | None = None
        self._queues: dict[Any, deque[Waiting]] = {}  # by dtypes and row shapes; the first key's turn is next
        self._waiting = 0
        self._busy = False  # a run or a look at the queue is under way or scheduled
        self._timer: asyncio.TimerHandle | None = None
        self._last_requests = 0
        self._seen = 0
        self._crowd = Crowd()
        self._last_end_s = 0.0

    def submit(
        self,
        inputs: Tensors,
        deadline_s: float | None = None,
        then: Callable[[Outputs], Any] | None = None,
    ) -> asyncio.Future[Any]:
        """Queue a request; the future gives its `Outputs`, or what `then` makes of them.

        `deadline_s` is a reading of `time.perf_counter()`. Raises QueueFull. A cancelled request, or one whose deadline
        has passed, costs no run.
        """
        if self._waiting >= self._max_waiting and not self._forget_cancelled():
            raise QueueFull(f"{self._waiting} requests wait already, the most that is allowed")
        rows = next((len(a) if a.ndim else 1 for a in inputs.values()), 1)
        waiting = Waiting(inputs, rows, deadline_s, then)
        key = tuple([(name, a.dtype.char, a.shape[1:]) for name, a in inputs.items()])
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(waiting)
        self._waiting += 1
        self._crowd.last_arrival_s = waiting.submitted_s
        if not self._busy:
            self._busy = True
            waiting.future.get_loop().call_soon(self._next)
        elif self._timer is not None and self._rows(queue) >= self._max_rows:
            self._next()
        return waiting.future

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return self._busy

    def close(self) -> None:
        """Fail what waits and let the thread go; call it when no request can come any more."""
        for queue in self._queues.values():
            for waiting in queue:
                self._fail(waiting, RuntimeError("the model was unloaded"))
        self._queues.clear()
        self._waiting = 0
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _fail(self, waiting: Waiting, error: BaseException) -> None:
        if not waiting.future.done():
            waiting.future.set_exception(error)
            if self._on_failure is not None:
                self._on_failure(error)

    # the queue

    def _forget_cancelled(self) -> int:
        """Drop the requests whose client has gone; returns how many."""
        before = self._waiting
        for key, queue in list(self._queues.items()):
            kept = deque(w for w in queue if not w.future.done())
            self._waiting -= len(queue) - len(kept)
            if kept:
                self._queues[key] = kept
            else:
                del self._queues[key]
        return before - self._waiting

    def _rows(self, queue: deque[Waiting]) -> int:
        return sum(w.rows for w in queue)

    def _take(self) -> list[Waiting]:
        """The next batch: the oldest of the kind whose turn it is, as many as fit, dead ones dropped."""
        batch: list[Waiting] = []
        while self._queues and not batch:
            key, queue = next(iter(self._queues.items()))
            del self._queues[key]
            rows = 0
            while queue and (not batch or (self._max_rows > 1 and rows + queue[0].rows <= self._max_rows)):
                waiting = queue.popleft()
                self._waiting -= 1
                if waiting.future.done():
                    continue
                if waiting.deadline_s is not None and waiting.deadline_s < time.perf_counter():
                    self._fail(waiting, DeadlineExceeded("the deadline passed while the request waited"))
                    continue
                batch.append(waiting)
                rows += waiting.rows
            if queue:
                self._queues[key] = queue  # at the end: kinds take turns
        return batch

    def _more_arrive(self) -> bool:
        """Whether to give the loop another round before the run: more came in the last, or a crowd's rest is due."""
        grown, self._seen = self._waiting > self._seen, self._waiting
        if self._waiting < self._max_rows and (grown or self._crowd.is_due(self._waiting)):
            return True
        self._seen = 0
        return False

    def _should_wait(self) -> float:
        """Seconds that the queue may still wait for more: only where there is reason to think that more will come."""
        if not self._delay_s or not self._queues:
            return 0.0
        queue = next(iter(self._queues.values()))
        now = time.perf_counter()
        crowd = len(queue) > 1 or (self._last_requests > 1 and now - self._last_end_s < self._delay_s)
        if not crowd or self._rows(queue) >= self._max_rows:
            return 0.0
        return queue[0].submitted_s + self._delay_s - now

    # the runs

    def _next(self) -> None:
        """Start the next run, or wait for its batch to fill."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif self._more_arrive():
            loop.call_soon(self._next)
            return
        elif (wait_s := self._should_wait()) > 0:
            self._timer = loop.call_later(wait_s, self._next)
            return
        batch = self._take()
        if not batch:
            self._busy = False
        elif self._in_thread or batch[0].rows > self._max_rows:  # the last: it may take long
            self._pool = self._pool or ThreadPoolExecutor(1, "model")
            self._pool.submit(self._compute_in_thread, loop, batch)
        else:
            self._finish(batch, *self._compute(batch))

    def _compute_in_thread(self, loop: asyncio.AbstractEventLoop, batch: list[Waiting]) -> None:
        done = self._compute(batch)
        loop.call_soon_threadsafe(self._finish, batch, *done)

    def _compute(self, batch: list[Waiting]) -> tuple[list[dict[str, np.ndarray] | Exception], float, float]:
        """One entry per request, the start and the seconds of the run."""
        began_s = time.perf_counter()
        try:
            results = run_together(self._run, batch)
        except Exception as error:  # the model's error is the answer
            results = [error] if len(batch) == 1 else [run_alone(self._run, waiting) for waiting in batch]
        return results, began_s, time.perf_counter() - began_s

    def _finish(
        self, batch: list[Waiting], results: list[dict[str, np.ndarray] | Exception], began_s: float, compute_s: float
    ) -> None:
        rows = sum(waiting.rows for waiting in batch)
        for waiting, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                self._fail(waiting, result)
            else:
                waiting.answer(result, began_s, compute_s, rows)
        self._last_requests = len(batch)
        self._crowd.ran(len(batch))
        self._last_end_s = began_s + compute_s
        if self._observe is not None:
            self._observe(rows, [began_s - waiting.submitted_s for waiting in batch], compute_s)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)  # after what has arrived meanwhile
        else:
            self._busy = False
