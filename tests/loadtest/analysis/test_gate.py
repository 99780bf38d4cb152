"""The gate: planted slowdowns and speed-ups, noise, and input that can't tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtest.__main__ import main
from loadtest.analysis.figures import EndpointReport, Estimate, Point
from loadtest.analysis.schema import Report

NAMES = ("tflite/tensorflow-tflite/rest", "tflite/tensorflow-tflite/grpc")


def changed(report: Report, slower: float = 1.0, seed: int = 0, error: float | None = 0.01, **point: object) -> Report:
    """Two endpoints of the report, their requests `slower` times as long, with a noise of 1 %."""
    random = np.random.default_rng(seed)

    def estimate(value: float) -> Estimate:
        return Estimate(value * float(np.exp(random.normal(0, 0.01))), 1.0, 1.0, error, 12.0)

    def shifted(old: Point) -> Point:
        figures = {"throughput_rps": estimate(1000 / slower), "p50_ms": estimate(slower)}
        return replace(old, **figures, **{"validity": "VALID", **point})  # type: ignore[arg-type]

    def endpoint(old: EndpointReport) -> EndpointReport:
        return replace(old, points=tuple(shifted(old_point) for old_point in old.points))

    kept = tuple(endpoint(each) for each in report.endpoints if each.name in NAMES)
    return replace(report, endpoints=kept)


def gate(tmp_path: Path, baseline: Report, candidate: Report, bound: str = "10%") -> int:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    baseline.write(paths[0])
    candidate.write(paths[1])
    words = ["--baseline", str(paths[0]), "--candidate", str(paths[1]), "--max-regression", bound]
    return main(["gate", *words])


@pytest.mark.parametrize(
    ("slower", "bound", "status", "verdict"),
    [
        (1.0, "10%", 0, "PASS: none beyond 10%"),
        (1.08, "10%", 0, "worse"),
        (1.25, "10%", 1, "FAIL: 4 beyond 10%"),
        (1.25, "0.5", 0, "PASS: none beyond 50%"),
        (0.8, "10%", 0, "better"),
    ],
)
def test_the_gate_judges_planted_changes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    report: Report,
    slower: float,
    bound: str,
    status: int,
    verdict: str,
) -> None:
    assert gate(tmp_path, changed(report, seed=1), changed(report, slower, seed=2), bound) == status
    assert verdict in capsys.readouterr().out


def test_a_report_of_another_version_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], report: Report
) -> None:
    assert gate(tmp_path, changed(report), replace(changed(report), version=1)) == 2
    assert "is a report of version 1" in capsys.readouterr().err


def test_an_invalid_candidate_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], report: Report) -> None:
    assert gate(tmp_path, changed(report), changed(report, validity="INVALID")) == 2
    assert "measure both the same way" in capsys.readouterr().err


def test_one_start_exits_2(tmp_path: Path, report: Report) -> None:
    assert gate(tmp_path, changed(report, starts=()), changed(report, starts=())) == 2


def test_a_bound_that_is_none_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], report: Report) -> None:
    assert gate(tmp_path, changed(report), changed(report), "ten") == 2
    assert "--max-regression 'ten' is no share: write 10% or 0.1" in capsys.readouterr().err


def test_a_machine_that_drifts_between_two_reports_widens_the_interval(tmp_path: Path, report: Report) -> None:
    assert gate(tmp_path, changed(report, error=0.08), changed(report, 1.25, error=0.08)) == 0
