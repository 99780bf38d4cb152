"""What becomes of requests when something happens to a server, in short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.faults import artifact_of, find_launch, inject_fault, meets_requirements, table
from serving.server import FAULTS, FULL_QUEUE, KILLED_WORKER, TERMINATION, VERSION_SWAP, find_server, list_servers

GOOD: dict[str, Any] = {"server": "s", "protocol": "rest", "connections": 4, "right": 9, "refused": 0, "failed": 0,
                        "wrong": 0, "worst_ms": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "met"),
    [
        ({"fault": VERSION_SWAP}, True),
        ({"fault": VERSION_SWAP, "failed": 1}, False),
        ({"fault": VERSION_SWAP, "wrong": 1}, False),
        ({"fault": FULL_QUEUE}, False),  # nothing was refused: the queue was not full
        ({"fault": FULL_QUEUE, "refused": 1}, True),
        ({"fault": TERMINATION, "exit_status": 0}, True),
        ({"fault": TERMINATION, "exit_status": 1}, False),
        ({"fault": KILLED_WORKER, "failed": 8}, True),
        ({"fault": KILLED_WORKER, "failed": 9}, False),
    ],
)
def test_what_is_required_of_a_server(row: dict[str, Any], met: bool) -> None:
    whole = GOOD | row
    assert meets_requirements(whole) is met
    assert ("MISSED" in table([whole])) is not met


def test_sigterm_loses_nothing_over_either_protocol() -> None:
    rows = inject_fault("onnxruntime", TERMINATION, 0.5)
    assert [row["protocol"] for row in rows] == ["rest", "grpc"]
    for row in rows:
        assert (row["failed"], row["wrong"], row["refused"], row["exit_status"]) == (0, 0, 0, 0), row["explanations"]
        assert row["left"] == row["connections"]
        assert row["right"] > 10


@pytest.mark.parametrize("fault", FAULTS)
def test_our_own_servers_take_part_in_every_fault(tmp_path: Path, fault: str) -> None:
    parts = {}
    for name in list_servers():
        server = find_server(name)
        ports = dict.fromkeys(server.ports, 1)
        (tmp_path / name).mkdir()
        parts[name] = find_launch(server, fault, artifact_of(server) or "", ports, tmp_path / name) is not None
    assert parts == {"onnxruntime": True, "tfserving": True, "tflite": True, "torchserve": False}
