"""What the Open Inference Protocol servers count for each version of a model."""

from __future__ import annotations

from serving.hosting.metrics import Family, Metrics

LATENCY_BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075,
    0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
ROWS_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
OUTCOMES = ("ok", "refused", "unavailable", "failed")
"""Answered; the client's mistake (4xx); queue full, deadline or shutdown (503, 504); the server's (500)."""
_LABELS = ("model", "version")
FAMILIES = (
    Family("oip_requests_total", "Inference requests by outcome.", (*_LABELS, "outcome")),
    Family("oip_request_duration_seconds", "From the last byte of a request to its answer.", _LABELS, LATENCY_BOUNDS_S),
    Family("oip_queue_duration_seconds", "From the queue to the start of the run.", _LABELS, LATENCY_BOUNDS_S),
    Family("oip_compute_duration_seconds", "Runs of the model.", _LABELS, LATENCY_BOUNDS_S),
    Family("oip_batch_rows", "Rows of a run.", _LABELS, ROWS_BOUNDS),
)


class ModelMetrics:
    """What is counted for one version of one model, in one worker."""

    def __init__(self, metrics: Metrics, name: str, version: str) -> None:
        self._outcomes = [metrics.counter("oip_requests_total", name, version, outcome) for outcome in OUTCOMES]
        self._answered = self._outcomes[0]
        self.request = metrics.histogram("oip_request_duration_seconds", name, version)
        self.queue = metrics.histogram("oip_queue_duration_seconds", name, version)
        self.compute = metrics.histogram("oip_compute_duration_seconds", name, version)
        self.rows = metrics.histogram("oip_batch_rows", name, version)

    def count(self, status: int) -> None:
        """Count the outcome of a request by its HTTP status."""
        index = 0 if status < 400 else 1 if status < 500 else 2 if status in (503, 504) else 3
        self._outcomes[index].count()

    def answered(self, seconds: float) -> None:
        """Count a request that was answered as it wished, so long after its last byte."""
        self._answered.count()
        self.request.observe(seconds)

    def observe_run(self, rows: int, queued_s: list[float], compute_s: float) -> None:
        """Count one run; a `batcher.Observe`."""
        self.rows.observe(rows)
        self.compute.observe(compute_s)
        for waited_s in queued_s:
            self.queue.observe(waited_s)
