"""The opening words on made-up reports: they repeat verdicts, name who is left out, and claim nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loadtest.analysis.aggregate import percentiles
from loadtest.analysis.headline import headline
from loadtest.analysis.ranking import rank

COMPARISON = {"rounds": 5}


def endpoint(name: str, rps: float, **changes: Any) -> dict[str, Any]:
    """An endpoint whose 32 users get `rps` answers a second, with half a per cent of noise."""
    noise = np.exp(np.random.default_rng(list(name.encode())).normal(0, 0.005, 5))
    point = {
        "name": "closed-32",
        "requests": 1000,
        "failures": 0,
        "wrong_answers": 0,
        "validity": "VALID",
        "reasons": [],
        "client_limited": False,
        "rate_rps": None,
        "rate_asked_rps": None,
        "runs": [{"throughput_rps": rps * factor} for factor in noise],
        **changes,
    }
    server, artifact, protocol = name.split("/")
    engine = "embedded" if server == "tfserving" else "pip"
    return {
        "name": name,
        "server": server,
        "artifact": artifact,
        "protocol": protocol,
        "engine": engine,
        "scenarios": [point],
    }


def words(*endpoints: dict[str, Any], rounds: int = 5) -> str:
    return "\n".join(headline(endpoints, rank(endpoints), {"rounds": rounds}))


def test_the_best_is_named_with_its_ratio() -> None:
    said = words(endpoint("s/a/grpc", 3000), endpoint("s/a/rest", 1000), endpoint("t/b/rest", 500))
    best = "With 32 users s/a/grpc answers 2.9 to 3.1 times as many requests per second as s/a/rest"
    assert f"{best}, and 5.8 to 6.2 times as many as t/b/rest." in said
    assert said.startswith("All 3,000 requests to 3 endpoints were answered, and every answer was right.")


def test_ties_are_said_to_be_ties() -> None:
    said = words(endpoint("s/a/grpc", 1000), endpoint("t/b/rest", 1001), endpoint("u/c/rest", 200))
    assert "no difference is seen between t/b/rest and s/a/grpc" in said or "between s/a/grpc and t/b/rest" in said


def test_an_invalid_winner_is_not_ranked_but_counted() -> None:
    limited = endpoint("s/a/grpc", 9000, validity="INVALID", reasons=["client-limited: x"], client_limited=True)
    said = words(limited, endpoint("s/a/rest", 1000), endpoint("t/b/rest", 500))
    assert "With 32 users s/a/rest answers" in said
    assert "s/a/grpc answers" not in said
    assert "1 of 3 points are INVALID (1 client-limited): shown, marked, not ranked." in said


def test_frameworks_are_compared_like_with_like() -> None:
    said = words(endpoint("s/pytorch-onnx/rest", 1000), endpoint("s/tensorflow-onnx/rest", 1000))
    assert "which framework trained the network makes no difference that is seen, in 1 of 1 pairs" in said


def test_protocols_are_counted() -> None:
    pairs = [endpoint(f"{s}/a/{p}", rps) for s in "stu" for p, rps in (("grpc", 2000), ("rest", 1000))]
    said = words(*pairs)
    assert "gRPC has more requests per second than REST with JSON on 3 of 3 pairs of server and artifact." in said


def test_the_embedded_engine_is_named() -> None:
    assert "tfserving ran as engine: embedded" in words(endpoint("tfserving/a/rest", 10), endpoint("s/a/rest", 20))


def test_servers_that_batch_and_others_that_do_not_are_named() -> None:
    batching = {**endpoint("s/a/rest", 1000), "settings": {"max_batch_size": 32}}
    alone = {**endpoint("t/b/rest", 1000), "settings": {"max_batch_size": 1}}
    unknown = {**endpoint("u/c/rest", 1000), "settings": None}
    assert "s ran up to 32 waiting requests in one batch, t one at a time" in words(batching, alone, unknown)
    assert "waiting requests" not in words(batching, unknown)


def test_failures_come_first() -> None:
    said = words(
        endpoint("s/a/rest", 10, failures=3, wrong_answers=2, validity="INVALID", reasons=["3 failed"]),
        endpoint("t/a/rest", 10),
    )
    assert said.startswith("Of 2,000 requests 3 failed and 2 were answered wrongly.")


def test_a_slower_open_loop_is_not_ranked() -> None:
    points = [endpoint("s/a/rest", 1), endpoint("t/a/rest", 1)]
    for one, rate in zip(points, (250.0, 60.0), strict=True):
        runs = [{f"p{p}_ms": 1.0 for p in (50, 90, 95, 99)}] * 5
        one["scenarios"][0] |= {"name": "open", "rate_rps": rate, "rate_asked_rps": 250.0, "runs": runs}
    (verdict,) = rank(points)
    assert verdict["outcome"] == "not_comparable"
    assert verdict["text"].endswith("it was sent 60 requests/s, as it does not keep up with 250")


@pytest.mark.parametrize(("requests", "stated"), [(63, ["p50"]), (64, ["p50", "p90"]), (661, ["p50", "p90", "p95"])])
def test_percentiles_need_their_requests(requests: int, stated: list[str]) -> None:
    found = percentiles(np.arange(float(requests)))
    assert [name for name, value in found["latency_ms"].items() if value is not None] == [*stated, "max"]
    assert found["needs"]["p99"] == 662


def test_enough_requests_need_nothing() -> None:
    assert "needs" not in percentiles(np.arange(662.0))
