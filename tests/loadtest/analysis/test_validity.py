"""What makes a run INVALID, and that the reason is said."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from loadtest.analysis.validity import judge_rounds, judge_run

WINDOW = {"throughput_rps": 1000.0, "p50_ms": 1.0}
GOOD: dict[str, Any] = {
    "endpoint": {"protocol": "rest"},
    "scenario": {"kind": "open", "in_flight_cap": 512},
    "requests": 5000,
    "failures": 0,
    "wrong_answers": 0,
    "explanations": [],
    "capped": False,
    "throughput_rps": 1000.0,
    "elapsed_s": 5.0,
    "latency_ms": {"p99": 4.0},
    "schedule_lag_ms": {"p99": 0.2},
    "client": {"cpu_share": 0.5},
    "windows": [WINDOW] * 5,
}
CLIENTS = {"rest": {"ceiling_rps": 10_000.0}}


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **changes}


def test_a_good_run_is_valid() -> None:
    assert judge_run(GOOD, CLIENTS).validity == "VALID"


@pytest.mark.parametrize(
    ("changes", "reason", "client_limited"),
    [
        ({"failures": 2, "explanations": ["refused"]}, "2 of 5000 requests failed: refused", False),
        ({"wrong_answers": 1, "explanations": ["off by 1"]}, "1 of 5000 answers were wrong: off by 1", False),
        ({"capped": True}, "overloaded: 512 requests in flight", False),
        ({"requests": 63}, "too few: 63 requests, 64 state a p90", False),
        ({"throughput_rps": 7100.0}, "client-limited: 71% of the client's ceiling of 10000", True),
        ({"schedule_lag_ms": {"p99": 1.01}}, "client-limited: schedule lag 1.01 ms at p99, above 1.00 ms", True),
        ({"client": {"cpu_share": 0.91}}, "client-limited: the generator used 91% of its core", True),
        (
            {"windows": [WINDOW] * 4 + [{"throughput_rps": 1000.0, "p50_ms": 1.5}]},
            "unstable: p50_ms of its 5 windows differ by up to 1.5 times",
            False,
        ),
        ({"preflight_error": "no answer"}, "pre-flight: no answer", False),
    ],
)
def test_a_bad_run_is_invalid_and_says_why(changes: dict[str, Any], reason: str, client_limited: bool) -> None:
    judgement = judge_run(changed(**changes), CLIENTS)
    assert judgement.validity == "INVALID"
    assert judgement.reasons[0].startswith(reason)
    assert judgement.client_limited is client_limited


def test_a_long_latency_allows_more_lag() -> None:
    result = changed(latency_ms={"p99": 50.0}, schedule_lag_ms={"p99": 4.9})
    assert judge_run(result, CLIENTS).validity == "VALID"


def test_bursts_and_sparse_windows_are_not_called_unstable() -> None:
    swing = [WINDOW, {"throughput_rps": 100.0, "p50_ms": 9.0}] * 2
    assert judge_run(changed(windows=swing, scenario={"kind": "burst", "in_flight_cap": 512}), CLIENTS).reasons == ()
    sparse = [{"throughput_rps": 10.0, "p50_ms": 1.0}, {"throughput_rps": 19.0, "p50_ms": 2.0}]
    assert judge_run(changed(windows=sparse, elapsed_s=2.0), CLIENTS).reasons == ()


def test_a_minority_of_unstable_rounds_is_let_pass() -> None:
    shaky = judge_run(changed(windows=[WINDOW, {"throughput_rps": 900.0, "p50_ms": 2.0}]), CLIENTS)
    good = judge_run(GOOD, CLIENTS)
    assert judge_rounds([good, shaky, good]).validity == "VALID"
    assert judge_rounds([shaky, shaky, good]).reasons == (f"{shaky.reasons[0]} (round 1, 2)",)


def test_one_failed_round_is_enough() -> None:
    failed = judge_run(changed(failures=1), CLIENTS)
    assert judge_rounds([judge_run(GOOD, CLIENTS), failed]).reasons == ("1 of 5000 requests failed (round 2)",)
