"""Verdicts on ways of training, by the statistics that serving is judged by: rounds in random order, Student's t."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.analysis.intervals import mean_interval
from loadtest.analysis.verdicts import Metric, compare

Fields = Mapping[str, Any]
REFERENCE = "reference"
"""The mode that stands for the loop that articles show."""
METRICS = (
    Metric("seconds_to_target", "training", False, "{b} takes {times} times as long as {a} to the target accuracy",
           "seconds to the target accuracy"),
    Metric("images_per_s", "training", True, "{a} trains on {times} times as many images per second as {b}",
           "images per second"),
)  # fmt: skip


def training_verdicts(found: Fields) -> list[dict[str, Any]]:
    """A verdict for every pair of modes and each measure; modes are named `<framework> <mode>`."""
    rows = found.get("modes") or []
    count = len(METRICS) * len(rows) * (len(rows) - 1) // 2
    return [verdict for metric in METRICS for verdict in _pairs(metric, rows, count)]


def training_headline(found: Fields) -> list[str]:
    """Each framework's fastest mode against its reference loop, and the fastest of both against each other."""
    verdicts = [v for v in training_verdicts(found) if v["metric"] == METRICS[0].name and v["text"]]
    fastest = _fastest(found.get("modes") or [])
    pairs = [{best, f"{framework} {REFERENCE}"} for framework, best in fastest.items()] + [set(fastest.values())]
    return [verdict["text"] for pair in pairs for verdict in verdicts if {verdict["a"], verdict["b"]} == pair]


def bounds_over_rounds(row: Fields, key: str) -> tuple[float, float] | None:
    """The 95 % interval of a figure's mean over the rounds in `runs`; None where there are fewer than two."""
    runs = row.get("runs")
    if not isinstance(runs, list):
        return None
    if key == "latency_p50_ms" and all(isinstance(run, int | float) for run in runs):
        return mean_interval([float(run) for run in runs])
    values = _values(row, key)
    return mean_interval(values) if len(set(values)) > 1 else None  # what is measured once stands in every round


def _pairs(metric: Metric, rows: Sequence[Fields], count: int) -> list[dict[str, Any]]:
    rounds = {_name(row): values for row in rows if (values := _values(row, metric.name))}
    absent = [row for row in rows if _name(row) not in rounds]
    return compare(metric, rounds, {_name(row): row.get("missing") or "no round measured it" for row in absent}, count)


def _fastest(rows: Sequence[Fields]) -> dict[str, str]:
    """Per framework the mode with the fewest seconds to the target, the reference left out."""
    timed = [row for row in rows if row.get("mode") != REFERENCE and row.get("seconds_to_target")]
    ordered = sorted(timed, key=lambda row: -row["seconds_to_target"])
    return {str(row["framework"]): _name(row) for row in ordered}


def _values(row: Fields, key: str) -> list[float]:
    runs = [run for run in row.get("runs") or [] if isinstance(run, Mapping)]
    return [float(run[key]) for run in runs if isinstance(run.get(key), int | float)]


def _name(row: Fields) -> str:
    return f"{row.get('framework')} {row.get('mode')}"
