"""The table of the highest rates: default and tuned side by side, and what is said where no rate was found."""

from __future__ import annotations

from typing import Any

from loadtest.generator.rate_search import unmet
from loadtest.runs.slo import describe, table
from serving.server import Settings


def entry(name: str, settings: str, **fields: Any) -> dict[str, Any]:
    rate = {"rate_rps": 2573.4, "goodput_rps": 2549.1, "p99_ms": 2.336, "cpu_share": 0.77, "rss_bytes": 140e6}
    found = {**rate, "confirmed": True, "reason": "", "setting": "defaults"}
    return {"name": name, "settings": settings, **found, **fields}


def test_default_and_tuned_stand_side_by_side() -> None:
    tuned = entry("a/b/rest", "tuned", rate_rps=4050.0, confirmed=False, setting="workers=2")
    lines = table([entry("a/b/rest", "default"), tuned], 5.0).splitlines()
    assert lines[2] == "| a/b/rest | 2,573 | 2,549 | 2.34 | 0.77 | 140 | 4,050 (not confirmed) | workers=2 |"
    assert "p99 ≤ 5 ms" in lines[0]
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")


def test_a_rate_that_the_client_ended_is_a_lower_bound() -> None:
    assert "| ≥ 2,573 |" in table([entry("a/b/grpc", "default", client_limited=True)], 5.0)


def test_no_rate_is_said_with_its_reason() -> None:
    missed = entry("a/b/rest", "default", **unmet("not met even at 100 requests/s: 27 of 2261 over the target"))
    broken = entry("a/b/grpc", "default", **unmet("pre-flight: wrong answer to sample 0"))
    told = table([missed, broken], 5.0)
    assert "| a/b/rest | < 100 | n/a | n/a | n/a | n/a | < 100 | defaults |" in told
    assert "| n/a (pre-flight: wrong answer to sample 0) |" in told


def test_settings_are_told_by_what_differs_from_the_servers_own() -> None:
    usual = Settings(threads=0, max_batch_size=1)
    assert describe(usual, usual) == "defaults"
    assert describe(Settings(threads=1, max_batch_size=1), usual) == "threads=1"
