"""What becomes of requests when something happens to a server, in short."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.bench.faults import FULL, KILL, SWAP, TERM, is_borne, suffer, table

GOOD: dict[str, Any] = {"server": "s", "protocol": "rest", "connections": 4, "right": 9, "refused": 0, "failed": 0,
                        "wrong": 0, "worst_ms": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "borne"),
    [
        ({"fault": SWAP}, True),
        ({"fault": SWAP, "failed": 1}, False),
        ({"fault": SWAP, "wrong": 1}, False),
        ({"fault": FULL}, False),  # nothing was refused: the queue was not full
        ({"fault": FULL, "refused": 1}, True),
        ({"fault": TERM, "exit_status": 0}, True),
        ({"fault": TERM, "exit_status": 1}, False),
        ({"fault": KILL, "failed": 8}, True),
        ({"fault": KILL, "failed": 9}, False),
    ],
)
def test_what_a_server_has_to_bear(row: dict[str, Any], borne: bool) -> None:
    whole = GOOD | row
    assert is_borne(whole) is borne
    assert ("NOT BORNE" in table([whole])) is not borne


def test_sigterm_loses_nothing_over_either_protocol() -> None:
    rows = suffer("onnxruntime", TERM, 0.5)
    assert [row["protocol"] for row in rows] == ["rest", "grpc"]
    for row in rows:
        assert (row["failed"], row["wrong"], row["refused"], row["exit_status"]) == (0, 0, 0, 0), row["explanations"]
        assert row["left"] == row["connections"]
        assert row["right"] > 10
