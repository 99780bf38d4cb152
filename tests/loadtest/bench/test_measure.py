"""A system is started, measured under both kinds of requests, and stopped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from contract import ROOT, StageError
from loadtest.bench.measure import CHANGING, CONSTANT, Point, begin, measure
from loadtest.bench.system import System
from loadtest.runs.independent_clients import is_installed
from serving.repository import read_samples
from serving.server import Call, Launch

ANSWER = b'{"outputs": [{"data": [0.25, 0.75]}]}'


def null_system(checked: bool) -> System:
    def launch(ports: Mapping[str, int], folder: Path) -> Launch:
        (folder / "answer").write_bytes(ANSWER)
        argv = ("-m", "loadtest.runs.null_server", "--port", str(ports["rest"]), "--answer", str(folder / "answer"))
        return Launch((sys.executable, *argv), cwd=ROOT)

    wrk = ("json",) if is_installed("wrk") else ()
    encode = lambda _payload, inputs: Call("/", repr(inputs).encode())  # noqa: E731
    return System("null", launch, ("json",), encode, connections=(1, 32), checked=checked, wrk=wrk)


def test_every_point_of_a_system_has_figures(tmp_path: Path) -> None:
    started = begin(null_system(checked=False), read_samples(), tmp_path / "null")
    try:
        figures = measure([started], 0.2, tmp_path)
    finally:
        started.stop()
    own = [(1, CONSTANT), (32, CONSTANT), (32, CHANGING)]
    assert {point for point in figures if point.generator == "own"} == {
        Point("null", "json", connections, "own", traffic) for connections, traffic in own
    }
    assert all(row["requests_per_s"] > 0 and row["rss_bytes"] > 0 and not row["failures"] for row in figures.values())
    assert started.running.exit_status is not None


def test_a_system_that_answers_wrongly_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="null answers wrongly, json: 2 numbers, expected 10"):
        begin(null_system(checked=True), read_samples(), tmp_path / "null")
