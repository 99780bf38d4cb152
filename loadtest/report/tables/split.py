"""Where the time of a request goes under load, as the servers tell it that can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtest.report.table import Cell, Column, Table
from loadtest.report.tables.endpoints import number_cell, points

COLUMNS = (
    Column("Endpoint"),
    Column("Engine"),
    Column("Users", True),
    Column("Latency, ms", True, "of the requests that asked for the split"),
    Column("Queue, ms", True, "from the server's queue to the start of the run"),
    Column("Compute, ms", True, "the run of the model that the request shared"),
    Column("Rest, ms", True, "HTTP or gRPC, decoding and encoding, the way there and back, the client"),
    Column("Rows of the run", True),
)
NOTE = (
    "From a short piece after the run, in which every request asks the server for its split: the middle fifth of the "
    "requests by latency, so that the parts add up. Servers that tell none are left out."
)


def split_table(report: Mapping[str, Any]) -> Table | None:
    """One row for each endpoint whose server tells queue and compute."""
    rows = [
        (
            Cell(endpoint["name"]),
            Cell(endpoint.get("engine") or "not known"),
            Cell(f"{split['users']:.0f}", split["users"]),
            *(number_cell(split[key]) for key in ("latency_ms", "queue_ms", "compute_ms", "rest_ms", "batch_rows")),
        )
        for endpoint, point in points(report)
        if (split := point.get("latency_split"))
    ]
    return Table("split", "Where the time of a request goes", COLUMNS, tuple(rows), note=NOTE) if rows else None
