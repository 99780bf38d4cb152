"""The crosscheck's own parts: LoadGen's summary, the page, the judgement."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract import StageError
from loadtest.crosscheck.loadgen import read_summary
from loadtest.crosscheck.page import render
from loadtest.crosscheck.self_check import _differs, _finds_slower

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
FOUND = {
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
        "wrk": {
            "outcome": "pass", "text": "near", "endpoint": "s/a/rest",
            "users": {"32": {"ours_rps": [950.0], "wrk_rps": [1000.0], "off": -0.05}},
        },
    },
}  # fmt: skip


for _check in FOUND["checks"].values():
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
    page = render(FOUND)
    assert "Measured on 2026-01-02, last with `make crosscheck`" in page
    assert "| 32 | 950 | 1,000 | -5.0% |" in page
    assert "| found | 2026-01-02 03:04, abcdef0 |" in page
    none = FOUND["checks"]["wrk"] | {"outcome": "not made", "text": "wrk is not installed"}
    without = render({**FOUND, "checks": {**FOUND["checks"], "wrk": none}})
    assert "| (d) wrk | **not made** | wrk is not installed | 2026" in without
    assert "| server | 1.000 | 1.000 | +1.0% | 2.000 | 2.000 | -2.0% |" in page
    assert "| +10% | 10 of 10 | 9 of 10 | 1.05 to 1.15 |" in page


def test_a_slowdown_must_be_found_the_right_way_round() -> None:
    none = {"outcome": "no_difference"}
    assert _finds_slower([none, {"outcome": "a_better"}])
    assert not _finds_slower([none, none])
    assert not _finds_slower([{"outcome": "a_better"}, {"outcome": "b_better"}])
    assert _differs([none, {"outcome": "b_better"}])
    assert not _differs([none])
