"""How requests for one signature of one version are run: together only where rows are known to be independent.

Where a manifest lies beside the versions, what it proves decides. Where there is none, --enable_batching says that the
user wants requests of equal inner shape to share runs, as the genuine server does. What may not share runs alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract import Tensors
from serving.hosting.batcher import Batcher, DeadlineExceeded, Outputs, QueueFull
from serving.hosting.run_placement import RunPlacement
from serving.servers.tfserving.metrics import Telemetry
from serving.servers.tfserving.model.session import Session, check_types
from serving.servers.tfserving.model.signatures import Signature
from serving.servers.tfserving.status import Status, invalid

COALESCED_ROWS = 64
"""Most rows of a run that is shared without --enable_batching."""
MAX_WAITING = 8192
"""Most requests that wait for one signature without --enable_batching."""


@dataclass(frozen=True)
class BatchingParameters:
    """`BatchingParameters` of the genuine server, with its defaults."""

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 1
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0


class FilteredInputs(dict[str, np.ndarray]):
    """The inputs of a request that wants some of the outputs only."""

    outputs: Sequence[str] = ()


class Execution:
    """Runs one signature."""

    def __init__(
        self,
        session: Session,
        signature: Signature,
        batching: BatchingParameters | None,
        telemetry: Telemetry | None = None,
        *,
        joined_rows: int = 0,
    ) -> None:
        """Run `signature` in `session`; requests may share runs of up to `joined_rows` rows, none where it is 0."""
        self.signature = signature
        self._session = session
        self._batching = batching
        self._rows = 0
        self._telemetry = telemetry
        self._joined_rows = joined_rows
        self._placement = RunPlacement()
        self._alone, self._shared = self._make_batchers()

    def _make_batchers(self) -> tuple[Batcher, Batcher | None]:
        """One for runs of single requests, and one for shared runs where requests may share them."""
        placement, observe = self._placement, self._watch
        alone = Batcher(
            self._run_alone, max_batch_size=1, max_queue_size=MAX_WAITING, placement=placement, observe=observe
        )
        if not self._joined_rows:
            return alone, None
        if self._batching is None:
            size, delay_us, waiting, run = COALESCED_ROWS, 0, MAX_WAITING, self._run_all
        else:  # what waits is counted in rows, by `_admit`
            limits, run = self._batching, self._run_padded
            size, delay_us, waiting = limits.max_batch_size, limits.batch_timeout_micros, 2**31
        shared = Batcher(
            run,
            max_batch_size=min(size, self._joined_rows),
            max_queue_delay_us=delay_us,
            max_queue_size=waiting,
            placement=placement,
            observe=observe,
        )
        return alone, shared

    def _watch(self, rows: int, queued_s: list[float], compute_s: float) -> None:
        """Count a run."""
        if self._telemetry is not None:
            self._telemetry.observe_run(rows, self._executed(rows), queued_s)

    @property
    def busy(self) -> bool:
        """Whether requests wait or run."""
        return self._rows > 0

    def submit(
        self,
        inputs: Tensors,
        *,
        outputs: Sequence[str] = (),
        deadline_s: float | None = None,
        then: Callable[[Outputs], Any] | None = None,
    ) -> asyncio.Future[Any]:
        """Queue a request; the future gives its outputs, or what `then` makes of them, or raises Status."""
        feeds = {self.signature.inputs[alias].tensor: array for alias, array in inputs.items()}
        check_types(self.signature, sorted(feeds), feeds)
        rows = self._admit(inputs)
        batcher = self._shared if rows and not outputs and self._shared is not None else self._alone
        if outputs:
            inputs = FilteredInputs(inputs)
            inputs.outputs = outputs
        try:
            future = batcher.submit(inputs, deadline_s, then)
        except QueueFull as full:
            raise Status("UNAVAILABLE", f"The batch scheduling queue is full: {full}") from None
        if self._telemetry is not None:
            self._telemetry.observe_task(rows)
        counted = max(rows, 1)
        self._rows += counted
        future.add_done_callback(lambda _: self._leave(counted))
        return future

    def close(self) -> None:
        """Let the threads go."""
        for batcher in filter(None, (self._alone, self._shared)):
            batcher.close()

    def _leave(self, rows: int) -> None:
        self._rows -= rows

    def _admit(self, inputs: Tensors) -> int:
        """The rows of a request that may share a run, 0 for one that may not; raises Status where batching says no."""
        sizes = {len(array) if array.ndim else -1 for array in inputs.values()}
        rows = sizes.pop() if len(sizes) == 1 else -1
        if self._batching is None:
            ports = self.signature.inputs
            if rows < 1 or not all(ports[alias].admits(array) for alias, array in inputs.items()):
                return 0
            return rows
        if not inputs or any(not array.ndim for array in inputs.values()):
            raise invalid("Batching Run() input tensors must have at least one dimension")
        if rows < 0:
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        limits = self._batching
        if rows > limits.max_batch_size and not limits.enable_large_batch_splitting:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {limits.max_batch_size}")
        room = (limits.max_enqueued_batches + limits.num_batch_threads) * limits.max_batch_size
        if self._rows + rows > max(room, rows):
            enqueued = limits.max_enqueued_batches
            full = "The batch scheduling queue to which this task was submitted is full"
            raise Status(
                "UNAVAILABLE",
                f"{full}; currently {enqueued} batches enqueued and max_enqueued_batches is {enqueued}",
            )
        return rows

    # runs

    def _run_alone(self, inputs: Tensors) -> dict[str, np.ndarray]:
        return self._session.run(self.signature, inputs, inputs.outputs if isinstance(inputs, FilteredInputs) else ())

    def _run_all(self, inputs: Tensors) -> dict[str, np.ndarray]:
        return self._session.run(self.signature, inputs)

    def _executed(self, rows: int) -> int:
        """The rows that a run is filled up to."""
        sizes = self._batching.allowed_batch_sizes if self._batching is not None else ()
        return next((size for size in sizes if size >= rows), rows)

    def _run_padded(self, inputs: Tensors) -> dict[str, np.ndarray]:
        """A run with --enable_batching: split where it is too large, filled up to an allowed size."""
        limits = self._batching or BatchingParameters()
        rows = len(next(iter(inputs.values())))
        most = limits.max_execution_batch_size or limits.max_batch_size
        if rows > most:
            pieces = [
                self._run_padded({alias: array[start : start + most] for alias, array in inputs.items()})
                for start in range(0, rows, most)
            ]
            return {alias: np.concatenate([piece[alias] for piece in pieces]) for alias in pieces[0]}
        wanted = self._executed(rows)
        if wanted == rows or not rows:
            return self._run_all(inputs)
        missing = wanted - rows
        padded = {a: np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) for a, array in inputs.items()}
        outputs = self._run_all(padded)
        return {a: array[:rows] if array.ndim and len(array) == wanted else array for a, array in outputs.items()}


def status_of(error: BaseException) -> Status:
    """Any failure of a request as the status that its client is told."""
    if isinstance(error, Status):
        return error
    if isinstance(error, DeadlineExceeded):
        return Status("DEADLINE_EXCEEDED", "Timed out waiting for notification")
    if isinstance(error, MemoryError):
        return Status("RESOURCE_EXHAUSTED", "not enough memory for this request")
    return Status("INTERNAL", f"internal error ({type(error).__name__})")
