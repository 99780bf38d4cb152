"""The search for the highest open-loop rate at which p99 from the intended send stays under a target. Pure: a probe is
a function.

A probe passes as LoadGen's Server scenario does: with n requests, of which t were over the target, where n requests
with t over state a p99 (`requests_needed`), and the run itself is VALID. Where one fails though half of its requests
met the target, the two after it must pass, for a standstill of a shared machine is no limit of the server. First a
bracket by doubling or halving from what a closed loop reaches, then bisection, then a second run at the rate found;
where that fails, the next lower rate is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadtest.scenarios import Closed, Open, Scenario
from loadtest.statistics import requests_needed
from loadtest.validity import judge_run

PERCENTILE = 0.99
REQUESTS = 1500
"""Requests of a probe: up to 5 of them may be over the target."""
FINENESS = 1.06
"""The bracket's two ends may differ by this factor at the end."""
STEP_DOWN = 0.93
LOWEST_RPS = 100.0
"""Rates below are not searched: a p99 of fewer takes over seven seconds a probe."""
CONFIRMATIONS = 3

Probe = Callable[[Scenario], dict[str, Any]]


@dataclass
class Search:
    """One search: where its result goes, and what is known beforehand."""

    path: str
    seed: int
    clients: dict[str, Any]
    """Calibration of the client by protocol."""
    above_rps: float = 0.0
    """Only a higher rate is of interest: where the first probe a step above fails, the search ends."""

    def next_seed(self) -> int:
        """A seed of its own for every probe."""
        self.seed += 1
        return self.seed


def search_rate(probe: Probe, search: Search, target_ms: float) -> dict[str, Any]:
    """Search: the rate with its figures, whether a second run confirmed it, and every probe."""
    probes: list[dict[str, Any]] = []

    def passes(rate_rps: float) -> bool:
        def probed() -> bool:
            probes.append(_probed(probe(Open(rate_rps, _seconds(rate_rps))), rate_rps, search.clients))
            return bool(probes[-1]["passed"])

        def again() -> bool:
            return not probes[-1]["failures"] and bool(probes[-1]["p50_ms"] <= target_ms)

        return probed() or (again() and probed() and probed())

    if search.above_rps:
        low = search.above_rps * FINENESS
        if not passes(low):
            return {**unmet("no higher rate than with other settings"), "probes": probes}
        low, high = _bracket(passes, low, 1.3)
    else:
        closed = probe(Closed(8, 0.5))
        low, high = _bracket(passes, max(LOWEST_RPS, closed["throughput_rps"] / 2), 1.6)
    while low and high / low > FINENESS:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if passes(middle) else (low, middle)
    for _ in range(CONFIRMATIONS):
        if low < LOWEST_RPS:
            break
        if passes(low):
            return _found(probes, low, True, target_ms)
        low *= STEP_DOWN
    passed = [one for one in probes if one["passed"]]
    return _found(probes, low, False, target_ms) if passed else {**unmet(_why(probes)), "probes": probes}


def unmet(reason: str) -> dict[str, Any]:
    """The result where no rate meets the target."""
    nothing = dict.fromkeys(("rate_rps", "goodput_rps", "p99_ms", "cpu_share", "rss_bytes"))
    return {**nothing, "confirmed": False, "reason": reason, "probes": []}


def _bracket(passes: Callable[[float], bool], rate_rps: float, factor: float) -> tuple[float, float]:
    """A rate that passes and a higher one that does not; (0, rate) where even the lowest fails."""
    if passes(rate_rps):
        while passes(rate_rps * factor):
            rate_rps *= factor
        return rate_rps, rate_rps * factor
    while rate_rps > LOWEST_RPS:
        higher, rate_rps = rate_rps, max(LOWEST_RPS, rate_rps / 2)
        if passes(rate_rps):
            return rate_rps, higher
    return 0.0, rate_rps


def _seconds(rate_rps: float) -> float:
    """Long enough for the requests that a probe needs; below 100 requests/s for the fewest that state a p99."""
    return max(1.0, min(REQUESTS, max(15 * rate_rps, 1.1 * requests_needed(PERCENTILE))) / rate_rps)


def _probed(result: dict[str, Any], rate_rps: float, clients: dict[str, Any]) -> dict[str, Any]:
    judgement = judge_run(result, clients)
    reasons = [reason for reason in judgement.reasons if not reason.startswith("unstable")]
    enough = result["requests"] >= requests_needed(PERCENTILE, result["over_target"])
    latency, server = result["latency_ms"], result["server"]
    return {
        "rate_rps": rate_rps,
        "requests": result["requests"],
        "over_target": result["over_target"],
        "failures": result["failures"] + result["wrong_answers"],
        "passed": enough and not reasons,
        "reasons": reasons,
        "client_limited": judgement.client_limited,
        "p50_ms": latency["p50"],
        "p99_ms": latency["p99"],
        "goodput_rps": result["goodput_rps"],
        "cpu_share": None if server["cpu_s"] is None else server["cpu_s"] / result["elapsed_s"],
        "rss_bytes": server["rss_bytes"],
        "client_cpu_share": result["client"]["cpu_share"],
    }


def _found(probes: list[dict[str, Any]], rate_rps: float, confirmed: bool, target_ms: float) -> dict[str, Any]:
    """The last probe that passed, and what ended the search above it."""
    best = [one for one in probes if one["passed"]][-1]
    higher = [one for one in probes if one["rate_rps"] > best["rate_rps"] and not one["passed"]]
    limited = any(one["client_limited"] for one in higher)
    reason = "the client's limit, not the server's" if limited else ""
    if not confirmed:
        reason = f"no second run confirmed a rate down to {rate_rps:.0f} requests/s"
    keys = ("rate_rps", "goodput_rps", "p99_ms", "cpu_share", "rss_bytes")
    return {
        **{key: best[key] for key in keys},
        "confirmed": confirmed,
        "reason": reason,
        "client_limited": limited,
        "target_ms": target_ms,
        "probes": probes,
    }


def _why(probes: list[dict[str, Any]]) -> str:
    last = probes[-1]
    told = "; ".join(last["reasons"]) or f"{last['over_target']} of {last['requests']} over the target"
    return f"not met even at {last['rate_rps']:.0f} requests/s: {told}"
