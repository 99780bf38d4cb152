"""The search for the highest rate, on simulated servers of known capacity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loadtest.generator.rate_search import search_rate
from loadtest.plan import Search
from loadtest.scenarios import Closed, Open, Scenario

CLIENTS = {"rest": {"ceiling_rps": 20_000.0}}
TARGET_MS = 5.0


class Simulated:
    """A server with one queue: every request takes `service_ms`, arrivals are Poisson."""

    def __init__(self, service_ms: float, **result: Any) -> None:
        self.service_ms, self.result, self.seed = service_ms, result, 0

    def __call__(self, scenario: Scenario) -> dict[str, Any]:
        if isinstance(scenario, Closed):
            return {"throughput_rps": 1000 / self.service_ms}
        assert isinstance(scenario, Open)
        self.seed += 1
        latency_ms = self.latencies_ms(scenario)
        over = int((latency_ms > TARGET_MS).sum())
        window = {"throughput_rps": scenario.rate_rps, "p50_ms": 1.0}
        return {
            "endpoint": {"protocol": "rest"},
            "scenario": {"kind": "open", "in_flight_cap": 512},
            "requests": len(latency_ms),
            "failures": 0,
            "wrong_answers": 0,
            "explanations": [],
            "capped": False,
            "throughput_rps": scenario.rate_rps,
            "goodput_rps": scenario.rate_rps * (1 - over / len(latency_ms)),
            "elapsed_s": scenario.seconds,
            "latency_ms": {f"p{q}": float(np.quantile(latency_ms, q / 100)) for q in (50, 99)},
            "schedule_lag_ms": {"p99": 0.1},
            "server": {"cpu_s": 0.5 * scenario.seconds, "rss_bytes": 1},
            "client": {"cpu_share": 0.3},
            "windows": [window] * 5,
            "over_target": over,
            "latencies_ms": latency_ms,
            **self.result,
        }

    def latencies_ms(self, scenario: Open) -> np.ndarray:
        random = np.random.default_rng(self.seed)
        gaps = random.exponential(1000 / scenario.rate_rps, int(scenario.rate_rps * scenario.seconds))
        waits, wait = [], 0.0
        for gap in gaps:
            wait = max(0.0, wait - gap) + self.service_ms
            waits.append(wait)
        return np.array(waits)


def found(server: Simulated, above_rps: float = 0.0) -> dict[str, Any]:
    return search_rate(server, Search("", 1, CLIENTS, above_rps), TARGET_MS)


@pytest.mark.parametrize("service_ms", [0.2, 0.5, 1.0])
def test_the_rate_is_near_the_theory(service_ms: float) -> None:
    result = found(Simulated(service_ms))
    # M/D/1: the tail of the wait falls as exp(-2 (1 - load) / load * wait / service), so that p99 gives the load
    load = 1 / (1 + np.log(100) * service_ms / (2 * (TARGET_MS - service_ms)))
    assert result["confirmed"]
    assert 0.7 <= result["rate_rps"] / (load * 1000 / service_ms) <= 1.1  # below: a probe states p99 with confidence
    assert result["p99_ms"] <= TARGET_MS


def test_a_server_that_is_too_slow_meets_no_rate() -> None:
    result = found(Simulated(6.0))
    assert result["rate_rps"] is None
    assert result["reason"].startswith("not met even at 100 requests/s")
    rates = [probe["rate_rps"] for probe in result["probes"]]
    assert len(rates) == len(set(rates))  # half of the requests are too slow: no standstill, no second try


def test_other_settings_are_given_up_after_one_rate() -> None:
    result = found(Simulated(1.0), above_rps=990.0)
    assert result["reason"] == "no higher rate than with other settings"
    assert len(result["probes"]) == 1


class Standing(Simulated):
    """A server on a machine that stands still in every third probe."""

    def latencies_ms(self, scenario: Open) -> np.ndarray:
        latencies = super().latencies_ms(scenario)
        return latencies + 20.0 * (np.arange(len(latencies)) < 30) * (self.seed % 3 == 1)


def test_a_standstill_of_the_machine_is_no_limit_of_the_server() -> None:
    result = found(Standing(0.5))
    assert result["confirmed"]
    assert result["rate_rps"] >= 0.9 * found(Simulated(0.5))["rate_rps"]


class Restless(Simulated):
    """A server on a machine that holds up seven of a thousand requests, whatever the load."""

    def latencies_ms(self, scenario: Open) -> np.ndarray:
        latencies = super().latencies_ms(scenario)
        return latencies + 20.0 * (np.random.default_rng(self.seed + 1000).random(len(latencies)) < 0.007)


def test_more_requests_are_asked_for_where_the_first_state_nothing() -> None:
    result = found(Restless(0.5))
    assert result["rate_rps"] >= 0.5 * found(Simulated(0.5))["rate_rps"]
    assert max(probe["pieces"] for probe in result["probes"]) > 1


class Late(Simulated):
    """A generator that is late in every third piece."""

    def __call__(self, scenario: Scenario) -> dict[str, Any]:
        result = super().__call__(scenario)
        return {**result, "schedule_lag_ms": {"p99": 3.0}} if self.seed % 3 == 1 else result


def test_a_piece_in_which_the_generator_was_late_is_made_again() -> None:
    result = found(Late(0.5))
    assert result["confirmed"]
    assert not result["client_limited"]
    assert sum(probe["void_pieces"] for probe in result["probes"]) > 1
    assert result["rate_rps"] >= 0.9 * found(Simulated(0.5))["rate_rps"]


class LateAndFaulty(Late):
    """The same, and in those pieces a request fails."""

    def __call__(self, scenario: Scenario) -> dict[str, Any]:
        result = super().__call__(scenario)
        late = result.get("schedule_lag_ms") == {"p99": 3.0}
        return {**result, "failures": 1, "explanations": ["reset"]} if late else result


def test_a_late_generator_excuses_no_failure() -> None:
    probes = found(LateAndFaulty(0.5))["probes"]
    assert sum(probe["void_pieces"] for probe in probes) == 0
    assert [probe["passed"] for probe in probes if probe["failures"]].count(True) == 0
    assert any(probe["failures"] for probe in probes)


def test_better_settings_are_searched() -> None:
    assert found(Simulated(0.5), above_rps=500.0)["rate_rps"] > 1000


def test_the_clients_limit_is_named() -> None:
    result = found(Simulated(0.01))
    assert result["client_limited"]
    assert result["rate_rps"] <= 0.7 * 20_000
    assert result["reason"] == "the client's limit, not the server's"


def test_failures_fail_a_probe() -> None:
    result = found(Simulated(0.5, failures=1, explanations=["reset"]))
    assert result["rate_rps"] is None
    assert "requests failed: reset" in result["reason"]
