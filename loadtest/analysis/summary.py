"""Makes the report of a comparison from its results.

Reads `<workspace>/results/<comparison>/` and what stands beside it (`loadtest.analysis.beside`). Writes nothing;
`loadtest.report.command` does.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract import RESULTS, StageError, shown
from loadtest.analysis import beside
from loadtest.analysis.answers import answer
from loadtest.analysis.endpoints import Surroundings, cold_start_fit, describe_endpoints
from loadtest.analysis.facts import Artifact, Environment
from loadtest.analysis.figures import EndpointReport
from loadtest.analysis.fits import Fitted, Measured, fit_figure
from loadtest.analysis.result import Result
from loadtest.analysis.schedule import Schedule
from loadtest.analysis.schema import Design, Report
from loadtest.analysis.steadiness import judge_machine
from loadtest.analysis.training_modes import read_training_modes
from loadtest.fields import read_fields
from loadtest.scenarios import Closed, Scenario, from_fields

PRICE_PER_VCPU_HOUR = 0.04
"""Where PRICE does not say another: about what the large clouds ask on demand for a general-purpose machine, in USD."""
FIGURES = ("throughput_rps", "p50", "p90", "p95", "p99", "cpu_s_per_1000")


def summarise(results: Path = RESULTS) -> Report:
    """The report of the comparison in `results`, or of the latest one below it."""
    folder = find_comparison(results)
    comparison = json.loads((folder / "comparison.json").read_bytes())
    if "rate_rps" not in comparison:
        raise StageError(f"{shown(folder)} is of an older version: measure again with `make compare`")
    scenarios = [from_fields(fields) for fields in comparison["scenarios"]]
    measured = read_results(folder, scenarios)
    if not measured:
        raise StageError(f"{shown(folder)} has no results yet: run `make loadtest RESUME={folder.name}`")
    schedule = Schedule.read(folder / "schedule.json")
    around = Surroundings(
        scenarios=tuple(scenarios),
        artifacts=tuple(read_fields(Artifact, fields) for fields in comparison["artifacts"]),
        clients=beside.read_clients(folder),
        stands_in_for=comparison["stands_in_for"],
        schedule=schedule,
    )
    fits = fit_all(measured, scenarios)
    endpoints = describe_endpoints(folder, measured, fits, around)
    used = {endpoint.artifact for endpoint in endpoints}
    in_process = beside.read_in_process({a.name: a.files_sha256 for a in around.artifacts if a.name in used})
    price = float(os.environ.get("PRICE") or PRICE_PER_VCPU_HOUR)
    busiest = max((scenario.users for scenario in scenarios if isinstance(scenario, Closed)), default=0)
    answers = answer(endpoints, fits, cold_start_fit(measured), in_process, f"closed-{busiest}", price)
    names = {endpoint.name for endpoint in endpoints}
    return Report(
        comparison=comparison["name"],
        generated=datetime.now(UTC).isoformat(timespec="seconds"),
        command=comparison["command"],
        complete=_is_complete(schedule, measured),
        design=_design(comparison, schedule, busiest, endpoints, measured),
        environment=read_fields(Environment, comparison["environment"]),
        family=answers.family,
        steadiness=judge_machine(fits, measured),
        endpoints=tuple(endpoints),
        rankings=answers.rankings,
        questions=answers.questions,
        overheads=answers.overheads,
        clients=around.clients,
        in_process=in_process,
        artifacts=tuple(artifact for artifact in around.artifacts if artifact.name in used),
        training=beside.describe_training({artifact.framework for artifact in around.artifacts}),
        training_modes=read_training_modes(RESULTS / "training.json"),
        slo=beside.read_rates(names),
        conformance=beside.read_conformance(names),
        price_per_vcpu_hour=price,
    )


def find_comparison(results: Path) -> Path:
    """`results` itself if it is a comparison, else the latest one below it."""
    if (results / "comparison.json").is_file():
        return results
    comparisons = sorted(results.glob("*/comparison.json"), key=lambda path: path.stat().st_mtime)
    if not comparisons:
        raise StageError(f"no comparison in {shown(results)}: run `make loadtest`")
    return comparisons[-1].parent


def read_results(folder: Path, scenarios: Sequence[Scenario]) -> dict[str, dict[str, Measured]]:
    """The results of a comparison by endpoint and scenario, each with its rounds in order."""
    order = [scenario.name for scenario in scenarios]
    results = [(Result.read(path), path.with_suffix(".npz")) for path in sorted(folder.glob("*__*__*/*.json"))]
    results.sort(key=lambda pair: (order.index(pair[0].scenario_name), pair[0].round))
    measured: dict[str, dict[str, Measured]] = {}
    for result, raw in results:
        runs = measured.setdefault(result.endpoint.name, {}).setdefault(result.scenario_name, Measured())
        runs.results.append(result)
        runs.raws.append(raw)
    return measured


def fit_all(
    measured: Mapping[str, Mapping[str, Measured]], scenarios: Sequence[Scenario]
) -> dict[str, dict[str, Fitted | None]]:
    """Every figure of all endpoints under each scenario."""
    fits: dict[str, dict[str, Fitted | None]] = {}
    for scenario in scenarios:
        runs = {name: by[scenario.name] for name, by in measured.items() if scenario.name in by}
        healthy = {name: each for name, each in runs.items() if each.blocks}
        fits[scenario.name] = {figure: fit_figure(healthy, figure) for figure in FIGURES}
    return fits


def _is_complete(schedule: Schedule | None, measured: Mapping[str, Mapping[str, Measured]]) -> bool:
    """Whether every endpoint has every run of the schedule."""
    if schedule is None:
        return False
    return all(
        row.scenario in measured.get(name, {}) and len(measured[name][row.scenario].results) == schedule.starts
        for name, rows in schedule.blocks.items()
        for row in rows
        if row.count
    )


def _design(
    comparison: Mapping[str, Any],
    schedule: Schedule | None,
    busiest: int,
    endpoints: Sequence[EndpointReport],
    measured: Mapping[str, Mapping[str, Measured]],
) -> Design:
    points = [point for endpoint in endpoints for point in endpoint.points if point.blocks]
    results = [result for runs in measured.values() for each in runs.values() for result in each.results]
    return Design(
        profile=comparison["profile"],
        seed=comparison["seed"],
        starts=len({result.round for result in results}),
        blocks=max((point.blocks for point in points), default=0),
        block_s=min((point.block_s for point in points), default=0.0),
        groups=schedule.groups if schedule else (),
        target_ms=comparison["target_ms"],
        open_load=schedule.open_load if schedule else None,
        scenarios=tuple(from_fields(fields).name for fields in comparison["scenarios"]),
        users=busiest,
        elapsed_s=sum(use.elapsed_s for result in results for use in result.blocks) or None,
    )


def main(words: Sequence[str]) -> int:
    """Print the report of a comparison as JSON."""
    parser = argparse.ArgumentParser(prog="python -m loadtest summary", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of one comparison, or of all: the latest")
    print(summarise(parser.parse_args(words).results).to_json(), end="")
    return 0
