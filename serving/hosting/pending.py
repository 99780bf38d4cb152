"""A request that waits for its run, its answer, and one run for several of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from contract import Tensors

Run = Callable[[Tensors], dict[str, np.ndarray]]
Result = dict[str, np.ndarray] | Exception
"""What a run gave for one request."""


class NotJoinableError(Exception):
    """A shared run gave an output whose rows are not those of its inputs."""


class Outputs(dict[str, np.ndarray]):
    """The outputs for one request, and where its time went."""

    __slots__ = ("batch_rows", "compute_us", "queue_us")

    def __init__(self, outputs: dict[str, np.ndarray], queue_us: float, compute_us: float, batch_rows: int) -> None:
        dict.__init__(self, outputs)
        self.queue_us = queue_us
        """Microseconds from `submit` to the start of the run."""
        self.compute_us = compute_us
        """Microseconds of the run that it shared."""
        self.batch_rows = batch_rows
        """Rows of that run."""

    @property
    def size_bytes(self) -> int:
        """The bytes of all of them; of a BYTES tensor those of its pointers."""
        size = 0
        for array in self.values():
            size += array.nbytes
        return size


class PendingRequest:
    """One request in the queue."""

    __slots__ = ("deadline_s", "future", "inputs", "kind", "rows", "size_bytes", "submitted_s", "then")

    def __init__(
        self, inputs: Tensors, deadline_s: float | None, then: Callable[[Outputs], Any] | None, now_s: float
    ) -> None:
        self.inputs = inputs
        rows: int | None = None
        size_bytes, kind = 0, []
        for name, array in inputs.items():
            shape = array.shape
            if rows is None:
                rows = shape[0] if shape else 1
            size_bytes += array.nbytes
            kind.append((name, array.dtype.char, shape[1:]))
        self.rows = 1 if rows is None else rows
        self.size_bytes = size_bytes
        self.kind = tuple(kind)
        """Requests of one kind can share a run: the same names, datatypes and shapes of a row."""
        self.deadline_s = deadline_s
        self.then = then
        self.submitted_s = now_s
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(self, outputs: dict[str, np.ndarray], began_s: float, compute_s: float, batch_rows: int) -> None:
        """Resolve the future with what `then` makes of the outputs, or with its error."""
        if self.future.done():
            return
        result: Any = Outputs(outputs, (began_s - self.submitted_s) * 1e6, compute_s * 1e6, batch_rows)
        try:
            if self.then is not None:
                result = self.then(result)
        except Exception as error:  # whatever it is belongs to this request alone
            self.future.set_exception(error)
            return
        if isinstance(result, asyncio.Future):  # made in a thread
            result.add_done_callback(self._resolve)
        else:
            self.future.set_result(result)

    def _resolve(self, made: asyncio.Future[Any]) -> None:
        if self.future.done():
            return
        if made.cancelled():
            self.future.cancel()
        elif (error := made.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(made.result())


def run_batch(run: Run, batch: list[PendingRequest]) -> list[Result]:
    """One result per request: of one run for all, or, where that fails, of a run for each.

    Raises NotJoinableError where the rows of the outputs are not the requests' own: they must be run one by one.
    """
    if len(batch) == 1:
        return [run_alone(run, batch[0])]
    try:
        outputs = run({name: np.concatenate([p.inputs[name] for p in batch]) for name in batch[0].inputs})
    except Exception:  # one of them has an input that the model refuses: the others get their answers
        return [run_alone(run, pending) for pending in batch]
    return split(outputs, [pending.rows for pending in batch])


def split(outputs: dict[str, np.ndarray], rows: list[int]) -> list[Result]:
    """Each request's rows of the outputs, as views; raises NotJoinableError."""
    total = sum(rows)
    for name, array in outputs.items():
        if not array.ndim or len(array) != total:
            shown = len(array) if array.ndim else "no"
            raise NotJoinableError(f"output {name!r} has {shown} rows for {total} rows of input")
    results: list[Result] = []
    start = 0
    for count in rows:
        results.append({name: array[start : start + count] for name, array in outputs.items()})
        start += count
    return results


def run_alone(run: Run, pending: PendingRequest) -> Result:
    """Run one request, its error as a value."""
    try:
        return run(pending.inputs)
    except Exception as error:  # the model's error is the answer
        return error
