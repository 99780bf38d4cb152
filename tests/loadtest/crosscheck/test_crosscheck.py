"""The crosscheck's own parts: LoadGen's summary, the page, the judgement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract import StageError
from loadtest.analysis.figures import Estimate
from loadtest.crosscheck.compared import Pair, compare, half_widths, pairs_of
from loadtest.crosscheck.independent import alternate, difference
from loadtest.crosscheck.loadgen import read_summary
from loadtest.crosscheck.page import is_known, render
from loadtest.crosscheck.planted import null_servers
from loadtest.crosscheck.self_check import found_slowdowns
from loadtest.runs.independent_clients import is_installed
from loadtest.runs.managed_servers import find_managed_server, running
from loadtest.scenarios import PROFILES

SUMMARY = """
SUT name : PySUT
Scenario : Server
Result is : VALID
50.00 percentile latency (ns)   : 1250000
90.00 percentile latency (ns)   : 2000000
99.00 percentile latency (ns)   : 3500000
min_query_count : 800
"""


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
        "aa-quick": {
            "outcome": "pass", "text": "0 of 135", "endpoint": "s/a/rest", "names": 10, "pairs": 135,
            "false_differences": [], "half_widths": {"throughput": 0.08},
        },
        "slowdown-full": {
            "outcome": "pass", "text": "found", "service_ms": 1.0, "equal_pairs": 78, "false_differences": [],
            "must_find": 0.1,
            "slowdowns": [{"slowdown": 0.1, "question": "throughput", "pairs": 20, "found": 19, "times_as_slow": 1.09,
                           "lowest": 0.99, "highest": 1.2}],
        },
        "default-quick": {
            "outcome": "pass", "text": "narrow", "half_widths": {"throughput": 0.08, "latency_open": 0.2},
            "bounds": {"throughput": 0.1}, "invalid": 2, "points": 56, "seconds": 340.0, "time_limit_s": 360.0,
            "endpoints": 14,
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
    assert "| (e) wrk and h2load | **not made** | wrk is not installed | 2026" in without
    assert "| server | 1.000 | 1.000 | +1.0% | 2.000 | 2.000 | -2.0% |" in page
    assert "| +10% | throughput | 19 of 20 | 1.09 | 0.99 to 1.20 |" in page
    assert "| (a) one endpoint under ten names, quick | pass | 0 of 135 |" in page
    assert "| median half-width, throughput | ±8.0% | ±10% |" in page
    assert "| median half-width, latency_open | ±20.0% | - |" in page
    assert "| time | 340 s | 360 s |" in page


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


def pair(question: str, a: str, b: str, value: float, low: float, high: float) -> Pair:
    return Pair(question, f"{a}/null/rest", f"{b}/null/rest", Estimate(value, low, high))


def test_a_slowdown_is_found_where_the_interval_lies_above_one() -> None:
    pairs = [
        pair("throughput", "alike-1", "slower-10-1", 1.10, 1.02, 1.18),
        pair("throughput", "alike-1", "slower-10-2", 1.08, 0.99, 1.17),
        pair("throughput", "alike-2", "slower-10-1", 0.90, 0.85, 0.95),  # the wrong way round
        pair("throughput", "alike-1", "slower-25-1", 1.25, 1.20, 1.30),  # another slowdown
        pair("latency_alone", "alike-1", "slower-10-1", 1.10, 1.05, 1.15),  # another question
        pair("throughput", "slower-10-1", "slower-10-2", 1.10, 1.05, 1.15),  # equal servers
    ]
    row = found_slowdowns(pairs, 0.10, "throughput")
    assert (row["pairs"], row["found"], row["times_as_slow"], row["lowest"]) == (3, 1, 1.08, 0.85)
    missing = found_slowdowns(pairs[:1], 0.10, "latency_alone")
    assert (missing["pairs"], missing["found"], missing["times_as_slow"]) == (0, 0, None)


def test_half_widths_are_medians_by_question() -> None:
    pairs = [pair("throughput", "a", "b", 2.0, 2.0 - half, 2.0 + half) for half in (0.1, 0.2, 0.6)]
    assert half_widths([*pairs, pair("latency_alone", "a", "b", 1.0, 0.7, 1.3)]) == pytest.approx(
        {"throughput": 0.1, "latency_alone": 0.3}
    )


def test_a_result_of_an_older_version_is_left_out() -> None:
    assert [key for key in ("aa", "aa-quick", "wrk", "loadgen", "loadgen-quick") if is_known(key)] == [
        "aa-quick",
        "loadgen",
    ]


def test_planted_servers_go_through_a_whole_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times as slow for a single user, in two starts of a few seconds."""
    monkeypatch.setattr("loadtest.runs.comparison.RESULTS", tmp_path)
    monkeypatch.setattr("loadtest.crosscheck.compared.RESULTS", tmp_path)
    servers = null_servers(tmp_path, ["alike-1"], 1.0) + null_servers(tmp_path, ["slower-400-1"], 5.0)
    alone = PROFILES["smoke"].scenarios[:1]
    short = replace(PROFILES["smoke"], seconds=12.0, starts=2, most_blocks=6, warm_up_s=0.05, scenarios=alone)
    pairs = pairs_of(compare(tmp_path, short, servers))
    assert [(pair.question, pair.a, pair.b) for pair in pairs] == [
        ("latency_alone", "alike-1/null/rest", "slower-400-1/null/rest")
    ]
    assert pairs[0].times_as_slow.value > 1.5


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
