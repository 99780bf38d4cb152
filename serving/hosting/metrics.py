"""Counters and histograms in shared memory, exact over all worker processes of a server; `prometheus_client` renders.

Every worker writes its own slab of one shared memory block; the worker that serves a scrape sums all slabs. So a scrape
that reaches any worker sees all of them, and the counts of a worker that was killed are kept. A slab is a row of
records, one for each metric and set of label values: what it counts, then its cells as doubles.
"""

from __future__ import annotations

import json
import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest

RECORDS = 2048
"""Most pairs of a metric and its labels that one worker ever counts; later ones go uncounted."""
LABEL_BYTES = 1016
CELLS = 40
"""Most cells of a metric: a counter has one, a histogram one for each bound, one for +Inf and one for the sum."""
HEADER = struct.Struct("<HH")
"""The metric's number counted from 1 (0 marks a free record), and the bytes of its labels."""
CELLS_AT = 8 + LABEL_BYTES
RECORD_BYTES = CELLS_AT + 8 * CELLS
SLAB_BYTES = RECORDS * RECORD_BYTES


@dataclass(frozen=True)
class Family:
    """One metric as Prometheus names it; a counter has no bounds."""

    name: str
    description: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    bound_format: str = ""
    """How the label `le` shows a bound."""

    @property
    def cells(self) -> int:
        """Doubles in a record."""
        return len(self.bounds) + 2 if self.bounds else 1


class Counter:
    """One cell in shared memory."""

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview[float]) -> None:
        self._cells = cells

    def count(self, by: float = 1.0) -> None:
        """Add to it."""
        self._cells[0] += by


class Histogram:
    """A row of buckets in shared memory, and the sum of what they hold."""

    __slots__ = ("_bounds", "_cells", "_sum")

    def __init__(self, cells: memoryview[float], bounds: Sequence[float]) -> None:
        self._cells = cells
        self._bounds = bounds
        self._sum = len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count one value."""
        self._cells[bisect_left(self._bounds, value)] += 1.0
        self._cells[self._sum] += value


class Metrics:
    """The shared block; create it before the workers fork."""

    def __init__(self, families: Sequence[Family], workers: int = 1) -> None:
        self._families = families
        self._numbers = {family.name: number for number, family in enumerate(families)}
        self._memory = mmap.mmap(-1, workers * SLAB_BYTES)
        self._workers = workers
        self._slab = 0
        self._used = 0
        self._cells: dict[tuple[str, tuple[str, ...]], memoryview[float]] = {}

    def use_slab(self, worker: int) -> None:
        """Write as worker number `worker` from now on; a restarted worker goes on where the dead one stopped."""
        self._slab = worker * SLAB_BYTES
        self._cells = {}
        self._used = 0
        for number, labels, cells in self._records(self._slab):
            self._cells[self._families[number].name, labels] = cells
            self._used += 1

    def counter(self, name: str, *labels: str) -> Counter:
        """The counter `name` for these values of its labels, new or found again."""
        return Counter(self._find(name, labels))

    def histogram(self, name: str, *labels: str) -> Histogram:
        """The histogram `name` for these values of its labels, new or found again."""
        return Histogram(self._find(name, labels), self._families[self._numbers[name]].bounds)

    def text(self) -> str:
        """Everything, in the Prometheus text format 0.0.4."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        text = generate_latest(registry).decode()
        for family in self._families:
            if not family.bounds and not family.name.endswith("_total"):  # the client adds what TF Serving's names lack
                text = text.replace(f" {family.name}_total ", f" {family.name} ")
        return text

    def collect(self) -> Iterator[Metric]:
        """What `prometheus_client` asks a collector for: the sums over all workers."""
        totals: dict[int, dict[tuple[str, ...], list[float]]] = {}
        for start in range(0, self._workers * SLAB_BYTES, SLAB_BYTES):
            for number, labels, cells in self._records(start):
                sums = totals.setdefault(number, {}).setdefault(labels, [0.0] * len(cells))
                for index, value in enumerate(cells):
                    sums[index] += value
        for number, family in enumerate(self._families):
            yield _rendered(family, totals.get(number, {}))

    def _find(self, name: str, labels: tuple[str, ...]) -> memoryview[float]:
        """The cells of a metric; ones that nobody reads where the slab is full."""
        limit = LABEL_BYTES // (4 * len(labels)) - 8 if labels else 0  # of UTF-8, escaped and between quotes
        labels = tuple(label[:limit] for label in labels)
        cells = self._cells.get((name, labels))
        if cells is None:
            number = self._numbers[name]
            count = self._families[number].cells
            if self._used == RECORDS:
                cells = memoryview(bytearray(8 * count)).cast("d")
            else:
                cells = self._add(number, labels)
                self._cells[name, labels] = cells
        return cells

    def _add(self, number: int, labels: tuple[str, ...]) -> memoryview[float]:
        start = self._slab + self._used * RECORD_BYTES
        text = json.dumps(labels, ensure_ascii=False).encode(errors="replace")[:LABEL_BYTES]
        self._memory[start + 8 : start + 8 + len(text)] = text
        HEADER.pack_into(self._memory, start, number + 1, len(text))
        self._used += 1
        return self._view(start, self._families[number].cells)

    def _records(self, slab: int) -> Iterator[tuple[int, tuple[str, ...], memoryview[float]]]:
        """The metric, labels and cells of each record of a slab."""
        for start in range(slab, slab + SLAB_BYTES, RECORD_BYTES):
            number, length = HEADER.unpack_from(self._memory, start)
            if not number:
                return
            labels = json.loads(self._memory[start + 8 : start + 8 + length])
            yield number - 1, tuple(labels), self._view(start, self._families[number - 1].cells)

    def _view(self, start: int, count: int) -> memoryview[float]:
        cells = start + CELLS_AT
        return memoryview(self._memory)[cells : cells + 8 * count].cast("d")


def _rendered(family: Family, totals: Mapping[tuple[str, ...], Sequence[float]]) -> Metric:
    name = family.name if family.bounds else family.name.removesuffix("_total")
    metric = Metric(name, family.description, "histogram" if family.bounds else "counter")
    for values, cells in totals.items():
        labels = dict(zip(family.labels, values, strict=True))
        if not family.bounds:
            metric.add_sample(family.name, labels, cells[0])
            continue
        count = 0.0
        for bound, value in zip(
            (*(format(bound, family.bound_format) for bound in family.bounds), "+Inf"), cells, strict=False
        ):
            count += value
            metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
        metric.add_sample(f"{family.name}_sum", labels, cells[-1])
        metric.add_sample(f"{family.name}_count", labels, count)
    return metric
