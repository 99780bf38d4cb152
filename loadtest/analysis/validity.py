"""Says of each run, and of each endpoint under a scenario, whether it is VALID, and if not, why. Pure functions.

An INVALID point stays in the report, marked; it is never ranked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.analysis.intervals import requests_needed

CEILING_SHARE = 0.70
"""Share of the client's ceiling from which on the client may be what is measured."""
LAG_MS = 1.0
LAG_SHARE = 0.10
"""The schedule lag at p99 may be the larger of LAG_MS and this share of the measured p99."""
CLIENT_CPU_SHARE = 0.90
STABLE_RATIO = 1.3
"""Largest over smallest of the windows' medians in a stable run; and of their throughputs, but for one standstill."""
STANDSTILL_S = 0.05
"""What a window may lose to a hiccup of the machine: it shows in p99, not in whether the run is stable."""
FIGURE = re.compile(r"[\d.,]+")
WINDOW_ANSWERS = 20
"""Answers that a window needs before it can speak of stability."""


@dataclass(frozen=True)
class Judgement:
    """Whether a point may be ranked."""

    reasons: tuple[str, ...]
    client_limited: bool
    unstable: bool = False

    @property
    def validity(self) -> str:
        """`VALID` or `INVALID`."""
        return "INVALID" if self.reasons else "VALID"


def judge_run(result: Mapping[str, Any], clients: Mapping[str, Mapping[str, Any]]) -> Judgement:
    """Judge one run by its result and the calibration of its protocol's client."""
    if "preflight_error" in result:
        return Judgement((f"pre-flight: {result['preflight_error']}",), False)
    reasons = _errors(result)
    if result["requests"] < (needed := requests_needed(0.90)):
        reasons.append(f"too few: {result['requests']} requests, {needed} state a p90")
    limits = _client_limits(result, clients.get(result["endpoint"]["protocol"]))
    unstable = _instability(result)
    return Judgement((*reasons, *limits, *unstable), bool(limits), bool(unstable))


def judge_rounds(runs: Sequence[Judgement]) -> Judgement:
    """Judge an endpoint under a scenario: every round must do, but for stability, where half of them may fail.

    What differs between and within rounds shows in the intervals; a majority of unstable rounds has no figure to put
    one around.
    """
    reasons: dict[str, tuple[str, list[int]]] = {}
    unstable = [number for number, run in enumerate(runs, 1) if run.unstable]
    for number, run in enumerate(runs, 1):
        for reason in run.reasons:
            if reason.startswith("unstable") and len(unstable) * 2 <= len(runs):
                continue
            kind = FIGURE.sub("", reason)  # the same reason, whatever its figures
            reasons.setdefault(kind, (reason, []))[1].append(number)
    texts = tuple(f"{reason} (round {', '.join(map(str, numbers))})" for reason, numbers in reasons.values())
    return Judgement(texts, any(run.client_limited for run in runs), bool(unstable))


def _errors(result: Mapping[str, Any]) -> list[str]:
    found = []
    first = f": {result['explanations'][0]}" if result["explanations"] else ""
    if result["failures"]:
        found.append(f"{result['failures']} of {result['requests']} requests failed{first}")
    if result["wrong_answers"]:
        found.append(f"{result['wrong_answers']} of {result['requests']} answers were wrong{first}")
    if result["capped"]:
        cap = result["scenario"]["in_flight_cap"]
        found.append(f"overloaded: {cap} requests in flight, where the open loop ends")
    return found


def _client_limits(result: Mapping[str, Any], client: Mapping[str, Any] | None) -> list[str]:
    found = []
    if client is not None and result["throughput_rps"] > CEILING_SHARE * client["ceiling_rps"]:
        share = result["throughput_rps"] / client["ceiling_rps"]
        found.append(f"client-limited: {share:.0%} of the client's ceiling of {client['ceiling_rps']:.0f} requests/s")
    lag, p99 = result["schedule_lag_ms"], result["latency_ms"]["p99"]
    if lag and lag["p99"] is not None and p99 is not None and lag["p99"] > (bound := max(LAG_MS, LAG_SHARE * p99)):
        found.append(f"client-limited: schedule lag {lag['p99']:.2f} ms at p99, above {bound:.2f} ms")
    if result["client"]["cpu_share"] > CLIENT_CPU_SHARE:
        found.append(f"client-limited: the generator used {result['client']['cpu_share']:.0%} of its core")
    return found


def _instability(result: Mapping[str, Any]) -> list[str]:
    kind = result["scenario"]["kind"]
    if kind == "burst":  # is meant to swing
        return []
    length_s = result["elapsed_s"] / len(result["windows"])
    if any(window["throughput_rps"] * length_s < WINDOW_ANSWERS for window in result["windows"]):
        return []
    bounds = {"p50_ms": STABLE_RATIO}
    if kind != "open":
        bounds["throughput_rps"] = STABLE_RATIO * length_s / max(length_s - STANDSTILL_S, 0.01)
    found = []
    for name, bound in bounds.items():
        values = [window[name] for window in result["windows"]]
        if (ratio := max(values) / min(values)) > bound:
            found.append(f"unstable: {name} of its {len(values)} windows differ by up to {ratio:.1f} times")
    return found
