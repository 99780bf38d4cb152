"""The search for the highest rate, on simulated servers of known capacity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loadtest.generator.rate_search import HIGHEST_RPS, FoundRate, Piece, RateSearch
from loadtest.plan import Search
from loadtest.scenarios import Closed, Open, Scenario

CEILING_RPS = 20_000.0
TARGET_MS = 5.0


class Simulated:
    """A server with one queue: every request takes `service_ms`, arrivals are Poisson."""

    def __init__(self, service_ms: float, **piece: Any) -> None:
        self.service_ms, self.piece, self.seed = service_ms, piece, 0

    def __call__(self, scenario: Scenario) -> Piece:
        if isinstance(scenario, Closed):
            return Piece(scenario.seconds, 0, 0, 0, 0, 1000 / self.service_ms, 0.0, np.zeros(0))
        assert isinstance(scenario, Open)
        self.seed += 1
        latency_ms = self.latencies_ms(scenario)
        over = int((latency_ms > TARGET_MS).sum())
        piece = Piece(
            seconds=scenario.seconds,
            requests=len(latency_ms),
            over_target=over,
            failures=0,
            wrong_answers=0,
            throughput_rps=scenario.rate_rps,
            goodput_rps=scenario.rate_rps * (1 - over / max(1, len(latency_ms))),
            latencies_ms=latency_ms,
            lag_p99_ms=0.1,
            client_cpu_share=0.3,
            server_cpu_s=0.5 * scenario.seconds,
            rss_bytes=1,
        )
        return replace(piece, **self.piece)

    def latencies_ms(self, scenario: Open) -> np.ndarray:
        random = np.random.default_rng(self.seed)
        gaps = random.exponential(1000 / scenario.rate_rps, int(scenario.rate_rps * scenario.seconds))
        waits, wait = [], 0.0
        for gap in gaps:
            wait = max(0.0, wait - gap) + self.service_ms
            waits.append(wait)
        return np.array(waits)


def found(server: Simulated, above_rps: float = 0.0) -> FoundRate:
    return RateSearch(server, Search("", 1, CEILING_RPS, above_rps), TARGET_MS).run()


@pytest.mark.parametrize("service_ms", [0.2, 0.5, 1.0])
def test_the_rate_is_near_the_theory(service_ms: float) -> None:
    result = found(Simulated(service_ms))
    # M/D/1: the tail of the wait falls as exp(-2 (1 - load) / load * wait / service), so that p99 gives the load
    load = 1 / (1 + np.log(100) * service_ms / (2 * (TARGET_MS - service_ms)))
    assert result.confirmed
    assert (
        0.7 <= (result.rate_rps or 0) / (load * 1000 / service_ms) <= 1.1
    )  # below: a probe states p99 with confidence
    assert (result.p99_ms or 99) <= TARGET_MS


def test_a_server_that_is_too_slow_meets_no_rate() -> None:
    result = found(Simulated(6.0))
    assert result.rate_rps is None
    assert result.reason.startswith("not met even at 0.1 requests/s")
    rates = [trial.rate_rps for trial in result.trials]
    assert len(rates) == len(set(rates))  # half of the requests are too slow: no standstill, no second try


def test_other_settings_are_given_up_after_one_rate() -> None:
    result = found(Simulated(1.0), above_rps=990.0)
    assert result.reason == "no higher rate than with other settings"
    assert len(result.trials) == 1


class Standing(Simulated):
    """A server on a machine that stands still in every third trial."""

    def latencies_ms(self, scenario: Open) -> np.ndarray:
        latencies = super().latencies_ms(scenario)
        return latencies + 20.0 * (np.arange(len(latencies)) < 30) * (self.seed % 3 == 1)


def test_a_standstill_of_the_machine_is_no_limit_of_the_server() -> None:
    result = found(Standing(0.5))
    assert result.confirmed
    assert (result.rate_rps or 0) >= 0.9 * (found(Simulated(0.5)).rate_rps or 0)


class Restless(Simulated):
    """A server on a machine that holds up seven of a thousand requests, whatever the load."""

    def latencies_ms(self, scenario: Open) -> np.ndarray:
        latencies = super().latencies_ms(scenario)
        return latencies + 20.0 * (np.random.default_rng(self.seed + 1000).random(len(latencies)) < 0.007)


def test_more_requests_are_asked_for_where_the_first_state_nothing() -> None:
    result = found(Restless(0.5))
    assert (result.rate_rps or 0) >= 0.5 * (found(Simulated(0.5)).rate_rps or 0)
    assert max(trial.pieces for trial in result.trials) > 1


class Late(Simulated):
    """A generator that is late in every third piece."""

    def __call__(self, scenario: Scenario) -> Piece:
        piece = super().__call__(scenario)
        return replace(piece, lag_p99_ms=3.0) if self.seed % 3 == 1 else piece


def test_a_piece_in_which_the_generator_was_late_is_made_again() -> None:
    result = found(Late(0.5))
    assert result.confirmed
    assert not result.client_limited
    assert sum(trial.void_pieces for trial in result.trials) > 1
    assert (result.rate_rps or 0) >= 0.9 * (found(Simulated(0.5)).rate_rps or 0)


class LateAndFaulty(Late):
    """The same, and in those pieces a request fails."""

    def __call__(self, scenario: Scenario) -> Piece:
        piece = super().__call__(scenario)
        return replace(piece, failures=1, explanations=("reset",)) if piece.lag_p99_ms == 3.0 else piece


def test_a_late_generator_excuses_no_failure() -> None:
    trials = found(LateAndFaulty(0.5)).trials
    assert sum(trial.void_pieces for trial in trials) == 0
    assert [trial.passed for trial in trials if trial.failures].count(True) == 0
    assert any(trial.failures for trial in trials)


def test_better_settings_are_searched() -> None:
    assert (found(Simulated(0.5), above_rps=500.0).rate_rps or 0) > 1000


def test_the_clients_limit_is_named() -> None:
    result = found(Simulated(0.01))
    assert result.client_limited
    assert (result.rate_rps or 1e9) <= 0.7 * 20_000
    assert result.reason == "the client's limit, not the server's"


def test_failures_fail_a_probe() -> None:
    result = found(Simulated(0.5, failures=1, explanations=("reset",)))
    assert result.rate_rps is None
    assert "requests failed: reset" in result.reason


@pytest.mark.parametrize("service_ms", [4.0, 400.0, 4000.0])
def test_slow_models_have_a_rate_too(service_ms: float) -> None:
    search = Search("", 1, CEILING_RPS)
    result = RateSearch(SlowModel(service_ms, 3 * service_ms), search, 3 * service_ms).run()
    assert 0.05 <= (result.rate_rps or 0) * service_ms / 1000 <= 1.0
    assert result.confirmed
    assert ("too few to state a p99" in result.reason) == (service_ms > 100)


class SlowModel(Simulated):
    """A model that takes long, against a target as long."""

    def __init__(self, service_ms: float, target_ms: float) -> None:
        super().__init__(service_ms)
        self.target_ms = target_ms

    def __call__(self, scenario: Scenario) -> Piece:
        piece = super().__call__(scenario)
        return replace(piece, over_target=int((piece.latencies_ms > self.target_ms).sum()))


def test_rates_above_the_highest_are_not_searched() -> None:
    result = RateSearch(Simulated(0.001), Search("", 1, None), TARGET_MS).run()
    assert result.rate_rps == HIGHEST_RPS
    assert (result.client_limited, result.reason) == (True, "higher rates are not searched")
