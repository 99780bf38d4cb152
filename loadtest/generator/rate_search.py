"""The search for the highest open-loop rate at which p99 from the intended send stays under a target. Pure: a probe is
a function.

A rate is tried in pieces, whose requests are counted together as LoadGen's Server scenario counts: it is met as soon as
n requests, of which t were over the target, state that the p99 is not (`requests_needed`), missed as soon as they state
that it is, and where neither is so after some thousands, it is what the share says. A piece in which the generator was
late says nothing of the latency and is made again; a failure or a wrong answer in it counts all the same. Where a rate
is missed though half of the requests met the target, the two trials after it must do, for a standstill of a shared
machine is no limit of the server. First a bracket by doubling or halving from what a closed loop reaches, then
bisection, then a second trial of the rate found; where that fails, the next lower rate is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from loadtest.analysis.intervals import certainly_over, requests_needed
from loadtest.analysis.run_metrics import summarise
from loadtest.analysis.validity import judge_run
from loadtest.plan import Search
from loadtest.scenarios import Closed, Open, Scenario

PERCENTILE = 0.99
REQUESTS = 1500
"""Requests of a piece: up to 6 of them may be over the target where one piece is to do."""
PIECES = 3
VOID_PIECES = 3
"""So many pieces in which the client was the limit end a trial."""
FINENESS = 1.06
"""The bracket's two ends may differ by this factor at the end."""
STEP_DOWN = 0.93
LOWEST_RPS = 100.0
"""Rates below are not searched: a p99 of fewer takes over seven seconds a probe."""
CONFIRMATIONS = 3
MISSED = "not met even at"
"""How the reason begins where even the lowest rate searched was too high."""

Probe = Callable[[Scenario], dict[str, Any]]


def search_rate(probe: Probe, search: Search, target_ms: float) -> dict[str, Any]:
    """Search: the rate with its figures, whether a second run confirmed it, and every probe."""
    probes: list[dict[str, Any]] = []

    def passes(rate_rps: float) -> bool:
        def tried() -> bool:
            probes.append(_trial(probe, rate_rps, search.clients, target_ms))
            return bool(probes[-1]["passed"])

        return tried() or (probes[-1]["may_be_a_standstill"] and tried() and tried())

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
    """A piece's length: a second, and 1,500 requests; at low rates fewer, but as many as state a p99."""
    return max(1.0, min(REQUESTS, max(4 * rate_rps, 1.1 * requests_needed(PERCENTILE))) / rate_rps)


def _trial(probe: Probe, rate_rps: float, clients: dict[str, Any], target_ms: float) -> dict[str, Any]:
    """Try a rate piece by piece until the requests state whether it meets the target."""
    pieces: list[dict[str, Any]] = []
    void: list[dict[str, Any]] = []
    stated, reasons = None, []
    while stated is None and len(pieces) < PIECES and len(void) < VOID_PIECES:
        piece = probe(Open(rate_rps, _seconds(rate_rps)))
        judgement = judge_run(piece, clients)
        reasons = [reason for reason in judgement.reasons if not reason.startswith("unstable")]
        faulty = any(not reason.startswith("client-limited") for reason in reasons)
        (void if judgement.client_limited and not faulty else pieces).append(piece)
        if pieces:
            stated = _stated(pieces, faulty)
    figures, client_limited = _figures(pieces or void), len(void) == VOID_PIECES
    likely = figures["over_target"] <= (1 - PERCENTILE) * figures["requests"] and not client_limited
    return {
        "rate_rps": rate_rps,
        "passed": likely if stated is None else stated,
        "may_be_a_standstill": stated is False and not reasons and figures["p50_ms"] <= target_ms,
        "reasons": reasons,
        "client_limited": client_limited,
        "pieces": len(pieces),
        "void_pieces": len(void),
        **figures,
    }


def _stated(pieces: list[dict[str, Any]], faulty: bool) -> bool | None:
    """Whether the pieces' requests together state that the target is met, or that it is missed; None: neither yet."""
    requests, over = (sum(one[key] for one in pieces) for key in ("requests", "over_target"))
    if faulty or certainly_over(requests, over, PERCENTILE):
        return False
    return True if requests >= requests_needed(PERCENTILE, over) else None


def _figures(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """What the pieces of a trial measured together."""
    seconds = sum(one["elapsed_s"] for one in pieces)
    known = all(one["server"]["cpu_s"] is not None for one in pieces)
    latency_ms = summarise(np.concatenate([one["latencies_ms"] for one in pieces]))
    return {
        **{key: sum(one[key] for one in pieces) for key in ("requests", "over_target", "failures", "wrong_answers")},
        "p50_ms": latency_ms["p50"],
        "p99_ms": latency_ms["p99"],
        "goodput_rps": sum(one["goodput_rps"] * one["elapsed_s"] for one in pieces) / seconds,
        "cpu_share": sum(one["server"]["cpu_s"] for one in pieces) / seconds if known else None,
        "rss_bytes": pieces[-1]["server"]["rss_bytes"],
        "client_cpu_share": max(one["client"]["cpu_share"] for one in pieces),
    }


def _found(probes: list[dict[str, Any]], rate_rps: float, confirmed: bool, target_ms: float) -> dict[str, Any]:
    """The last probe that passed, and what ended the search above it."""
    best = [one for one in probes if one["passed"]][-1]
    higher = [one for one in probes if one["rate_rps"] > best["rate_rps"] and not one["passed"]]
    limited = bool(higher) and all(one["client_limited"] for one in higher)  # never was it the server that missed
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
    return f"{MISSED} {last['rate_rps']:.0f} requests/s: {told}"
