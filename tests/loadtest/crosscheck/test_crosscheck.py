"""The crosscheck's own parts: LoadGen's summary, the page, the judgement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract import StageError
from loadtest.crosscheck.independent import alternate, difference
from loadtest.crosscheck.loadgen import read_summary
from loadtest.crosscheck.page import render
from loadtest.crosscheck.self_check import _differs, _finds_slower
from loadtest.runs.independent_clients import is_installed
from loadtest.runs.managed_servers import find_managed_server, running

SUMMARY = """
SUT name : PySUT
Scenario : Server
Result is : VALID
50.00 percentile latency (ns)   : 1250000
90.00 percentile latency (ns)   : 2000000
99.00 percentile latency (ns)   : 3500000
min_query_count : 800
"""
VERDICT = {"outcome": "a_better", "ratio_low": 1.05, "ratio_high": 1.15}


def figures_of(rate: float, p50_ms: float) -> dict[str, float]:
    return {"requests_per_s": rate, "p50_ms": p50_ms}


RESULT = {
    "date": "2026-01-02T03:04:05+00:00",
    "command": "make crosscheck",
    "environment": {
        "git_commit": "abc",
        "machine": {"cores": 2, "cpu": "CPU", "kernel": "Linux 6", "python": "3.11"},
    },
    "checks": {
        "aa": {
            "outcome": "pass", "text": "0 of 20", "comparisons": 20, "endpoint": "s/a/rest", "rounds": 5,
            "false_differences": 0, "verdicts": [[{"ratio_low": 0.98, "ratio_high": 1.03}]],
        },
        "slowdown": {
            "outcome": "pass", "text": "found", "service_ms": 1.0, "rounds": 5,
            "slowdowns": {"+10%": {"found": 10, "comparisons": 10, "ratio_low": 1.05, "ratio_high": 1.15}},
        },
        "loadgen": {
            "outcome": "pass", "text": "close", "endpoint": "s/a/rest", "rate_rps": 200.0, "seconds": 4.0, "repeats": 1,
            "off": {"server": {"p50": 0.01, "p99": -0.02}},
            "figures": {"server": {t: [{"p50_ms": 1.0, "p99_ms": 2.0}] for t in ("ours", "loadgen")}},
        },
        "clients": {
            "outcome": "pass", "text": "near", "bound": 0.15, "connections": 32, "repeats": 2, "seconds": 1.0,
            "endpoints": {"s/a/rest": {
                "client": "wrk",
                "measurements": {
                    "ours": [figures_of(900, 1.0), figures_of(960, 1.2)], "wrk": [figures_of(1000, 1.0)] * 2,
                },
                "differences": {
                    "requests_per_s": {"mean": -0.07, "low": -0.1, "high": -0.04},
                    "p50_ms": {"mean": 0.1, "low": 0.0, "high": 0.2},
                },
            }},
        },
    },
}  # fmt: skip


for _check in RESULT["checks"].values():
    _check |= {"date": "2026-01-02T03:04:05+00:00", "git_commit": "abcdef0123"}


def test_loadgens_summary_is_read(tmp_path: Path) -> None:
    (tmp_path / "summary").write_text(SUMMARY)
    found = read_summary(tmp_path / "summary")
    assert (found["p50_ms"], found["p99_ms"], found["valid"]) == (1.25, 3.5, True)


def test_a_summary_without_percentiles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "summary").write_text("ERROR : no queries")
    with pytest.raises(StageError, match="has no percentiles: ERROR"):
        read_summary(tmp_path / "summary")


def test_the_page_reads_every_check_out() -> None:
    page = render(RESULT)
    assert "Measured on 2026-01-02, last with `make crosscheck`" in page
    rates, latencies = "930 | 1,000 | -7.0% (-10.0% to -4.0%)", "1.100 | 1.000 | +10.0% (+0.0% to +20.0%)"
    assert f"| s/a/rest | wrk | {rates} | {latencies} |" in page
    assert "| found | 2026-01-02 03:04, abcdef0 |" in page
    none = RESULT["checks"]["clients"] | {"outcome": "not made", "text": "wrk is not installed"}
    without = render({**RESULT, "checks": {**RESULT["checks"], "clients": none}})
    assert "| (d) wrk, h2load | **not made** | wrk is not installed | 2026" in without
    assert "| server | 1.000 | 1.000 | +1.0% | 2.000 | 2.000 | -2.0% |" in page
    assert "| +10% | 10 of 10 | 9 of 10 | 1.05 to 1.15 |" in page


def test_the_difference_is_of_neighbours() -> None:
    """The machine becomes twice as fast, ours stays 10 % behind: the interval sees the 10 % alone."""
    theirs = [figures_of(1000 * (1 + number % 2), 1.0) for number in range(10)]
    ours = [figures_of(0.9 * other["requests_per_s"], 1.0) for other in theirs]
    off = difference(ours, theirs, "requests_per_s")
    assert (off.mean, off.low, off.high) == pytest.approx((-0.1, -0.1, -0.1))


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        ours, theirs = ([figures_of(rate, 1.0) for rate in np.exp(random.normal(0, 0.05, 80))] for _ in range(2))
        off = difference(ours, theirs, "requests_per_s")
        covered += off.low <= 0 <= off.high
    assert 0.92 * 400 <= covered <= 0.98 * 400


def test_a_slowdown_must_be_found_the_right_way_round() -> None:
    none = {"outcome": "no_difference"}
    assert _finds_slower([none, {"outcome": "a_better"}])
    assert not _finds_slower([none, none])
    assert not _finds_slower([{"outcome": "a_better"}, {"outcome": "b_better"}])
    assert _differs([none, {"outcome": "b_better"}])
    assert not _differs([none])


@pytest.mark.parametrize(("protocol", "client"), [("rest-binary", "wrk"), ("grpc", "h2load")])
def test_both_sides_measure_a_real_server(tmp_path: Path, protocol: str, client: str) -> None:
    if not is_installed(client):
        pytest.skip(f"{client} is not installed")
    name = f"onnxruntime/pytorch-onnx/{protocol}"
    with running(find_managed_server("onnxruntime", [name]), tmp_path, None) as hosted:
        measurements = alternate(tmp_path, hosted, hosted.endpoints[name], 2, 0.3)
    assert {side: len(figures) for side, figures in measurements.items()} == {"ours": 2, client: 2}
    for figures in measurements.values():
        assert all(row["requests"] > 10 and not row["failures"] for row in figures)
