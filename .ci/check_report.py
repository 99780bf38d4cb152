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
QUESTIONS = ("throughput", "latency_alone", "latency_open")


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
    for endpoint in report.endpoints:
        scenarios = {point.name for point in endpoint.points}
        if missing := [name for name in report.design.scenarios if name not in scenarios]:
            yield f"{endpoint.name} was not measured under {', '.join(missing)}"
    for endpoint, point in all_points(report.endpoints):
        if not point.requests:
            yield f"{endpoint.name} {point.name}: no request"
        if point.failures or point.wrong_answers:
            yield f"{endpoint.name} {point.name}: {point.failures} failures, {point.wrong_answers} wrong answers"


def _rankings(report: Report) -> Iterator[str]:
    """Every endpoint has its place or a reason why it has none."""
    names = {endpoint.name for endpoint in report.endpoints}
    for question in QUESTIONS:
        ranking = report.ranking(question)
        if ranking is None or not ranking.ranked:
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
    tiers = len(ranking.tiers()) if ranking else 0
    good = f"{path}: {len(report.endpoints)} endpoints, {tiers} tiers of throughput, no failure, no wrong answer"
    wrong = list(problems(report))
    print("\n".join(wrong) or good)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
