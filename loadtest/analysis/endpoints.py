"""The endpoints' entries of the report: what was measured of each, what could not be, and why. Pure but for reading the
raw times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from loadtest.analysis.aggregate import Kind, describe_point
from loadtest.analysis.facts import Artifact, Client
from loadtest.analysis.family import figure as own_figure
from loadtest.analysis.figures import ColdStart, EndpointReport, Estimate, Point
from loadtest.analysis.fits import Fitted, Measured
from loadtest.analysis.levels import Fit, from_starts
from loadtest.analysis.result import Result
from loadtest.analysis.schedule import Blocks, Schedule
from loadtest.scenarios import Scenario, to_fields

Runs = Mapping[str, Measured]
"""By scenario."""


@dataclass(frozen=True)
class Surroundings:
    """What all endpoints of a comparison have in common."""

    scenarios: tuple[Scenario, ...]
    artifacts: tuple[Artifact, ...]
    clients: tuple[Client, ...]
    stands_in_for: Mapping[str, str]
    """By server: the genuine program."""
    schedule: Schedule | None


def describe_endpoints(
    folder: Path, measured: Mapping[str, Runs], fits: Mapping[str, Mapping[str, Fitted | None]], around: Surroundings
) -> list[EndpointReport]:
    """Every endpoint of the comparison, those that gave no right answer among them."""
    starts = cold_start_fit(measured)
    rows = [_endpoint(name, runs, fits, starts, around) for name, runs in measured.items()]
    probes = [Result.read(path) for path in sorted((folder / "probe").glob("*.json"))]
    refused = [result for result in probes if result.preflight_error and result.endpoint.name not in measured]
    for result in refused:
        point = describe_point(result.endpoint.name, Measured([result], [Path()]), {}, None)
        rows.append(_bare(result, around, [point]))
    return sorted(rows, key=lambda row: row.name)


def cold_start_fit(measured: Mapping[str, Runs]) -> Fit | None:
    """The seconds to the first right answer over the starts; None where servers were not started here, or once."""
    seconds: dict[str, dict[int, float]] = {}
    for name, runs in measured.items():
        for result in (result for each in runs.values() for result in each.results):
            if result.cold_start and result.cold_start.first_answer_s:
                seconds.setdefault(name, {})[result.round] = result.cold_start.first_answer_s
    rounds = set.intersection(*(set(by_round) for by_round in seconds.values())) if seconds else set[int]()
    if len(rounds) < 2:
        return None
    rows = [[by_round[number] for by_round in seconds.values()] for number in sorted(rounds)]
    return from_starts(list(seconds), np.array(rows))


def _endpoint(
    name: str, runs: Runs, fits: Mapping[str, Mapping[str, Fitted | None]], starts: Fit | None, around: Surroundings
) -> EndpointReport:
    results = [result for measured in runs.values() for result in measured.results]
    made = [result for result in results if not result.preflight_error] or results
    last = made[-1]
    client = next((client for client in around.clients if client.protocol == last.endpoint.protocol), None)
    points = [describe_point(name, each, fits[scenario], client) for scenario, each in runs.items()]
    points += _left_out(name, runs, around)
    order = [scenario.name for scenario in around.scenarios]
    peaks = [result.server.peak_rss_bytes for result in made if result.server.peak_rss_bytes]
    steady = [result.server.rss_bytes for result in made if result.server.rss_bytes]
    return replace(
        _bare(last, around, sorted(points, key=lambda point: order.index(point.name))),
        peak_rss_bytes=max(peaks) if peaks else None,
        steady_rss_bytes=round(float(np.median(steady))) if steady else None,
        threads=last.server.threads,
        request_bytes=_whole(last.request_bytes),
        request_wire_bytes=_whole(last.request_wire_bytes),
        response_bytes=_whole(last.response_bytes),
        cold_start=_cold_start(name, made, starts),
        samples_sha256=last.samples_sha256,
    )


def _bare(result: Result, around: Surroundings, points: Sequence[Point]) -> EndpointReport:
    """An endpoint with what its name and artifact say."""
    of = result.endpoint
    artifact = next((artifact for artifact in around.artifacts if artifact.name == of.artifact), None)
    return EndpointReport(
        name=of.name,
        server=of.server,
        engine=of.engine,
        artifact=of.artifact,
        protocol=of.protocol,
        framework=artifact.framework if artifact else "",
        format=artifact.format if artifact else "",
        settings=result.settings,
        points=tuple(points),
        size_bytes=artifact.size_bytes if artifact else None,
        stands_in_for=around.stands_in_for.get(of.server, ""),
    )


def _left_out(name: str, runs: Runs, around: Surroundings) -> list[Point]:
    """Points for the runs that the schedule had no time for."""
    planned = around.schedule.blocks.get(name, ()) if around.schedule else ()
    scenarios = {scenario.name: scenario for scenario in around.scenarios}
    return [_unmeasured(scenarios[row.scenario], row) for row in planned if not row.count and row.scenario not in runs]


def _unmeasured(scenario: Scenario, row: Blocks) -> Point:
    fields = to_fields(scenario)
    return Point(
        name=scenario.name,
        kind=cast("Kind", fields["kind"]),
        users=scenario.users,
        batch=int(fields.get("batch", 1)),
        starts=(),
        blocks=0,
        block_s=row.seconds,
        requests=0,
        failures=0,
        wrong_answers=0,
        validity="INVALID",
        reasons=(row.reason,),
    )


def _cold_start(name: str, results: Sequence[Result], starts: Fit | None) -> ColdStart | None:
    by_round = {result.round: result.cold_start for result in results if result.cold_start}
    if not by_round:
        return None
    live, ready, first = (
        _median([getattr(cold, key) for cold in by_round.values()]) for key in ("live_s", "ready_s", "first_answer_s")
    )
    if first is None:
        return ColdStart(live, ready, None)
    known = starts is not None and name in starts.names
    return ColdStart(live, ready, own_figure(starts, name, first) if starts and known else Estimate(first))


def _median(values: Sequence[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _whole(size: float | None) -> int | None:
    """A mean size in whole bytes."""
    return None if size is None else round(size)
