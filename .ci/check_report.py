"""Holds the report of the main job to what the README promises: `python .ci/check_report.py report.json`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from contract import StageError
from loadtest.analysis.schema import Report, all_points

SERVERS, ENDPOINTS = 4, 12
"""What the default comparison has at least."""
ACCURACY, DIFFERENCE = 0.98, 1e-5
"""What both trainings reach, and how far an exact artifact may answer from its model."""


def problems(report: Report) -> Iterator[str]:
    """What is wrong with the report, in words; nothing where nothing is."""
    servers = {endpoint.server for endpoint in report.endpoints}
    if len(servers) < SERVERS:
        yield f"at least {SERVERS} servers expected, measured {sorted(servers)}"
    if len(report.endpoints) < ENDPOINTS:
        yield f"at least {ENDPOINTS} endpoints expected, measured {len(report.endpoints)}"
    if not report.complete:
        yield "the comparison was interrupted"
    yield from _models(report)
    yield from _answers(report)
    yield from _rankings(report)


def _models(report: Report) -> Iterator[str]:
    if {run.framework for run in report.training} != {"tensorflow", "pytorch"}:
        yield f"two frameworks expected, trained {[run.framework for run in report.training]}"
    for run in report.training:
        if run.test_accuracy is None or run.test_accuracy < ACCURACY:
            yield f"{run.framework}: accuracy {run.test_accuracy} is under {ACCURACY}"
    for artifact in report.artifacts:
        if artifact.max_abs_diff is None or artifact.max_abs_diff > DIFFERENCE:
            yield f"{artifact.name}: off by {artifact.max_abs_diff}"


def _answers(report: Report) -> Iterator[str]:
    """Every load was run or says why not: a small profile on a slow machine has no time for all of them."""
    for endpoint in report.endpoints:
        scenarios = {point.name for point in endpoint.points}
        if missing := [name for name in report.design.scenarios if name not in scenarios]:
            yield f"{endpoint.name} has no point of {', '.join(missing)}"
        if not any(point.requests for point in endpoint.points):
            yield f"{endpoint.name} was not measured"
    for endpoint, point in all_points(report.endpoints):
        if not point.requests and not point.reasons:
            yield f"{endpoint.name} {point.name}: neither a request nor a reason"
        if point.failures or point.wrong_answers:
            yield f"{endpoint.name} {point.name}: {point.failures} failures, {point.wrong_answers} wrong answers"


def _rankings(report: Report) -> Iterator[str]:
    """Every question that a valid figure answers has tiers, and every endpoint a place in them or a reason for none."""
    names = {endpoint.name for endpoint in report.endpoints}
    points = [point for _, point in all_points(report.endpoints) if point.validity == "VALID"]
    stated = {
        "throughput": any(point.throughput_rps and point.name == f"closed-{report.design.users}" for point in points),
        "latency_alone": True,
        "latency_open": any(point.p95_ms and point.name == "open" for point in points),
    }
    for question, is_stated in stated.items():
        ranking = report.ranking(question)
        if ranking is None or not ranking.ranked:
            if is_stated:
                yield f"no tiers of {question}"
            continue
        placed = [*(row.endpoint for row in ranking.ranked), *(row.endpoint for row in ranking.unranked)]
        if sorted(placed) != sorted(names):
            yield f"{question}: {sorted(names.symmetric_difference(placed))} neither ranked nor left out with a reason"


def main(path: str) -> int:
    """Print the problems of the report at `path`; 1 if there are any."""
    try:
        report = Report.read(Path(path))
    except StageError as error:
        print(error)
        return 1
    ranking = report.ranking("throughput")
    tiers = len(ranking.tiers()) if ranking and ranking.inferred else "no"
    good = f"{path}: {len(report.endpoints)} endpoints, {tiers} tiers of throughput, no failure, no wrong answer"
    wrong = list(problems(report))
    print("\n".join(wrong) or good)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
