"""One run's result: the figures computed from its raw rows. Reads and writes `<scenario>-<round>.json` beside the
`.npz`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from loadtest.analysis.intervals import QUANTILES, quantile
from loadtest.raw_times import FAILED, RIGHT, WRONG
from loadtest.scenarios import Closed, Offline, Scenario, to_fields

WINDOWS = 5
"""Equal parts of a run, by time, whose figures must agree for the run to be stable."""


def measured(scenario: Scenario, table: dict[str, np.ndarray], target_ms: float) -> dict[str, Any]:
    """The figures of one run. `table`'s times are microseconds from the run's start."""
    right = table["outcome"] == RIGHT
    seconds, counted = _counted(scenario, table)
    done = right & counted
    latency_ms = (table["done_us"] - table["intended_us"]) / 1e3
    from_send_ms = (table["done_us"] - table["sent_us"]) / 1e3
    lag_ms = (table["sent_us"] - table["intended_us"]) / 1e3
    return {
        "scenario": to_fields(scenario),
        "scenario_name": scenario.name,
        "requests": len(right),
        "failures": int((table["outcome"] == FAILED).sum()),
        "wrong_answers": int((table["outcome"] == WRONG).sum()),
        "elapsed_s": seconds,
        "throughput_rps": float(done.sum()) / seconds,
        "goodput_rps": float((done & (latency_ms <= target_ms)).sum()) / seconds,
        "target_ms": target_ms,
        "latency_ms": summarise(latency_ms[right]),
        "latency_from_send_ms": None if isinstance(scenario, (Closed, Offline)) else summarise(from_send_ms[right]),
        "schedule_lag_ms": None if isinstance(scenario, (Closed, Offline)) else summarise(lag_ms),
        "windows": windows(scenario, table, seconds),
    }


def summarise(values: np.ndarray) -> dict[str, float | None]:
    """Quantiles and maximum of `values` (ms), each None where there is none."""
    if not len(values):
        return {**dict.fromkeys(QUANTILES), "max": None}
    ordered = np.sort(values)
    return {**{name: quantile(ordered, share) for name, share in QUANTILES.items()}, "max": float(ordered[-1])}


def windows(scenario: Scenario, table: dict[str, np.ndarray], seconds: float) -> list[dict[str, float | None]]:
    """Answers per second and median latency of each of `WINDOWS` parts, by the time of the answer (open: of the
    intended send).
    """
    right = table["outcome"] == RIGHT
    closed = isinstance(scenario, (Closed, Offline))
    when_s = table["done_us" if closed else "intended_us"][right] / 1e6
    latency_ms = ((table["done_us"] - table["intended_us"]) / 1e3)[right]
    part = np.minimum((when_s / seconds * WINDOWS).astype(int), WINDOWS)
    found: list[dict[str, float | None]] = []
    for number in range(WINDOWS):
        inside = latency_ms[part == number]
        median = float(np.median(inside)) if len(inside) else None
        found.append({"throughput_rps": len(inside) / seconds * WINDOWS, "p50_ms": median})
    return found


def _counted(scenario: Scenario, table: dict[str, np.ndarray]) -> tuple[float, np.ndarray]:
    """The seconds over which answers are counted, and which rows count.

    A closed run counts what was answered before its time was up, since the users then fall silent one by one. An open
    run counts every answer, over the time until the last one where that is longer than the schedule.
    """
    done_s = table["done_us"] / 1e6
    if isinstance(scenario, (Closed, Offline)):
        in_time = done_s <= scenario.seconds
        if in_time.any():
            return scenario.seconds, in_time
    last_s = float(done_s.max()) if len(done_s) else 0.0
    return max(scenario.seconds, last_s), np.ones(len(done_s), bool)
