"""What the embedded TF Serving counts, under the genuine server's names and with its buckets.

Source: servables/tensorflow/util.cc and util/prometheus_exporter.cc of github.com/tensorflow/serving. A client can name
models that don't exist: after some hundred of them they share a label.
"""

from __future__ import annotations

from serving.hosting.metrics import Counter, Family, Histogram, Metrics

PREFIX = ":tensorflow:serving:"
LATENCY_US = tuple(10 * 1.8**exponent for exponent in range(33))
POWERS_OF_TWO = tuple(float(2**exponent) for exponent in range(15))
MAX_NAMES = 256
OTHER = "(other)"
BATCHING = "batching_session:"


def _family(name: str, description: str, labels: tuple[str, ...] = (), bounds: tuple[float, ...] = ()) -> Family:
    return Family(PREFIX + name, description, labels, bounds, ".6g")


FAMILIES = (
    _family("request_count", "Requests by status.", ("model_name", "status")),
    _family("request_example_count_total", "Examples of all requests.", ("model",)),
    _family(f"{BATCHING}wrapped_run_count", "Runs of the batching session."),
    _family("request_latency", "Microseconds of a request.", ("model_name", "API", "entrypoint"), LATENCY_US),
    _family("runtime_latency", "Microseconds in queue and run.", ("model_name", "API", "runtime"), LATENCY_US),
    _family("request_example_counts", "Examples of a request.", ("model",), POWERS_OF_TWO),
    _family(f"{BATCHING}queuing_latency", "Microseconds that a request waited.", (), LATENCY_US),
    _family(f"{BATCHING}processed_batch_size", "Rows of a run.", (), POWERS_OF_TWO),
    _family(f"{BATCHING}padding_size", "Rows that fill a run up.", ("execution_batch_size",), POWERS_OF_TWO),
    _family(f"{BATCHING}input_batch_size", "Rows of a request.", (), POWERS_OF_TWO),
)


class Telemetry:
    """Everything that is counted; make it before the workers fork, so that each page shows all of them."""

    def __init__(self, workers: int = 1) -> None:
        self._metrics = Metrics(FAMILIES, workers)
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._histograms: dict[tuple[str, ...], Histogram] = {}
        self._names: set[str] = set()

    def use_slab(self, worker: int) -> None:
        """Count as worker number `worker` from now on."""
        self._metrics.use_slab(worker)

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Add to a counter; the first label is a model's name where there is one."""
        counter = self._counters.get((name, *labels))
        if counter is None:
            labels = self._bounded(labels)
            counter = self._counters[(name, *labels)] = self._metrics.counter(PREFIX + name, *labels)
        counter.count(by)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Add to a histogram; the first label is a model's name where there is one."""
        histogram = self._histograms.get((name, *labels))
        if histogram is None:
            labels = self._bounded(labels)
            histogram = self._histograms[(name, *labels)] = self._metrics.histogram(PREFIX + name, *labels)
        histogram.observe(value)

    def observe_task(self, rows: int) -> None:
        """Count a request that the batching session takes."""
        self.observe(f"{BATCHING}input_batch_size", rows)

    def observe_run(self, rows: int, executed_rows: int, queued_s: list[float]) -> None:
        """Count a run of the batching session, filled up to `executed_rows`."""
        self.count(f"{BATCHING}wrapped_run_count")
        self.observe(f"{BATCHING}processed_batch_size", executed_rows)
        self.observe(f"{BATCHING}padding_size", executed_rows - rows, str(executed_rows))
        for waited_s in queued_s:
            self.observe(f"{BATCHING}queuing_latency", waited_s * 1e6)

    def page(self) -> bytes:
        """The Prometheus page."""
        return self._metrics.text().encode("utf-8", "replace")

    def _bounded(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        if not labels or labels[0] in self._names:
            return labels
        if len(self._names) >= MAX_NAMES:
            return (OTHER, *labels[1:])
        self._names.add(labels[0])
        return labels
