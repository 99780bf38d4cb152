"""Real runs of the generator against null servers: the clock, the loops, and what becomes of failures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loadtest.raw_times import FAILED, RIGHT, read_raw
from loadtest.scenarios import Open, arrivals_s

Results = dict[str, list[dict[str, Any]]]
HEALTHY = ("rest", "grpc")
STALL_MS = 500


@pytest.mark.parametrize("name", HEALTHY)
def test_every_request_is_answered_and_right(results: Results, name: str) -> None:
    for result in results[name]:
        assert result["requests"] > 0, result["scenario_name"]
        assert result["failures"] == result["wrong_answers"] == 0, result["explanations"]


@pytest.mark.parametrize("name", HEALTHY)
def test_raw_rows_agree_with_the_figures(results: Results, name: str) -> None:
    for result in results[name]:
        table, end_us = read_raw(result["raw"]), result["scenario"]["seconds"] * 1e6
        counted = (table["intended_us"] >= 0) & (table["intended_us"] < end_us)
        latency_ms = ((table["done_us"] - table["intended_us"]) / 1e3)[counted]
        assert len(latency_ms) == result["requests"]
        assert latency_ms.max() == pytest.approx(result["latency_ms"]["max"])
        assert (table["sent_us"] >= table["intended_us"]).all()
        assert (table["done_us"] > table["sent_us"]).all()


@pytest.mark.parametrize("name", HEALTHY)
def test_latencies_keep_microseconds(results: Results, name: str) -> None:
    table = read_raw(results[name][0]["raw"])
    latency_us = table["done_us"] - table["sent_us"]
    assert len(np.unique(np.round(latency_us))) > 30


def test_a_closed_loop_waits_for_each_answer(results: Results) -> None:
    table = read_raw(results["rest"][0]["raw"])
    order = np.argsort(table["sent_us"])
    assert (table["sent_us"][order][1:] >= table["done_us"][order][:-1]).all()
    assert (table["intended_us"] == table["sent_us"]).all()


@pytest.mark.parametrize("index", [2, 3])
def test_an_open_loop_follows_its_schedule(results: Results, index: int) -> None:
    result = results["rest"][index]
    scenario = Open(200, 0.5, result["scenario"]["arrivals"])
    intended_us = np.sort(read_raw(result["raw"])["intended_us"])
    assert intended_us == pytest.approx(arrivals_s(scenario, seed=7) * 1e6, abs=1.0)


def test_a_run_knows_the_resources_of_the_server(results: Results) -> None:
    server = results["rest"][1]["server"]
    assert server["peak_rss_bytes"] >= server["rss_bytes"] > 1_000_000
    assert server["cpu_s"] >= 0
    assert server["context_switches"] > 0
    assert 0 < results["rest"][1]["client"]["cpu_share"] <= 1.1


def test_a_result_has_the_bytes_of_request_and_answer(results: Results) -> None:
    for name in HEALTHY:
        assert results[name][0]["request_bytes"] == 3136
        assert 3136 < results[name][0]["request_wire_bytes"] < 3600
        assert results[name][0]["response_bytes"] == 25


@pytest.mark.parametrize("name", ["stalls in an open loop", "stalls in an open loop over grpc"])
def test_an_open_loop_reports_a_stall(results: Results, name: str) -> None:
    (result,) = results[name]
    table = read_raw(result["raw"])
    latency_ms = (table["done_us"] - table["intended_us"]) / 1e3
    assert result["failures"] == 0
    assert (latency_ms > STALL_MS / 5).sum() >= 60  # 200 a second, for the 0.4 s that the wait is so long
    assert result["latency_ms"]["p90"] > STALL_MS / 5
    assert result["latency_ms"]["max"] > 0.9 * STALL_MS


def test_a_naive_loop_hides_the_stall(results: Results) -> None:
    (result,) = results["stalls in a naive loop"]
    latency_ms = np.diff(np.stack([read_raw(result["raw"])[k] for k in ("sent_us", "done_us")]), axis=0)[0] / 1e3
    assert result["requests"] > 200
    assert (latency_ms > STALL_MS / 5).sum() <= 2  # the one that met it; a busy machine may add another
    assert result["latency_ms"]["p99"] < STALL_MS / 5


def test_reaching_the_cap_voids_the_run(results: Results) -> None:
    (result,) = results["capped"]
    assert result["capped"]
    assert result["requests"] < 400


def test_a_wrong_answer_is_counted_and_no_latency(results: Results) -> None:
    (result,) = results["turns wrong"]
    assert result["wrong_answers"] > 0
    assert result["failures"] == 0
    assert result["wrong_answers"] + 10 == result["requests"]
    assert "not the one right answer" in result["explanations"][0]
    assert len(result["explanations"]) <= 5


@pytest.mark.parametrize("name", ["breaks off", "breaks off over grpc"])
def test_a_failure_never_becomes_a_latency(results: Results, name: str) -> None:
    (result,) = results[name]
    table = read_raw(result["raw"])
    table = {key: column[table["intended_us"] < 0.3e6] for key, column in table.items()}
    assert result["failures"] == (table["outcome"] == FAILED).sum() > 0
    right = (table["done_us"] - table["intended_us"])[table["outcome"] == RIGHT] / 1e3
    assert len(right) == 10
    assert result["latency_ms"]["max"] == pytest.approx(right.max())
    assert result["throughput_rps"] * result["elapsed_s"] == pytest.approx(9, rel=0.3)  # the first answer opens


def test_a_server_that_dies_fails_what_is_sent_to_it_and_nothing_before(results: Results) -> None:
    first, closed, opened = results["dies"]
    assert first["requests"] - first["failures"] == 10
    for result in (closed, opened):
        assert result["requests"] == result["failures"] > 0
        assert "Connection refused" in result["explanations"][0]


def test_a_wrong_endpoint_fails_its_preflight(results: Results) -> None:
    (result,) = results["is wrong from the start"]
    assert "wrong answer to sample 0" in result["preflight_error"]
    assert result["latency_ms"] == {}
