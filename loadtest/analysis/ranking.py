"""Which endpoints are compared by which figure: takes the report's endpoints, gives its verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest.analysis.verdicts import Metric, compare, metrics_for


def rank(endpoints: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every pairwise verdict of the report, all holding together."""
    metrics = metrics_for(_open_percentile(endpoints))
    split = {metric: _split(metric, endpoints) for metric in metrics}
    comparisons = sum(len(rounds) * (len(rounds) - 1) // 2 for rounds, _ in split.values())
    return [verdict for metric, (rounds, out) in split.items() for verdict in compare(metric, rounds, out, comparisons)]


def find_point(endpoint: dict[str, Any], scenario: str) -> dict[str, Any] | None:
    """An endpoint's figures under `scenario`."""
    return next((point for point in endpoint["scenarios"] if point["name"] == scenario), None)


def _open_percentile(endpoints: Sequence[dict[str, Any]]) -> str:
    """The highest percentile that every VALID round of the open scenario can state."""
    points = [
        point for endpoint in endpoints if (point := find_point(endpoint, "open")) and point["validity"] == "VALID"
    ]
    for name in ("p99", "p95", "p90"):
        if points and all(run[f"{name}_ms"] is not None for point in points for run in point["runs"]):
            return name
    return "p50"


def _split(metric: Metric, endpoints: Sequence[dict[str, Any]]) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The figures by round of the endpoints that may be ranked, and why the others may not."""
    rounds: dict[str, list[float]] = {}
    excluded: dict[str, str] = {}
    for endpoint in endpoints:
        point = find_point(endpoint, metric.scenario)
        if point is None:
            continue
        values = [run[metric.name] for run in point["runs"]]
        if point["validity"] != "VALID":
            more = f" and {len(point['reasons']) - 1} more" if len(point["reasons"]) > 1 else ""
            excluded[endpoint["name"]] = f"INVALID, {point['reasons'][0]}{more}"
        elif point["rate_asked_rps"] and point["rate_rps"] < point["rate_asked_rps"]:
            rates = f"{point['rate_rps']:.0f} requests/s, as it does not keep up with {point['rate_asked_rps']:.0f}"
            excluded[endpoint["name"]] = f"it was sent {rates}"
        elif any(value is None for value in values):
            excluded[endpoint["name"]] = f"too few requests for {metric.what}"
        else:
            rounds[endpoint["name"]] = values
    return rounds, excluded
