"""Checks (a) and (b) of the instrument: does it see differences where there are none, and find those
that are planted?
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contract import StageError
from loadtest.analysis.verdicts import Metric, compare, metrics_for
from loadtest.plan import EndpointPlan, FixedResponse, Run
from loadtest.runs.calibration import null_server
from loadtest.runs.environment import pinning
from loadtest.runs.generator_process import run_generator
from loadtest.runs.managed_servers import find_managed_server, running
from loadtest.scenarios import Closed
from serving.server import Call, Endpoint

ROUNDS = 5
SECONDS = 0.3
WARM_UP_S = 0.1
SERVICE_MS = 1.0
SLOWDOWNS = {0.10: 0.9, 0.25: 1.0}
"""Added service time, and the share of the comparisons that has to find it."""
METRICS = tuple(metric for metric in metrics_for("p50") if metric.scenario != "open")
SCENARIOS = (Closed(1, SECONDS), Closed(32, SECONDS))


@dataclass(frozen=True)
class Side:
    """One of the two names of a comparison."""

    name: str
    endpoint: Endpoint
    pid: int | None
    fixed: FixedResponse | None = None


def against_itself(folder: Path, endpoint: str, comparisons: int) -> dict[str, Any]:
    """Compare one endpoint with itself, on a freshly started server each time; a difference seen is false."""
    server_cpus, client_cpus = pinning()
    host = find_managed_server(endpoint.split("/", maxsplit=1)[0], [endpoint])
    if not host.endpoints:
        raise StageError(f"no endpoint {endpoint!r}: `python -m serving list` names them")
    outcomes = []
    for number in tqdm(range(comparisons), desc="A/A", file=sys.stderr):
        with running(host, folder, server_cpus) as hosted:
            place = hosted.endpoints[host.endpoints[0].name]
            sides = [Side(name, place, hosted.pid) for name in ("a", "b")]
            outcomes.append(_compare(folder / f"{number:02}", [sides] * ROUNDS, client_cpus, seed=number))
    false = sum(_differs(outcome) for outcome in outcomes)
    return {
        "outcome": "pass" if false <= max(1, comparisons // 20) else "fail",
        "text": f"{false} of {comparisons} comparisons of {endpoint} with itself saw a difference",
        "false_differences": false,
        "comparisons": comparisons,
        "rounds": ROUNDS,
        "endpoint": endpoint,
        "verdicts": outcomes,
    }


def planted_slowdowns(folder: Path, _endpoint: str, comparisons: int) -> dict[str, Any]:
    """Compare null servers of which one works longer on every request; freshly started for every round."""
    found, texts = {}, []
    for share, needed in SLOWDOWNS.items():
        numbers = tqdm(range(max(1, comparisons // 2)), desc=f"+{share:.0%}", file=sys.stderr)
        outcomes = [_planted(folder / f"{share:.2f}-{number:02}", share, number) for number in numbers]
        hits = sum(_finds_slower(outcome) for outcome in outcomes)
        ratios = [v["ratio_low"] for outcome in outcomes for v in outcome] + [
            v["ratio_high"] for outcome in outcomes for v in outcome
        ]
        fields = {"found": hits, "comparisons": len(outcomes), "ratio_low": min(ratios), "ratio_high": max(ratios)}
        passed = hits >= needed * len(outcomes)
        found[f"+{share:.0%}"] = {**fields, "outcome": "pass" if passed else "fail", "verdicts": outcomes}
        texts.append(f"+{share:.0%} service time found in {hits} of {len(outcomes)}")
    good = all(one["outcome"] == "pass" for one in found.values())
    return {
        "outcome": "pass" if good else "fail",
        "text": ", ".join(texts),
        "service_ms": SERVICE_MS,
        "rounds": ROUNDS,
        "slowdowns": found,
    }


def _planted(folder: Path, share: float, seed: int) -> list[dict[str, Any]]:
    server_cpus, client_cpus = pinning()
    answer = b'{"outputs": []}'
    fixed = FixedResponse(
        Call("/v2/models/null/infer", b"0" * 3000, {"Content-Type": "application/octet-stream"}), answer
    )
    with ExitStack() as stack:
        rounds = []
        for number in range(ROUNDS):
            sides = []
            for name, service_ms in (("fast", SERVICE_MS), ("slow", SERVICE_MS * (1 + share))):
                options = ("--service-ms", str(service_ms))
                place = folder / f"{name}-{number}"
                process, port = stack.enter_context(null_server(place, "rest-binary", answer, server_cpus, options))
                sides.append(Side(name, Endpoint("null", name, "rest-binary", port), process.pid, fixed))
            rounds.append(sides)
        return _compare(folder, rounds, client_cpus, seed)


def _compare(
    folder: Path, rounds: Sequence[Sequence[Side]], client_cpus: Collection[int] | None, seed: int
) -> list[dict[str, Any]]:
    """One comparison of two sides, in random order in each round: a verdict per metric."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    plans = []
    for number, sides in enumerate(rounds, 1):
        for index in np.random.default_rng((seed, number)).permutation(len(sides)):
            side = sides[index]
            path = str(folder / "runs" / side.name)
            runs = tuple(Run(s, number, seed, f"{path}/{s.name}-{number}") for s in SCENARIOS)
            plans.append(EndpointPlan(side.endpoint, runs, side.pid, WARM_UP_S, fixed=side.fixed))
    if not run_generator(folder, plans, client_cpus):
        raise StageError(f"an endpoint of the crosscheck failed its pre-flight: see {folder}/generator.log")
    names = [side.name for side in rounds[0]]
    verdicts = []
    for metric in METRICS:
        figures = {name: [_figure(folder, name, metric, number) for number in range(1, ROUNDS + 1)] for name in names}
        verdicts += compare(metric, figures, {}, len(METRICS))
    return verdicts


def _figure(folder: Path, name: str, metric: Metric, number: int) -> float:
    result = json.loads((folder / "runs" / name / f"{metric.scenario}-{number}.json").read_bytes())
    if result["failures"] or result["wrong_answers"]:
        raise StageError(f"{name}: {result['explanations'][0]}")
    value = result["throughput_rps"] if metric.name == "throughput_rps" else result["latency_ms"]["p50"]
    return float(value)


def _differs(verdicts: Sequence[dict[str, Any]]) -> bool:
    return any(verdict["outcome"] != "no_difference" for verdict in verdicts)


def _finds_slower(verdicts: Sequence[dict[str, Any]]) -> bool:
    """Whether the slow side was found the worse one, by some metric, and by none the better."""
    outcomes = {verdict["outcome"] for verdict in verdicts}  # a is fast, b is slow
    return "a_better" in outcomes and "b_better" not in outcomes
