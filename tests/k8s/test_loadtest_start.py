"""The load generator's start in a container: which endpoints it measures, and what it counts as a fault."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from contract import ROOT
from loadtest.analysis.result import MeasuredEndpoint, Result
from loadtest.scenarios import Closed, to_fields

START = ROOT / "k8s" / "images" / "loadtest" / "start.py"
ENDPOINT = MeasuredEndpoint("tflite", "net-tflite", "rest", 8010, "tflite", "embedded", "tflite/net-tflite/rest")
RIGHT = Result(ENDPOINT, "closed-8", to_fields(Closed(8, 1.0)), 1, 1, requests=90, throughput_rps=90.0)


@pytest.fixture(scope="module")
def start() -> ModuleType:
    spec = importlib.util.spec_from_file_location("loadtest_start", START)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, result: Result) -> None:
    result.write(folder / "tflite__net-tflite__rest" / f"{result.scenario_name}-{result.round}.json")


def test_failed_and_wrong_answers_are_counted(
    start: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, replace(RIGHT, failures=2, wrong_answers=3))
    write(tmp_path, replace(RIGHT, round=2, latency_ms={"p50": 1.25, "p99": None}))
    assert start.print_results(tmp_path) == 5
    first, second = capsys.readouterr().out.splitlines()
    assert "90 requests, 2 failed, 3 wrong" in first
    assert second.endswith("90/s  p50 1.25 ms  p99 nan ms")


def test_an_endpoint_that_was_not_measured_is_a_fault(
    start: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, replace(RIGHT, requests=0, preflight_error="no answer"))
    assert start.print_results(tmp_path) == 1
    assert capsys.readouterr().out == "tflite/net-tflite/rest  closed-8  FAILED: no answer\n"
