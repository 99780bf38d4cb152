"""One endpoint's part of the report: its blocks put together by scenario, with percentiles, intervals and validity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np

from loadtest.analysis.facts import Client
from loadtest.analysis.family import figure as own_figure
from loadtest.analysis.figures import Estimate, Point, Split, Start
from loadtest.analysis.fits import Fitted, Measured
from loadtest.analysis.intervals import QUANTILES, quantile, requests_needed
from loadtest.analysis.result import Result
from loadtest.analysis.validity import instability, judge

MARKED_SHARE = 0.01
"""Of a core: what idle servers take of it marks a block."""
STABLE_FIGURE = {"closed": "throughput_rps", "offline": "throughput_rps"}
WORDS = {"throughput_rps": "the throughput", "p50": "the median latency"}
Kind = Literal["closed", "open", "burst", "offline"]


def describe_point(name: str, runs: Measured, fits: Mapping[str, Fitted | None], client: Client | None) -> Point:
    """One endpoint under one scenario: `fits` has the figures of all endpoints under it."""
    results = runs.results
    judgement = judge(results, client)
    kind = cast("Kind", results[0].scenario["kind"])
    reasons = judgement.reasons
    stable_by = "p50" if results[0].scenario_name == "single_stream" else STABLE_FIGURE.get(kind)
    fitted = fits.get(stable_by) if stable_by else None
    if stable_by and fitted is not None and name in fitted.residuals:
        reasons += instability(name, fitted.residuals, WORDS[stable_by])
    made = [result for result in results if not result.preflight_error]
    return Point(
        name=results[0].scenario_name,
        kind=kind,
        users=int(results[0].scenario["users"]),
        batch=results[0].batch,
        starts=tuple(_start(result, runs, number) for number, result in enumerate(made)),
        blocks=sum(len(result.blocks) for result in made),
        block_s=float(results[0].scenario["seconds"]),
        requests=sum(result.requests for result in made),
        failures=sum(result.failures for result in made),
        wrong_answers=sum(result.wrong_answers for result in made),
        validity="INVALID" if reasons else "VALID",
        reasons=reasons,
        client_limited=judgement.client_limited,
        explanations=tuple(text for result in made for text in result.explanations)[:5],
        rate_rps=results[0].scenario.get("rate_rps"),
        **(_figures(name, runs, made, fits) if made else {}),
    )


def _start(result: Result, runs: Measured, number: int) -> Start:
    ordered = np.sort(np.concatenate([block.latencies_ms for block in runs.blocks[number]]))
    stated = {key: _stated(ordered, share) for key, share in QUANTILES.items()}
    rate = result.throughput_rps or None
    return Start(result.round, len(result.blocks), result.requests, rate, stated["p50"], stated["p95"])


def _figures(name: str, runs: Measured, made: Sequence[Result], fits: Mapping[str, Fitted | None]) -> dict[str, Any]:
    ordered = runs.latencies_ms
    rates = [result.throughput_rps for result in made]
    throughput = _estimate(fits, "throughput_rps", name, float(np.mean(rates)))
    goodput = float(np.mean([result.goodput_rps for result in made]))
    stated = {key: _stated(ordered, share) for key, share in QUANTILES.items()}
    opened = made[0].latency_from_send_ms is not None
    uses = [use for result in made for use in result.blocks]
    idle = [use.idle_cpu_share for use in uses if use.idle_cpu_share is not None]
    answers = sum(use.right_answers for use in uses)
    taken = [use.server_cpu_s for use in uses if use.server_cpu_s is not None]
    cpu = sum(taken) / answers * 1000 if taken and answers else 0.0
    return {
        "throughput_rps": throughput,
        "goodput_rps": _like(throughput, goodput),
        "samples_per_s": throughput.value * made[0].batch if throughput else None,
        **{f"{key}_ms": _estimate(fits, key, name, value) for key, value in stated.items()},
        "max_ms": float(ordered[-1]) if len(ordered) else None,
        "needs": {key: requests_needed(QUANTILES[key]) for key, value in stated.items() if value is None},
        "quantiles_ms": tuple(quantile(ordered, step / 100) for step in range(101)) if len(ordered) else (),
        "from_send_ms": _from_send(made) if opened else {},
        "schedule_lag_p99_ms": _lag(made) if opened else None,
        "cpu_s_per_1000": _estimate(fits, "cpu_s_per_1000", name, cpu),
        "context_switches_per_1000": _per_1000([result.server.context_switches for result in made], answers),
        "throttled_s": _sum([result.server.throttled_s for result in made]),
        "client_cpu_share": max(result.client.cpu_share for result in made),
        "idle_cpu_share": max(idle) if idle else None,
        "marked_blocks": sum(share > MARKED_SHARE for share in idle),
        "split": mean_split([result.latency_split for result in made if result.latency_split]),
    }


def _stated(ordered: np.ndarray, share: float) -> float | None:
    """A percentile of raw latencies, where so many state it."""
    return quantile(ordered, share) if len(ordered) >= requests_needed(share) else None


def _estimate(fits: Mapping[str, Fitted | None], figure: str, name: str, value: float | None) -> Estimate | None:
    """A figure with the interval that its fit gives; without one where there is no fit."""
    if not value:
        return None
    fitted = fits.get(figure)
    if fitted is None or name not in fitted.fit.names:
        return Estimate(value)
    return own_figure(fitted.fit, name, value)


def _like(throughput: Estimate | None, goodput: float) -> Estimate | None:
    """Goodput with the throughput's relative interval: it is a share of it."""
    if throughput is None or throughput.low is None or throughput.high is None:
        return Estimate(goodput)
    share = goodput / throughput.value
    return Estimate(goodput, throughput.low * share, throughput.high * share, throughput.error, throughput.degrees)


def _from_send(made: Sequence[Result]) -> dict[str, float]:
    keys = QUANTILES if made[0].latency_from_send_ms else ()
    values = {key: [(result.latency_from_send_ms or {}).get(key) for result in made] for key in keys}
    return {key: float(np.median([v for v in all_ if v is not None])) for key, all_ in values.items() if any(all_)}


def _lag(made: Sequence[Result]) -> float:
    return max((result.schedule_lag_ms or {"p99": 0.0})["p99"] or 0.0 for result in made)


def _sum(values: Sequence[float | None]) -> float | None:
    return None if None in values else float(sum(value or 0.0 for value in values))


def _per_1000(values: Sequence[float | None], answers: int) -> float | None:
    total = _sum(values)
    return None if total is None or not answers else total / answers * 1000


def mean_split(splits: Sequence[Split]) -> Split | None:
    """Where the time went, as the server told it: the mean over the rounds."""
    if not splits:
        return None
    mean = {key: float(np.mean([getattr(split, key) for split in splits])) for key in Split.__dataclass_fields__}
    return Split(**{**mean, "users": splits[0].users, "requests": sum(split.requests for split in splits)})  # type: ignore[arg-type]
