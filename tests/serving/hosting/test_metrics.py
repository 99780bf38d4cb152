"""Histograms in shared memory: true buckets, sums over workers, counts that outlive a worker."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from serving.hosting.metrics import Metrics


def read(metrics: Metrics) -> dict[tuple[str, str], float]:
    samples = [s for family in text_string_to_metric_families(metrics.text()) for s in family.samples]
    return {(s.name, s.labels.get("le") or s.labels.get("outcome") or ""): s.value for s in samples}


def test_histogram_is_cumulative_with_sum_and_count() -> None:
    metrics = Metrics()
    model = metrics.model("m", "1")
    for seconds in (0.0001, 0.0002, 0.02, 99.0):
        model.request.observe(seconds)
    found = read(metrics)
    name = "oip_request_duration_seconds"
    assert found[f"{name}_bucket", "0.0001"] == 1
    assert found[f"{name}_bucket", "0.00025"] == 2
    assert found[f"{name}_bucket", "10.0"] == 3
    assert found[f"{name}_bucket", "+Inf"] == found[f"{name}_count", ""] == 4
    assert abs(found[f"{name}_sum", ""] - 99.0203) < 1e-6


def test_workers_are_added_up_and_a_new_one_goes_on_where_the_old_one_stopped() -> None:
    metrics = Metrics(2)
    for worker in (0, 1, 1):
        metrics.use_slab(worker)
        metrics.model("m", "1").count(200)
    assert read(metrics)["oip_requests_total", "ok"] == 3


def test_outcomes_follow_the_status() -> None:
    metrics = Metrics()
    model = metrics.model("m", "1")
    for status in (200, 400, 404, 503, 504, 500):
        model.count(status)
    found = read(metrics)
    wanted = {"ok": 1, "refused": 2, "unavailable": 2, "failed": 1}
    assert {outcome: found["oip_requests_total", outcome] for outcome in wanted} == wanted


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.model('a"b\\c', "1").count(200)
    (family, *_) = text_string_to_metric_families(metrics.text())
    assert family.samples[0].labels["model"] == 'a"b\\c'
