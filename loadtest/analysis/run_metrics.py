"""The figures of one run, from the raw rows of its blocks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtest.analysis.blocks import block_of, closed_cycles
from loadtest.analysis.intervals import QUANTILES, quantile
from loadtest.raw_times import RIGHT, Table
from loadtest.scenarios import Closed, Offline, Scenario


def measured(scenario: Scenario, table: Table, blocks: int, target_ms: float) -> dict[str, Any]:
    """The figures of a run of so many blocks; `table`'s times are microseconds from each block's zero."""
    users = scenario.users if isinstance(scenario, Closed | Offline) else 0
    inside = counted(scenario, table)
    right = inside & (table["outcome"] == RIGHT)
    tables = [{name: column[table["block"] == number] for name, column in table.items()} for number in range(blocks)]
    parts = [block_of(rows, 0.0, scenario.seconds, users, target_ms) for rows in tables]
    latencies_ms = np.concatenate([part.latencies_ms for part in parts])
    throughput = _throughput(tables, len(latencies_ms), scenario.seconds, users)
    good = float((latencies_ms <= target_ms).mean()) if len(latencies_ms) else 0.0
    lag_ms = summarise((table["sent_us"] - table["intended_us"])[inside] / 1e3)
    from_send_ms = summarise((table["done_us"] - table["sent_us"])[right] / 1e3)
    return {
        "requests": int(inside.sum()),
        "failures": sum(part.failures for part in parts),
        "wrong_answers": sum(part.wrong_answers for part in parts),
        "elapsed_s": blocks * scenario.seconds,
        "throughput_rps": throughput,
        "goodput_rps": throughput * good,
        "target_ms": target_ms,
        "latency_ms": summarise(latencies_ms),
        "latency_from_send_ms": None if users else from_send_ms,
        "schedule_lag_ms": None if users else lag_ms,
    }


def _throughput(tables: Sequence[Table], right_answers: int, seconds: float, users: int) -> float:
    """Right answers per second over all blocks.

    Of a closed loop: the cycles of all blocks together. The mean of the blocks' rates would be too high where a block
    has few cycles of unequal length, for a short cycle makes a high rate.
    """
    if not users:
        return right_answers / (len(tables) * seconds)
    answers, lasted_s = (sum(parts) for parts in zip(*(closed_cycles(rows, seconds) for rows in tables), strict=True))
    return users * answers / lasted_s if lasted_s else 0.0


def counted(scenario: Scenario, table: Table) -> np.ndarray:
    """Which rows count: those meant to be sent within their block."""
    inside: np.ndarray = (table["intended_us"] >= 0) & (table["intended_us"] < scenario.seconds * 1e6)
    return inside


def summarise(values: np.ndarray) -> dict[str, float | None]:
    """Quantiles and maximum of `values` (ms), each None where there is none."""
    if not len(values):
        return {**dict.fromkeys(QUANTILES), "max": None}
    ordered = np.sort(values)
    return {**{name: quantile(ordered, share) for name, share in QUANTILES.items()}, "max": float(ordered[-1])}
