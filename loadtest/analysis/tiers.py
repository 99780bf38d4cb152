"""The answers: endpoints in tiers for each question, and the named comparisons. Pure.

An endpoint is in the first tier where no difference from the best is seen; the best of the others leads the next tier,
and so on. Whatever is compared belongs to one family of intervals (`loadtest.analysis.family`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.analysis.family import figure as own_figure
from loadtest.analysis.family import ratio
from loadtest.analysis.figures import EndpointReport, Estimate, Point
from loadtest.analysis.levels import Fit
from loadtest.analysis.schema import Question, Ranked, Ranking, Unranked

Asked = Literal["throughput", "latency_alone", "latency_open", "memory", "cpu", "start", "size", "cost"]
About = Literal["protocol", "framework", "format", "server"]


@dataclass(frozen=True)
class Subject:
    """A question that is answered from a fit of all endpoints."""

    question: Asked
    scenario: str
    figure: str
    higher_is_better: bool
    fit: Fit
    values: Mapping[str, float]
    """Each endpoint's figure as it is shown."""
    unranked: tuple[Unranked, ...] = ()


def rank(subject: Subject, critical: float) -> Ranking:
    """The endpoints of a subject in tiers; each in its own where one start can't tell chance from a difference."""
    fit, sign = subject.fit, -1 if subject.higher_is_better else 1
    order = sorted(fit.names, key=lambda name: sign * fit.means[fit.index(name)])
    inferred, leader, tier, rows = fit.starts > 1, order[0] if order else "", 1, []
    for name in order:
        if name != leader and (not inferred or is_different(ratio(fit, name, leader, critical))):
            leader, tier = name, tier + 1
        shown = own_figure(fit, name, subject.values[name]) if inferred else Estimate(subject.values[name])
        best = None if name == order[0] or not inferred else ratio(fit, name, order[0], critical)
        rows.append(Ranked(name, tier, shown, best))
    return Ranking(
        subject.question, subject.scenario, subject.figure, subject.higher_is_better, inferred, tuple(rows),
        subject.unranked,
    )  # fmt: skip


def is_different(estimate: Estimate) -> bool:
    """Whether a ratio's interval excludes 1."""
    return estimate.low is not None and estimate.high is not None and not estimate.low <= 1 <= estimate.high


def order_by(
    question: Asked, figure: str, values: Mapping[str, float | None], reason: str, scenario: str = ""
) -> Ranking:
    """A ranking of figures without an interval, the least first: equal ones share a tier."""
    known = sorted((value, name) for name, value in values.items() if value is not None)
    tiers = {value: number for number, value in enumerate(sorted({value for value, _ in known}), 1)}
    rows = tuple(Ranked(name, tiers[value], Estimate(value)) for value, name in known)
    unranked = tuple(Unranked(name, reason) for name, value in values.items() if value is None)
    return Ranking(question, scenario, figure, False, False, rows, unranked)


def split_ranked(
    endpoints: Sequence[EndpointReport], scenario: str, figure: Callable[[Point], Estimate | None], missing: str
) -> tuple[dict[str, float], tuple[Unranked, ...]]:
    """The figures of the endpoints that may be ranked, and why the others may not."""
    values: dict[str, float] = {}
    unranked = []
    for endpoint in endpoints:
        point = endpoint.point(scenario)
        value = figure(point) if point is not None else None
        if point is None:
            unranked.append(Unranked(endpoint.name, "not measured"))
        elif point.validity == "INVALID":
            unranked.append(Unranked(endpoint.name, point.reasons[0]))
        elif value is None:
            unranked.append(Unranked(endpoint.name, missing))
        else:
            values[endpoint.name] = value.value
    return values, tuple(unranked)


def named_questions(
    endpoints: Sequence[EndpointReport], subjects: Sequence[Subject], critical: float
) -> tuple[Question, ...]:
    """Every pair that differs in protocol, framework, format or server alone, in the three questions of speed."""
    questions = []
    for subject, (one, other) in itertools.product(subjects, itertools.combinations(endpoints, 2)):
        about = differs_in(one, other)
        if about is None or subject.fit.starts < 2 or not {one.name, other.name} <= set(subject.fit.names):
            continue
        estimate = ratio(subject.fit, one.name, other.name, critical)
        better = (estimate.value > 1) == subject.higher_is_better
        outcome: Literal["a_better", "b_better", "no_difference"] = "a_better" if better else "b_better"
        if not is_different(estimate):
            outcome = "no_difference"
        question = subject.question
        if question in ("throughput", "latency_alone", "latency_open"):
            values = getattr(one, about), getattr(other, about)
            questions.append(Question(about, question, one.name, other.name, *values, estimate, outcome))
    return tuple(questions)


def differs_in(one: EndpointReport, other: EndpointReport) -> About | None:
    """The one thing in which two endpoints differ; None where it is more, or not known."""
    if one.artifact == other.artifact:
        keys: tuple[About, ...] = ("server", "protocol")
    else:
        keys = ("server", "protocol", "framework", "format")
    different = [key for key in keys if getattr(one, key) != getattr(other, key)]
    if len(different) != 1 or not (getattr(one, different[0]) and getattr(other, different[0])):
        return None
    return different[0]
