"""`.ci/check_report.py`: what the main job's report must hold; each promise broken once."""

from __future__ import annotations

import runpy
from dataclasses import replace

import pytest

from contract import ROOT

problems = runpy.run_path(str(ROOT / ".ci" / "check_report.py"))["problems"]


def change_point(report, **changes):
    first, *rest = report.endpoints
    return replace(
        report, endpoints=(replace(first, points=(replace(first.points[0], **changes), *first.points[1:])), *rest)
    )


def change_ranking(report, **changes):
    return replace(
        report, rankings=tuple(replace(r, **changes) if r.question == "throughput" else r for r in report.rankings)
    )


def without_a_load(report):
    first, *rest = report.endpoints
    return replace(report, endpoints=(replace(first, points=first.points[1:]), *rest))


def without_requests(report):
    first, *rest = report.endpoints
    points = tuple(replace(point, requests=0, reasons=("no time",)) for point in first.points)
    return replace(report, endpoints=(replace(first, points=points), *rest))


BROKEN = {
    "1 failures, 0 wrong answers": lambda report: change_point(report, failures=1),
    "0 failures, 2 wrong answers": lambda report: change_point(report, wrong_answers=2),
    "single_stream: neither a request nor a reason": lambda report: change_point(report, requests=0),
    "has no point of single_stream": without_a_load,
    "was not measured": without_requests,
    "at least 4 servers expected": lambda report: replace(report, endpoints=report.endpoints[:3]),
    "at least 12 endpoints expected": lambda report: replace(report, endpoints=report.endpoints[:3]),
    "the comparison was interrupted": lambda report: replace(report, complete=False),
    "no tiers of throughput": lambda report: replace(report, rankings=report.rankings[1:]),
    "neither ranked nor left out": lambda report: change_ranking(report, unranked=()),
    "two frameworks expected": lambda report: replace(report, training=report.training[:1]),
    "accuracy 0.97 is under 0.98": lambda report: replace(
        report, training=tuple(replace(run, test_accuracy=0.97) for run in report.training)
    ),
    "off by 0.1": lambda report: replace(report, artifacts=(replace(report.artifacts[0], max_abs_diff=0.1),)),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_promise_is_named(report, problem):
    assert any(problem in text for text in problems(BROKEN[problem](report)))


def test_a_good_report_has_no_problem(report):
    assert list(problems(report)) == []


def test_a_load_that_there_was_no_time_for_is_no_problem(report):
    unmeasured = {"requests": 0, "validity": "INVALID", "reasons": ("no time",), "p95_ms": None}
    slow = tuple(
        replace(e, points=tuple(replace(p, **unmeasured) if p.name == "open" else p for p in e.points))
        for e in report.endpoints
    )
    rankings = tuple(ranking for ranking in report.rankings if ranking.question != "latency_open")
    assert list(problems(replace(report, endpoints=slow, rankings=rankings))) == []
