"""Histograms in shared memory: true buckets, sums over workers, counts that outlive a worker."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.hosting.metrics import RECORDS, Family, Metrics
from serving.hosting.model_metrics import FAMILIES, ModelMetrics


def read(metrics: Metrics) -> dict[tuple[str, str], float]:
    samples = [s for family in text_string_to_metric_families(metrics.text()) for s in family.samples]
    return {(s.name, s.labels.get("le") or s.labels.get("outcome") or ""): s.value for s in samples}


def test_histogram_is_cumulative_with_sum_and_count() -> None:
    metrics = Metrics(FAMILIES)
    model = ModelMetrics(metrics, "m", "1")
    for seconds in (0.0001, 0.0002, 0.02, 99.0):
        model.request.observe(seconds)
    samples = read(metrics)
    name = "oip_request_duration_seconds"
    assert samples[f"{name}_bucket", "0.0001"] == 1
    assert samples[f"{name}_bucket", "0.00025"] == 2
    assert samples[f"{name}_bucket", "10.0"] == 3
    assert samples[f"{name}_bucket", "+Inf"] == samples[f"{name}_count", ""] == 4
    assert abs(samples[f"{name}_sum", ""] - 99.0203) < 1e-6


def test_workers_are_added_up_and_a_new_one_goes_on_where_the_old_one_stopped() -> None:
    metrics = Metrics(FAMILIES, 2)
    for worker in (0, 1, 1):
        metrics.use_slab(worker)
        ModelMetrics(metrics, "m", "1").count(200)
    assert read(metrics)["oip_requests_total", "ok"] == 3


def test_outcomes_follow_the_status() -> None:
    metrics = Metrics(FAMILIES)
    model = ModelMetrics(metrics, "m", "1")
    for status in (200, 400, 404, 503, 504, 500):
        model.count(status)
    samples = read(metrics)
    wanted = {"ok": 1, "refused": 2, "unavailable": 2, "failed": 1}
    assert {outcome: samples["oip_requests_total", outcome] for outcome in wanted} == wanted


def test_labels_are_escaped() -> None:
    metrics = Metrics(FAMILIES)
    ModelMetrics(metrics, 'a"b\\c', "1").count(200)
    (family, *_) = text_string_to_metric_families(metrics.text())
    assert family.samples[0].labels["model"] == 'a"b\\c'


def test_killed_worker_leaves_its_counts_to_the_next_in_its_place() -> None:
    metrics = Metrics(FAMILIES, 2)
    for _ in range(2):
        metrics.use_slab(1)  # as a new process does
        ModelMetrics(metrics, "m", "1").count(200)
    assert read(metrics)["oip_requests_total", "ok"] == 2


def test_full_slab_counts_on_without_growing() -> None:
    metrics = Metrics([Family("seen_total", "Names.", ("name",))])
    for number in range(RECORDS + 10):
        metrics.counter("seen_total", f"name{number}").count()
    (family,) = text_string_to_metric_families(metrics.text())
    assert len(family.samples) == RECORDS


def test_names_of_tf_serving_are_kept_as_they_are() -> None:
    bounds = tuple(10 * 1.8**exponent for exponent in range(33))
    metrics = Metrics(
        [
            Family(":tensorflow:serving:request_count", "", ("model_name", "status")),
            Family(":tensorflow:serving:request_latency", "", ("model_name",), bounds, ".6g"),
        ]
    )
    metrics.counter(":tensorflow:serving:request_count", "m", "OK").count(3)
    metrics.histogram(":tensorflow:serving:request_latency", "m").observe(20.0)
    lines = metrics.text().splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 3.0' in lines
    assert ':tensorflow:serving:request_latency_bucket{le="32.4",model_name="m"} 1.0' in lines


@pytest.mark.parametrize("name", ["é" * 2000, "\ud800", 'quote " and \\', "line\nbreak"])
def test_odd_names_break_nothing(name: str) -> None:
    metrics = Metrics(FAMILIES)
    ModelMetrics(metrics, name, "1").count(200)
    assert read(metrics)["oip_requests_total", "ok"] == 1
