"""Counters and histograms per model and version, exact over all worker processes of a server.

Every worker writes its own slab of one shared memory block; whoever is asked adds the slabs up, so that a scrape that
reaches any worker sees all of them, and the counts of a worker that was killed are kept. Written in the Prometheus text
format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence

LATENCY_BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075,
    0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
ROWS_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
OUTCOMES = ("ok", "refused", "unavailable", "failed")
"""Answered; the client's mistake (4xx); queue full, deadline or shutdown (503, 504); the server's (500)."""
HISTOGRAMS = {
    "oip_request_duration_seconds": (LATENCY_BOUNDS_S, "From the last byte of a request to its answer."),
    "oip_queue_duration_seconds": (LATENCY_BOUNDS_S, "From the queue to the start of the run."),
    "oip_compute_duration_seconds": (LATENCY_BOUNDS_S, "Runs of the model."),
    "oip_batch_rows": (ROWS_BOUNDS, "Rows of a run."),
}
NAME_BYTES = 248
RECORDS = 256
"""Most pairs of model and version that one worker ever counts; later ones go uncounted."""


def _layout() -> tuple[dict[str, int], int]:
    """Where each histogram starts in a record, in doubles, and the record's length."""
    start, at = {}, len(OUTCOMES)
    for name, (bounds, _) in HISTOGRAMS.items():
        start[name] = at
        at += len(bounds) + 2  # one more for +Inf, one for the sum
    return start, at


STARTS, COUNTS = _layout()
RECORD_BYTES = NAME_BYTES + 8 + 8 * COUNTS
SLAB_BYTES = RECORDS * RECORD_BYTES


class Histogram:
    """A row of buckets in shared memory."""

    __slots__ = ("_at", "_bounds", "_counts", "_sum")

    def __init__(self, counts: memoryview[float], name: str) -> None:
        self._counts = counts
        self._bounds: Sequence[float] = HISTOGRAMS[name][0]
        self._at = STARTS[name]
        self._sum = self._at + len(self._bounds) + 1

    def observe(self, value: float) -> None:
        """Count one value."""
        counts = self._counts
        counts[self._at + bisect_left(self._bounds, value)] += 1.0
        counts[self._sum] += value


class ModelMetrics:
    """What is counted for one version of one model, in one worker."""

    def __init__(self, counts: memoryview[float]) -> None:
        self._counts = counts
        self.request, self.queue, self.compute, self.rows = (Histogram(counts, name) for name in HISTOGRAMS)

    def count(self, status: int) -> None:
        """Count the outcome of a request by its HTTP status."""
        index = 0 if status < 400 else 1 if status < 500 else 2 if status in (503, 504) else 3
        self._counts[index] += 1.0

    def observe_run(self, rows: int, queued_s: list[float], compute_s: float) -> None:
        """Count one run; a `batching.Observe`."""
        self.rows.observe(rows)
        self.compute.observe(compute_s)
        for waited_s in queued_s:
            self.queue.observe(waited_s)


class Metrics:
    """The shared block; create it before the workers fork."""

    def __init__(self, workers: int = 1) -> None:
        self._memory = mmap.mmap(-1, workers * SLAB_BYTES)
        self._workers = workers
        self._slab = 0

    def use_slab(self, worker: int) -> None:
        """Write as worker number `worker` from now on; a restarted worker goes on where the dead one stopped."""
        self._slab = worker * SLAB_BYTES

    def model(self, name: str, version: str) -> ModelMetrics:
        """The counts of one version, new or found again."""
        label = f'model="{_escaped(name)}",version="{_escaped(version)}"'.encode()[:NAME_BYTES]
        for record in range(RECORDS):
            start = self._slab + record * RECORD_BYTES
            found = self._memory[start : start + NAME_BYTES].rstrip(b"\0")
            if found in (b"", label):
                self._memory[start : start + len(label)] = label
                return ModelMetrics(self._view(start))
        return ModelMetrics(memoryview(bytearray(8 * COUNTS)).cast("d"))

    def _view(self, start: int) -> memoryview[float]:
        counts = start + NAME_BYTES + 8
        return memoryview(self._memory)[counts : counts + 8 * COUNTS].cast("d")

    def _totals(self) -> dict[str, list[float]]:
        totals: dict[str, list[float]] = {}
        for start in range(0, self._workers * SLAB_BYTES, RECORD_BYTES):
            label = self._memory[start : start + NAME_BYTES].rstrip(b"\0")
            if label:
                sums = totals.setdefault(label.decode(errors="replace"), [0.0] * COUNTS)
                for index, value in enumerate(self._view(start)):
                    sums[index] += value
        return totals

    def text(self) -> str:
        """Everything, in the Prometheus text format."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        totals = self._totals()
        yield "# HELP oip_requests_total Inference requests by outcome."
        yield "# TYPE oip_requests_total counter"
        for label, sums in totals.items():
            for outcome, value in zip(OUTCOMES, sums, strict=False):
                yield f'oip_requests_total{{{label},outcome="{outcome}"}} {value:.0f}'
        for name, (bounds, description) in HISTOGRAMS.items():
            yield f"# HELP {name} {description}"
            yield f"# TYPE {name} histogram"
            for label, sums in totals.items():
                yield from _histogram_lines(name, label, bounds, sums[STARTS[name] :])


def _histogram_lines(name: str, label: str, bounds: Sequence[float], counts: Sequence[float]) -> Iterator[str]:
    total = 0.0
    for bound, count in zip((*bounds, "+Inf"), counts, strict=False):
        total += count
        yield f'{name}_bucket{{{label},le="{bound}"}} {total:.0f}'
    yield f"{name}_sum{{{label}}} {counts[len(bounds) + 1]:.9g}"
    yield f"{name}_count{{{label}}} {total:.0f}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
