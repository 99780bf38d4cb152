"""Says of an endpoint under a scenario whether it is VALID, and if not, why. Pure functions.

It judges the server and the client, not the weather: what slows all endpoints alike is the machine's, and only what an
endpoint's blocks swing by beyond their neighbours makes it unstable. An INVALID point stays in the report; it is never
ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.analysis.facts import Client
from loadtest.analysis.result import Result

CEILING_SHARE = 0.70
"""Share of the client's ceiling from which on the client may be what is measured."""
LAG_MS = 1.0
LAG_SHARE = 0.10
"""The schedule lag at p99 may be the larger of LAG_MS and this share of the measured p99."""
CLIENT_CPU_SHARE = 0.90
UNSTABLE_SPREAD = 0.30
"""Robust standard deviation (of a logarithm) of an endpoint's blocks beyond the drift that all share."""
UNSTABLE_TIMES = 3.0
"""And so many times that of a typical endpoint: where all swing, it is the machine."""
FEWEST_REQUESTS = 8
FEWEST_BLOCKS = 6
"""With fewer an endpoint is not called unstable."""


@dataclass(frozen=True)
class Judgement:
    """Whether a point may be ranked."""

    reasons: tuple[str, ...]
    client_limited: bool = False

    @property
    def is_valid(self) -> bool:
        """Whether it may."""
        return not self.reasons


def judge(results: Sequence[Result], client: Client | None) -> Judgement:
    """Judge the runs of one endpoint under one scenario by themselves and by the calibration of its client."""
    refused = [result.preflight_error for result in results if result.preflight_error]
    if refused:
        return Judgement((f"not asked: {refused[0]}",))
    limits = _client_limits(results, client)
    return Judgement((*_errors(results), *limits), bool(limits))


def spread_of(residuals: np.ndarray) -> float:
    """The robust standard deviation of an endpoint's blocks beyond the drift that all share."""
    return 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))


def instability(name: str, residuals: Mapping[str, np.ndarray], figure: str) -> tuple[str, ...]:
    """The reason where the blocks of an endpoint swing by far more than those of its neighbours."""
    if len(residuals[name]) < FEWEST_BLOCKS:
        return ()
    spread, typical = spread_of(residuals[name]), float(np.median([spread_of(each) for each in residuals.values()]))
    if spread <= max(UNSTABLE_SPREAD, UNSTABLE_TIMES * typical):
        return ()
    return (f"unstable: {figure} swings by ±{np.expm1(spread):.0%} from block to block, others by ±{typical:.0%}",)


def _errors(results: Sequence[Result]) -> list[str]:
    totals: Mapping[str, int] = {
        key: sum(getattr(result, key) for result in results) for key in ("requests", "failures", "wrong_answers")
    }
    texts = [text for result in results for text in result.explanations]
    first, reasons = f": {texts[0]}" if texts else "", []
    if totals["failures"]:
        reasons.append(f"{totals['failures']} of {totals['requests']} requests failed{first}")
    if totals["wrong_answers"]:
        reasons.append(f"{totals['wrong_answers']} of {totals['requests']} answers were wrong{first}")
    if any(result.capped for result in results):
        cap = results[0].scenario["in_flight_cap"]
        reasons.append(f"overloaded: {cap} requests in flight, where the open loop ends")
    if totals["requests"] < FEWEST_REQUESTS:
        reasons.append(f"too few: {totals['requests']} requests in the time there was")
    return reasons


def _client_limits(results: Sequence[Result], client: Client | None) -> list[str]:
    reasons = []
    rate = float(np.mean([result.throughput_rps for result in results]))
    if client is not None and rate > CEILING_SHARE * client.ceiling_rps:
        share = rate / client.ceiling_rps
        reasons.append(f"client-limited: {share:.0%} of the client's ceiling of {client.ceiling_rps:.0f} requests/s")
    lags = [_late(result) for result in results]
    late = [(lag, bound) for lag, bound in lags if lag > bound]
    if 2 * len(late) > len(lags):
        lag, bound = late[0]
        reasons.append(f"client-limited: schedule lag {lag:.2f} ms at p99, above {bound:.2f} ms")
    if (share := float(np.median([result.client.cpu_share for result in results]))) > CLIENT_CPU_SHARE:
        reasons.append(f"client-limited: the generator used {share:.0%} of its core")
    return reasons


def _late(result: Result) -> tuple[float, float]:
    """The lag behind the schedule at p99, and what it may be."""
    lag = (result.schedule_lag_ms or {"p99": None})["p99"] or 0.0
    p99 = result.latency_ms["p99"] if result.latency_ms else None
    return lag, max(LAG_MS, LAG_SHARE * (p99 or 0.0))
