"""Every answer of the report: the rankings, the named comparisons, the server overhead, and the family that they make.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.stats import t as student

from loadtest.analysis.facts import InProcess
from loadtest.analysis.family import ERROR_RATE, comparisons, critical_value, estimate
from loadtest.analysis.figures import EndpointReport, Estimate, Point
from loadtest.analysis.fits import Fitted
from loadtest.analysis.levels import Fit
from loadtest.analysis.schema import Family, Overhead, Question, Ranked, Ranking, Unranked
from loadtest.analysis.tiers import Asked, Subject, named_questions, order_by, rank, split_ranked

ALONE, SCHEDULED = "single_stream", "open"
OPEN_PERCENTILE = "p95"
FEW = "too few requests to state it"


@dataclass(frozen=True)
class Answers:
    """What the comparison answers."""

    rankings: tuple[Ranking, ...]
    questions: tuple[Question, ...]
    overheads: tuple[Overhead, ...]
    family: Family


def answer(
    endpoints: Sequence[EndpointReport],
    fits: Mapping[str, Mapping[str, Fitted | None]],
    cold: Fit | None,
    in_process: Sequence[InProcess],
    busiest: str,
    price_per_vcpu_hour: float,
) -> Answers:
    """Answer every question; `busiest` is the closed scenario with the most users, `cold` the starts' fit."""
    subjects = [
        _subject(endpoints, fits, "throughput", busiest, "throughput_rps", lambda point: point.throughput_rps),
        _subject(endpoints, fits, "latency_alone", ALONE, "p50", lambda point: point.p50_ms),
        _subject(endpoints, fits, "latency_open", SCHEDULED, OPEN_PERCENTILE, lambda point: point.p95_ms),
        _subject(endpoints, fits, "cpu", busiest, "cpu_s_per_1000", lambda point: point.cpu_s_per_1000),
        _start_subject(endpoints, cold),
    ]
    subjects_there = [subject for subject in subjects if subject is not None]
    inferred = [subject.fit for subject in subjects_there if subject.fit.starts > 1]
    critical = critical_value(inferred) if inferred else math.inf
    rankings = [rank(subject, critical) for subject in subjects_there]
    rankings += [_cost(ranking, price_per_vcpu_hour) for ranking in rankings if ranking.question == "cpu"]
    rankings.append(_plain(endpoints, "memory", "peak_rss_bytes", "its processes are not ours to look into"))
    rankings.append(_plain(endpoints, "size", "size_bytes", "its artifact is not in the repository"))
    if cold is None:
        rankings.append(_starts_once(endpoints))
    return Answers(
        tuple(ranking for ranking in rankings if ranking.ranked),
        named_questions(endpoints, subjects_there[:3], critical),
        tuple(_overheads(endpoints, in_process)),
        _family(comparisons(inferred)),
    )


def _subject(
    endpoints: Sequence[EndpointReport],
    fits: Mapping[str, Mapping[str, Fitted | None]],
    question: Asked,
    scenario: str,
    figure: str,
    shown: Callable[[Point], Estimate | None],
) -> Subject | None:
    fitted = fits.get(scenario, {}).get(figure)
    if fitted is None:
        return None
    values, unranked = split_ranked(endpoints, scenario, shown, FEW)
    absent = [name for name in values if name not in fitted.fit.names]
    fit = fitted.fit.only([name for name in values if name not in absent])
    unranked += tuple(Unranked(name, "not measured in every start") for name in absent)
    name = figure if "_" in figure else f"{figure}_ms"
    return Subject(question, scenario, name, question == "throughput", fit, values, unranked) if fit.names else None


def _start_subject(endpoints: Sequence[EndpointReport], cold: Fit | None) -> Subject | None:
    if cold is None:
        return None
    starts = {e.name: e.cold_start.first_answer_s for e in endpoints if e.cold_start and e.cold_start.first_answer_s}
    values = {name: estimate.value for name, estimate in starts.items() if name in cold.names}
    unranked = tuple(Unranked(e.name, "it was not started here") for e in endpoints if e.name not in values)
    return Subject("start", "", "first_answer_s", False, cold.only(list(values)), values, unranked)


def _starts_once(endpoints: Sequence[EndpointReport]) -> Ranking:
    values = {
        e.name: e.cold_start.first_answer_s.value if e.cold_start and e.cold_start.first_answer_s else None
        for e in endpoints
    }
    return order_by("start", "first_answer_s", values, "it was not started here")


def _plain(endpoints: Sequence[EndpointReport], question: Asked, figure: str, reason: str) -> Ranking:
    return order_by(question, figure, {e.name: getattr(e, figure) for e in endpoints}, reason)


def _cost(cpu: Ranking, price_per_vcpu_hour: float) -> Ranking:
    """Cost of a million answers: processor seconds at a price."""
    factor = 1000 * price_per_vcpu_hour / 3600
    rows = tuple(Ranked(r.endpoint, r.tier, _times(r.figure, factor), r.times_best) for r in cpu.ranked)
    return replace(cpu, question="cost", figure="cost_per_million", ranked=rows)


def _times(figure: Estimate, factor: float) -> Estimate:
    low, high = (None if bound is None else bound * factor for bound in (figure.low, figure.high))
    return Estimate(figure.value * factor, low, high, figure.error, figure.degrees)


def _overheads(endpoints: Sequence[EndpointReport], in_process: Sequence[InProcess]) -> list[Overhead]:
    """The p50 of a single user over that of the artifact run in its floor_error process, one row at a time."""
    alone = {row.artifact: row for row in in_process if row.batch_size == 1}
    overheads = []
    for endpoint in endpoints:
        point, floor = endpoint.point(ALONE), alone.get(endpoint.artifact)
        if point is not None and point.validity == "VALID" and point.p50_ms is not None and floor is not None:
            factor = _factor(point.p50_ms, floor)
            overheads.append(Overhead(endpoint.name, factor, point.p50_ms.value, floor.latency_p50_ms))
    return overheads


def _factor(served: Estimate, floor: InProcess) -> Estimate:
    value = served.value / floor.latency_p50_ms
    if served.error is None or served.degrees is None:
        return Estimate(value)
    floor_error = 0.0
    if floor.latency_low_ms and floor.latency_high_ms:
        floor_error = math.log(floor.latency_high_ms / floor.latency_low_ms) / 2 / 1.96
    error = math.hypot(served.error, floor_error)
    return estimate(math.log(value), error, served.degrees, float(student.ppf(0.975, served.degrees)))


def _family(count: int) -> Family:
    if not count:
        return Family(ERROR_RATE, 0, "One start can't tell a difference from chance, so nothing is ranked.")
    statement = (
        f"All tiers and named comparisons hold together: the probability that any of the {count:,} intervals behind "
        f"them is wrong is at most {ERROR_RATE:.0%}."
    )
    return Family(ERROR_RATE, count, statement)
