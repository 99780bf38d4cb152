"""A request that waits for its run, its answer, and a run for several of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from contract import Tensors

Run = Callable[[Tensors], dict[str, np.ndarray]]


class QueueFull(Exception):  # noqa: N818 - what happened to the queue
    """Too many requests wait already."""


class DeadlineExceeded(Exception):  # noqa: N818 - the name of the status
    """The request's deadline passed before its run began."""


class Outputs(dict[str, np.ndarray]):
    """The outputs for one request, and where its time went."""

    __slots__ = ("batch_rows", "compute_us", "queue_us")

    def __init__(self, outputs: dict[str, np.ndarray], queue_us: float, compute_us: float, batch_rows: int) -> None:
        super().__init__(outputs)
        self.queue_us = queue_us
        """Microseconds from `submit` to the start of the run."""
        self.compute_us = compute_us
        """Microseconds of the run that it shared."""
        self.batch_rows = batch_rows
        """Rows of that run."""


class Waiting:
    """One request in the queue."""

    __slots__ = ("deadline_s", "future", "inputs", "rows", "submitted_s", "then")

    def __init__(
        self, inputs: Tensors, rows: int, deadline_s: float | None, then: Callable[[Outputs], Any] | None
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.deadline_s = deadline_s
        self.then = then
        self.submitted_s = time.perf_counter()
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(self, outputs: dict[str, np.ndarray], began_s: float, compute_s: float, batch_rows: int) -> None:
        """Resolve the future; where `then` fails, with its error."""
        if self.future.done():
            return
        result: Any = Outputs(outputs, (began_s - self.submitted_s) * 1e6, compute_s * 1e6, batch_rows)
        try:
            self.future.set_result(result if self.then is None else self.then(result))
        except Exception as error:  # whatever it is belongs to this request alone
            self.future.set_exception(error)


def run_together(run: Run, batch: list[Waiting]) -> list[dict[str, np.ndarray] | Exception]:
    """Run a batch at once and split the outputs, by views; raises what the model raises."""
    if len(batch) == 1:
        return [run(batch[0].inputs)]
    joined = {name: np.concatenate([w.inputs[name] for w in batch]) for name in batch[0].inputs}
    outputs = run(joined)
    rows = sum(waiting.rows for waiting in batch)
    if any(not array.ndim or len(array) != rows for array in outputs.values()):
        raise ValueError("an output doesn't have the batch in its first dimension")  # each then runs alone
    results: list[dict[str, np.ndarray] | Exception] = []
    start = 0
    for waiting in batch:
        end = start + waiting.rows
        results.append({name: array[start:end] for name, array in outputs.items()})
        start = end
    return results


def run_alone(run: Run, waiting: Waiting) -> dict[str, np.ndarray] | Exception:
    """Run one request, its error as a value."""
    try:
        return run(waiting.inputs)
    except Exception as error:  # the model's error is the answer
        return error
