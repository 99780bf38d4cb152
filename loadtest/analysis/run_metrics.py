"""The figures of one run, from the raw rows of its blocks. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from loadtest.analysis.blocks import block_of
from loadtest.analysis.intervals import QUANTILES, quantile
from loadtest.raw_times import RIGHT, Table
from loadtest.scenarios import Closed, Offline, Scenario


def measured(scenario: Scenario, table: Table, blocks: int, target_ms: float) -> dict[str, Any]:
    """The figures of a run of so many blocks; `table`'s times are microseconds from each block's zero."""
    users = scenario.users if isinstance(scenario, Closed | Offline) else 0
    inside = counted(scenario, table)
    right = inside & (table["outcome"] == RIGHT)
    parts = [
        block_of({name: column[table["block"] == number] for name, column in table.items()}, 0.0, scenario.seconds,
                 users, target_ms)
        for number in range(blocks)
    ]  # fmt: skip
    lag_ms = summarise((table["sent_us"] - table["intended_us"])[inside] / 1e3)
    from_send_ms = summarise((table["done_us"] - table["sent_us"])[right] / 1e3)
    return {
        "requests": int(inside.sum()),
        "failures": sum(part.failures for part in parts),
        "wrong_answers": sum(part.wrong_answers for part in parts),
        "elapsed_s": blocks * scenario.seconds,
        "throughput_rps": float(np.mean([part.throughput_rps or 0.0 for part in parts])),
        "goodput_rps": float(np.mean([part.goodput_rps or 0.0 for part in parts])),
        "target_ms": target_ms,
        "latency_ms": summarise(np.concatenate([part.latencies_ms for part in parts])),
        "latency_from_send_ms": None if users else from_send_ms,
        "schedule_lag_ms": None if users else lag_ms,
    }


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
