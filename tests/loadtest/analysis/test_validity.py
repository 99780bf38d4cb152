"""What makes a point INVALID: the server's and the client's faults, never the weather."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loadtest.analysis.facts import Client
from loadtest.analysis.result import ClientUse, MeasuredEndpoint, Result
from loadtest.analysis.validity import instability, judge

ENDPOINT = MeasuredEndpoint("s", "a", "rest", 1, "127.0.0.1", "embedded", "s/a/rest")
CLIENT = Client("rest", 10_000.0, 0.05, 0.2, 0.1, 100)


def result(**fields: Any) -> Result:
    usual: dict[str, Any] = {
        "scenario_name": "open",
        "scenario": {"kind": "open", "in_flight_cap": 512, "seconds": 0.4, "users": 1},
        "requests": 100,
        "throughput_rps": 1000.0,
        "latency_ms": {"p99": 4.0},
        "schedule_lag_ms": {"p99": 0.2},
        "client": ClientUse(0.1, 0.4),
    }
    return Result(**{"endpoint": ENDPOINT, "round": 1, "seed": 1, **usual, **fields})


def test_a_healthy_run_is_valid() -> None:
    assert judge([result(), result()], CLIENT).is_valid


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"failures": 3, "explanations": ("reset",)}, "3 of 200 requests failed: reset"),
        ({"wrong_answers": 1, "explanations": ("off by 1",)}, "1 of 200 answers were wrong: off by 1"),
        ({"capped": True}, "overloaded: 512 requests in flight"),
        ({"preflight_error": "no answer to sample 0"}, "not asked: no answer to sample 0"),
    ],
)
def test_a_fault_in_any_round_is_the_servers(fields: dict[str, Any], reason: str) -> None:
    judgement = judge([result(), result(**fields)], CLIENT)
    assert judgement.reasons[0].startswith(reason)
    assert not judgement.client_limited


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"throughput_rps": 8000.0}, "client-limited: 80% of the client's ceiling of 10000 requests/s"),
        ({"schedule_lag_ms": {"p99": 2.0}}, "client-limited: schedule lag 2.00 ms at p99, above 1.00 ms"),
        ({"client": ClientUse(0.4, 0.95)}, "client-limited: the generator used 95% of its core"),
    ],
)
def test_the_clients_limit_is_no_figure_of_the_server(fields: dict[str, Any], reason: str) -> None:
    judgement = judge([result(**fields), result(**fields)], CLIENT)
    assert judgement.reasons == (reason,)
    assert judgement.client_limited


def test_one_late_round_in_three_is_let_pass() -> None:
    assert judge([result(), result(), result(schedule_lag_ms={"p99": 2.0})], CLIENT).is_valid


def test_too_few_requests_are_said() -> None:
    reasons = judge([result(requests=3)], None).reasons
    assert reasons == ("too few: 3 requests in the time there was",)


def swings(own: float, others: float) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {f"e{i}": random.normal(0, others, 24) for i in range(1, 8)} | {"e0": random.normal(0, own, 24)}


def test_an_endpoint_that_swings_by_itself_is_unstable() -> None:
    (reason,) = instability("e0", swings(0.6, 0.03), "the throughput")
    assert reason.startswith("unstable: the throughput swings by ±")
    assert instability("e1", swings(0.6, 0.03), "the throughput") == ()


@pytest.mark.parametrize(("own", "others"), [(0.6, 0.5), (0.1, 0.01)])
def test_where_all_swing_or_none_does_much_it_is_not_the_server(own: float, others: float) -> None:
    assert instability("e0", swings(own, others), "the throughput") == ()
