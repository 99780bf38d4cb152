"""Counters and histograms under the genuine server's names, in the Prometheus text format as it writes them.

Source of names and buckets: servables/tensorflow/util.cc and util/prometheus_exporter.cc of
github.com/tensorflow/serving. A client can name models that don't exist: after some hundred of them they share a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

PREFIX = ":tensorflow:serving:"
LATENCY_US = tuple(10 * 1.8**exponent for exponent in range(33))
POWERS_OF_TWO = tuple(float(2**exponent) for exponent in range(15))
MAX_NAMES = 256
OTHER = "(other)"
_COUNTERS = {
    "request_count": ("model_name", "status"),
    "request_example_count_total": ("model",),
    "batching_session:wrapped_run_count": (),
}
_HISTOGRAMS = {
    "request_latency": (("model_name", "API", "entrypoint"), LATENCY_US),
    "runtime_latency": (("model_name", "API", "runtime"), LATENCY_US),
    "request_example_counts": (("model",), POWERS_OF_TWO),
    "model_warmup_latency": (("model_path", "status"), LATENCY_US),
    "batching_session:queuing_latency": ((), LATENCY_US),
    "batching_session:processed_batch_size": ((), POWERS_OF_TWO),
    "batching_session:padding_size": (("execution_batch_size",), POWERS_OF_TWO),
    "batching_session:input_batch_size": ((), POWERS_OF_TWO),
}


class Histogram:
    """One row of buckets."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Telemetry:
    """Everything that is counted in this process."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in _COUNTERS}
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {name: {} for name in _HISTOGRAMS}
        self._names: set[str] = set()

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Add to a counter; the first label is a model's name where there is one."""
        cells, labels = self._counters[name], self._bounded(labels)
        cells[labels] = cells.get(labels, 0) + by

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Add to a histogram."""
        self._histogram(name, self._bounded(labels)).observe(value)

    def observe_task(self, rows: int) -> None:
        """Count a request that the batching session takes."""
        self.observe("batching_session:input_batch_size", rows)

    def observe_run(self, rows: int, executed_rows: int, queued_s: list[float]) -> None:
        """Count a run of the batching session, filled up to `executed_rows`."""
        self.count("batching_session:wrapped_run_count")
        self.observe("batching_session:processed_batch_size", executed_rows)
        self._histogram("batching_session:padding_size", (str(executed_rows),)).observe(executed_rows - rows)
        for waited_s in queued_s:
            self.observe("batching_session:queuing_latency", waited_s * 1e6)

    def page(self) -> bytes:
        """The Prometheus page."""
        return ("\n".join(self._lines()) + "\n").encode("utf-8", "replace")

    def _histogram(self, name: str, labels: tuple[str, ...]) -> Histogram:
        cells = self._histograms[name]
        histogram = cells.get(labels)
        if histogram is None:
            histogram = cells[labels] = Histogram(_HISTOGRAMS[name][1])
        return histogram

    def _bounded(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        if not labels or labels[0] in self._names:
            return labels
        if len(self._names) >= MAX_NAMES:
            return (OTHER, *labels[1:])
        self._names.add(labels[0])
        return labels

    def _lines(self) -> Iterator[str]:
        for name, counters in self._counters.items():
            yield f"# TYPE {PREFIX}{name} counter"
            for labels, value in counters.items():
                yield f"{PREFIX}{name}{{{_join(_COUNTERS[name], labels)}}} {value}"
        for name, histograms in self._histograms.items():
            yield f"# TYPE {PREFIX}{name} histogram"
            names, bounds = _HISTOGRAMS[name]
            for labels, histogram in histograms.items():
                yield from _rows(PREFIX + name, _join(names, labels), bounds, histogram)


def _rows(name: str, labels: str, bounds: Sequence[float], histogram: Histogram) -> Iterator[str]:
    running, prefix = 0, f"{name}_bucket{{{labels}{',' if labels else ''}"
    for bound, count in zip((*(f"{bound:.6g}" for bound in bounds), "+Inf"), histogram.counts, strict=True):
        running += count
        yield f'{prefix}le="{bound}"}} {running}'
    yield f"{name}_sum{{{labels}}} {histogram.total:.6g}"
    yield f"{name}_count{{{labels}}} {running}"


def _join(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
