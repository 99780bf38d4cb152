"""Checks (a), (b) and (c): does a comparison see differences where there are none, find those that are planted, and how
wide are its intervals? All go through the path of `make compare`, in one of its profiles.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loadtest.analysis.summary import summarise
from loadtest.crosscheck.compared import Pair, compare, half_widths, pairs_of
from loadtest.crosscheck.planted import null_servers, under_many_names
from loadtest.runs.managed_servers import choose_servers
from loadtest.scenarios import find_profile

NAMES = 10
"""One endpoint under so many names."""
FALSE_SHARE = 0.01
SERVICE_MS = 1.0
ALIKE, SLOWER = 4, 5
"""Null servers that are alike, and as many with each slowdown."""
SLOWDOWNS = (0.10, 0.25)
"""Added service time."""
MUST_FIND = {"quick": 0.25, "full": 0.10}
"""By profile the slowdown that has to be found in FOUND_SHARE of the pairs; a smaller one is stated."""
FOUND_SHARE = 0.9
PLANTED_IN = ("throughput", "latency_alone")
HALF_WIDTHS = {
    "quick": {"throughput": 0.10, "latency_alone": 0.10, "latency_open": 0.30},
    "full": {"throughput": 0.05, "latency_alone": 0.05, "latency_open": 0.15},
}
"""The widest median half-width by profile and question."""
MOST_INVALID = 5
TIME_S = {"quick": 360.0, "full": 1500.0}


def against_itself(folder: Path, endpoint: str, profile: str) -> dict[str, Any]:
    """Compare one endpoint with itself under ten names: a difference that is seen is false."""
    folder.mkdir(parents=True, exist_ok=True)
    server = under_many_names(folder, endpoint, NAMES)
    pairs = pairs_of(compare(folder, find_profile(profile), [server]))
    false = [pair for pair in pairs if pair.differs]
    return {
        "outcome": "pass" if pairs and len(false) <= FALSE_SHARE * len(pairs) else "fail",
        "text": f"a difference seen in {len(false)} of {len(pairs)} pairs of {endpoint} under {NAMES} names",
        "endpoint": endpoint,
        "names": NAMES,
        "pairs": len(pairs),
        "false_differences": [describe(pair) for pair in false],
        "half_widths": half_widths(pairs),
    }


def planted_slowdowns(folder: Path, _endpoint: str, profile: str) -> dict[str, Any]:
    """Compare null servers, some of which work longer on every request than the others."""
    folder.mkdir(parents=True, exist_ok=True)
    servers = null_servers(folder, [f"alike-{number}" for number in range(1, ALIKE + 1)], SERVICE_MS)
    for share in SLOWDOWNS:
        names = [f"slower-{share:.0%}-{number}" for number in range(1, SLOWER + 1)]
        servers += null_servers(folder, [name.replace("%", "") for name in names], SERVICE_MS * (1 + share))
    pairs = pairs_of(compare(folder, find_profile(profile), servers))
    rows = [found_slowdowns(pairs, share, question) for share in SLOWDOWNS for question in PLANTED_IN]
    equal = [pair for pair in pairs if _group(pair.a) == _group(pair.b)]
    false = [pair for pair in equal if pair.differs]
    bound = MUST_FIND.get(profile, max(SLOWDOWNS))
    met = all(row["pairs"] and row["found"] >= FOUND_SHARE * row["pairs"] for row in rows if row["slowdown"] >= bound)
    good = met and len(false) <= FALSE_SHARE * len(equal)
    texts = [f"+{row['slowdown']:.0%} found in {row['found']} of {row['pairs']} ({row['question']})" for row in rows]
    return {
        "outcome": "pass" if good else "fail",
        "text": ", ".join(texts) + f"; false: {len(false)} of {len(equal)}",
        "service_ms": SERVICE_MS,
        "slowdowns": rows,
        "equal_pairs": len(equal),
        "false_differences": [describe(pair) for pair in false],
        "must_find": bound,
    }


def found_slowdowns(pairs: Sequence[Pair], share: float, question: str) -> dict[str, Any]:
    """In how many pairs of an unchanged and a slower server the slower one was found to be so; pairs that the time was
    too short for are none.
    """
    slower = f"slower-{share * 100:.0f}"
    chosen = [p for p in pairs if p.question == question and _group(p.a) == "alike" and _group(p.b) == slower]
    estimates = [pair.times_as_slow for pair in chosen]
    lows = [estimate.low or 0.0 for estimate in estimates]
    return {
        "slowdown": share,
        "question": question,
        "pairs": len(chosen),
        "found": sum(low > 1 for low in lows),
        "times_as_slow": median(estimate.value for estimate in estimates) if estimates else None,
        "lowest": min(lows, default=None),
        "highest": max((estimate.high or 0.0 for estimate in estimates), default=None),
    }


def _group(endpoint: str) -> str:
    """`slower-10` of `slower-10-3/null/rest`."""
    return endpoint.partition("/")[0].rpartition("-")[0]


def default_comparison(folder: Path, _endpoint: str, profile: str) -> dict[str, Any]:
    """The default comparison of every endpoint: the widths of its intervals, what is INVALID, and its time."""
    began_s = time.perf_counter()
    results = compare(folder, find_profile(profile), choose_servers(()), planted=False)
    seconds = time.perf_counter() - began_s
    report, widths = summarise(results), half_widths(pairs_of(results))
    points = [point for endpoint in report.endpoints for point in endpoint.points]
    invalid = sum(point.validity == "INVALID" for point in points)
    bounds, limit_s = HALF_WIDTHS.get(profile, {}), TIME_S.get(profile, float("inf"))
    narrow = all(widths.get(question, float("inf")) <= bound for question, bound in bounds.items())
    good = narrow and invalid <= MOST_INVALID and seconds <= limit_s
    shown = ", ".join(f"{question} ±{width:.1%}" for question, width in widths.items())
    return {
        "outcome": "pass" if good else "fail",
        "text": f"median half-widths: {shown}; {invalid} of {len(points)} points INVALID; {seconds:.0f} s",
        "half_widths": widths,
        "bounds": bounds,
        "invalid": invalid,
        "points": len(points),
        "seconds": seconds,
        "time_limit_s": limit_s if limit_s < float("inf") else None,
        "endpoints": len(report.endpoints),
    }


def describe(pair: Pair) -> dict[str, Any]:
    """A pair for the result."""
    estimate = pair.times_as_slow
    fields = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {"question": pair.question, "a": pair.a, "b": pair.b, "times_as_slow": fields}
