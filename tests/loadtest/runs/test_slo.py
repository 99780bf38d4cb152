"""The table of the highest rates: default and tuned side by side, replicas, cost, and why there is no rate."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.analysis.facts import Rate
from loadtest.runs.slo import Wish, describe, rate_of, table
from loadtest.table import to_markdown
from serving.server import Settings

FIGURES = {"rate_rps": 2573.4, "goodput_rps": 2549.1, "p99_ms": 2.336, "cpu_share": 0.77, "rss_bytes": 140_000_000}
NOTHING = dict.fromkeys(FIGURES)
WISH = Wish(5.0)


def rate(name: str, settings: str, **fields: Any) -> Rate:
    usual = {"confirmed": True, "reason": "", "setting": "defaults"}
    return Rate(**{**FIGURES, **usual, "name": name, "settings": settings, **fields})  # type: ignore[arg-type]


def lines(*rates: Rate) -> list[str]:
    return to_markdown(table(rates, WISH)).splitlines()


def test_default_and_tuned_stand_side_by_side() -> None:
    tuned = rate("a/b/rest", "tuned", rate_rps=4050.0, confirmed=False, setting="workers=2")
    head, _, line = lines(rate("a/b/rest", "default"), tuned)
    assert line.startswith("| a/b/rest | 2,573 | 2,549.1 | 2.34 | 0.77 | 140 | 4,050 (not confirmed) | workers=2 |")
    assert "p99 ≤ 5 ms" in head


def test_a_rate_that_the_client_ended_is_a_lower_bound() -> None:
    assert "| ≥ 2,573 |" in lines(rate("a/b/grpc", "default", client_limited=True))[2]


def test_a_low_rate_keeps_its_digits() -> None:
    assert "| a/b/grpc | 0.217 |" in lines(rate("a/b/grpc", "default", rate_rps=0.2172))[2]


def test_no_rate_is_said_with_its_reason() -> None:
    missed = rate("a/b/rest", "default", **NOTHING, reason="not met even at 0.1 requests/s: 2 of 2 over the target")
    broken = rate("a/b/grpc", "default", **NOTHING, reason="pre-flight: wrong answer to sample 0")
    text = "\n".join(lines(missed, broken))
    assert "| a/b/rest | \\< 0.1 | n/a | n/a | n/a | n/a | \\< 0.1 | defaults |" in text
    assert "| n/a (pre-flight: wrong answer to sample 0) |" in text


def test_replicas_carry_the_asked_rate_with_headroom() -> None:
    result = {**FIGURES, "confirmed": True, "client_limited": False, "reason": ""}
    row = rate_of("a/b/rest", "defaults", result, Wish(5.0, rate_rps=10_000, price_per_vcpu_hour=0.05))
    assert row.replicas == 6  # 10,000 / (2,573 * 0.7) = 5.55
    assert row.cost_per_million == pytest.approx(0.05 / 3600 * 1e6 / (2573.4 * 0.7))


def test_nothing_asked_is_nothing_told() -> None:
    result = {**FIGURES, "confirmed": True, "client_limited": False, "reason": ""}
    row = rate_of("a/b/rest", "defaults", result, WISH)
    assert (row.replicas, row.cost_per_million) == (None, None)


def test_settings_are_told_by_what_differs_from_the_servers_own() -> None:
    usual = Settings(threads=0, max_batch_size=1)
    assert describe(usual, usual) == "defaults"
    assert describe(Settings(threads=1, max_batch_size=1), usual) == "threads=1"
