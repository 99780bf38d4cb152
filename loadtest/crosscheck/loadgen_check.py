"""Check (d): MLPerf LoadGen measures the same endpoint under the same load, with its own clock and percentiles."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contract import StageError
from loadtest.plan import EndpointPlan, Run
from loadtest.runs.environment import pinning
from loadtest.runs.generator_process import run_generator, run_to_end
from loadtest.runs.managed_servers import RunningServer, find_managed_server, running
from loadtest.scenarios import Closed, Open, Scenario
from serving.server import Endpoint

REPEATS = 24
"""A p99 of one turn is off by a quarter, now up, now down; the median of so many is not."""
SECONDS = 1.5
RATE_RPS = 500.0
BOUNDS = {"p50": 0.10, "p99": 0.15}


def against_loadgen(folder: Path, endpoint: str, _profile: str) -> dict[str, Any]:
    """LoadGen's SingleStream and Server against our single_stream and open, turn by turn."""
    server_cpus, client_cpus = pinning()
    host = find_managed_server(endpoint.split("/", maxsplit=1)[0], [endpoint])
    pairs: dict[str, Scenario] = {"single_stream": Closed(1, SECONDS), "server": Open(RATE_RPS, SECONDS)}
    figures: dict[str, dict[str, list[dict[str, float]]]] = {name: {"ours": [], "loadgen": []} for name in pairs}
    with running(host, folder, server_cpus) as hosted:
        place = hosted.endpoints[endpoint]
        for number in tqdm(range(REPEATS), desc="LoadGen", file=sys.stderr):
            for name, scenario in pairs.items():
                turns: list[tuple[str, Callable[[], dict[str, float]]]] = [
                    ("ours", partial(_ours, folder, hosted, place, scenario, number, client_cpus)),
                    ("loadgen", partial(_loadgen, folder / f"{name}-{number}", place, name, client_cpus)),
                ]
                for tool, turn in turns[:: 1 if number % 2 else -1]:  # neither always comes first
                    figures[name][tool].append(turn())
    compared = {name: _agreement(tools) for name, tools in figures.items()}
    good = all(abs(off[key]) <= bound for off in compared.values() for key, bound in BOUNDS.items())
    text = "; ".join(
        f"{name}: ours/LoadGen {off['p50']:+.1%} at p50, {off['p99']:+.1%} at p99" for name, off in compared.items()
    )
    fields = {"endpoint": endpoint, "rate_rps": RATE_RPS, "seconds": SECONDS, "repeats": REPEATS, "bounds": BOUNDS}
    return {"outcome": "pass" if good else "fail", "text": text, **fields, "off": compared, "figures": figures}


def _ours(
    folder: Path, hosted: RunningServer, place: Endpoint, scenario: Scenario, number: int, cpus: Collection[int] | None
) -> dict[str, float]:
    path = folder / "ours" / f"{scenario.name}-{number}"
    path.with_suffix(".json").unlink(missing_ok=True)
    plan = EndpointPlan(place, (Run(scenario, number, 100 + number, str(path)),), hosted.pid, 0.3)
    if not run_generator(folder, [plan], cpus):
        raise StageError(f"{place.name} failed its pre-flight: see {folder}/generator.log")
    result = json.loads(path.with_suffix(".json").read_bytes())
    return {
        "p50_ms": result["latency_ms"]["p50"],
        "p99_ms": result["latency_ms"]["p99"],
        "rps": result["throughput_rps"],
    }


def _loadgen(folder: Path, place: Endpoint, scenario: str, cpus: Collection[int] | None) -> dict[str, float]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "loadtest.crosscheck.loadgen", json.dumps(asdict(place)), "--scenario", scenario]
    argv += ["--rate", str(RATE_RPS), "--seconds", str(SECONDS), "--folder", str(folder)]
    figures: dict[str, float] = json.loads(run_to_end(argv, folder / "log", cpus, 60.0).splitlines()[-1])
    return figures


def _agreement(tools: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """How far ours is from theirs, as a share."""
    shares = {}
    for key in BOUNDS:
        ours, theirs = ([turn[f"{key}_ms"] for turn in tools[tool]] for tool in ("ours", "loadgen"))
        shares[key] = _paired(ours, theirs)
    return shares


def _paired(ours: list[float], theirs: list[float]) -> float:
    """The median ratio of neighbouring turns, less one: a machine whose speed drifts drifts under both."""
    return float(np.median(np.divide(ours, theirs)) - 1)
