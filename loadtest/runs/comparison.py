"""A comparison: rounds, in each of which every endpoint is visited once, in random order.

Reads the model repository; writes `artifacts/results/<comparison>/`: `comparison.json` (what was asked, and the
environment), `clients.json`, and per endpoint `<scenario>-<round>.json` with the raw `.npz` beside it. What is measured
stays when a run is interrupted; carrying out the same comparison again makes only the runs that are missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contract import MODEL_REPOSITORY, RESULTS, StageError, to_json, write_whole
from loadtest.plan import EndpointPlan, Run
from loadtest.runs.calibration import calibrate
from loadtest.runs.environment import environment, pinning
from loadtest.runs.generator_process import Generator
from loadtest.runs.managed_servers import ManagedServer, choose_servers, running
from loadtest.scenarios import OPEN_RATE_RPS, Open, Profile, from_fields, to_fields
from serving.repository import read_samples
from serving.server import Endpoint


@dataclass(frozen=True)
class Comparison:
    """What is compared and how: enough to do it again, or to go on with it."""

    name: str
    profile: Profile
    seed: int
    servers: tuple[str, ...]
    """Servers that are started and stopped here; none where `attached` endpoints are measured."""
    attached: tuple[Endpoint, ...] = ()
    only: tuple[str, ...] = ()
    """Beginnings of the names of the endpoints to measure; none is all."""
    target_ms: float = 5.0
    command: str = ""

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return RESULTS / self.name

    def write(self) -> None:
        """Write `comparison.json`."""
        server_cpus, client_cpus = pinning()
        fields = {
            **{key: getattr(self, key) for key in ("name", "seed", "servers", "only", "target_ms", "command")},
            "profile": self.profile.name,
            "rounds": self.profile.rounds,
            "warm_up_s": self.profile.warm_up_s,
            "scenarios": [to_fields(scenario) for scenario in self.profile.scenarios],
            "attached": [asdict(endpoint) for endpoint in self.attached],
            "environment": environment(server_cpus, client_cpus),
            "samples_sha256": read_samples().sha256,
        }
        write_whole(self.folder / "comparison.json", to_json(fields).encode())

    @classmethod
    def read(cls, name: str) -> Comparison:
        """The comparison called `name`, to go on with."""
        path = RESULTS / name / "comparison.json"
        if not path.is_file():
            known = ", ".join(sorted(p.parent.name for p in RESULTS.glob("*/comparison.json"))) or "none yet"
            raise StageError(f"no comparison {name!r} in artifacts/results: there are {known}")
        found = json.loads(path.read_bytes())
        scenarios = tuple(from_fields(fields) for fields in found["scenarios"])
        profile = Profile(found["profile"], found["rounds"], found["warm_up_s"], scenarios)
        return cls(
            name=name,
            profile=profile,
            seed=found["seed"],
            servers=tuple(found["servers"]),
            attached=tuple(Endpoint(**fields) for fields in found["attached"]),
            only=tuple(found["only"]),
            target_ms=found["target_ms"],
            command=found["command"],
        )


def run_comparison(comparison: Comparison) -> list[str]:
    """Make all runs that are missing; returns the names of the endpoints that failed their pre-flight."""
    comparison.write()
    hosts = choose_servers(comparison.servers, comparison.attached, comparison.only)
    endpoints = [endpoint for host in hosts for endpoint in host.endpoints]
    failed: set[str] = set()
    total = comparison.profile.rounds * len(comparison.profile.scenarios) * len(endpoints)
    with tqdm(total=total, desc="load test", unit="run", file=sys.stderr) as bar:
        if not (comparison.folder / "clients.json").is_file():
            bar.set_postfix_str("the client itself")
            seconds, rate_rps = _calibration(comparison.profile)
            calibrate(comparison.folder, endpoints, seconds, rate_rps, *pinning())
        for number in range(1, comparison.profile.rounds + 1):
            order = np.random.default_rng((comparison.seed, number))
            for index in order.permutation(len(hosts)):
                host = hosts[index]
                plans = [
                    _plan_of(comparison, host.endpoints[i], number) for i in order.permutation(len(host.endpoints))
                ]
                missing = [plan for plan in plans if plan.runs]
                bar.update(sum(len(comparison.profile.scenarios) - len(plan.runs) for plan in plans))
                if missing:
                    bar.set_postfix_str(f"round {number}, {host.name}")
                    failed |= _measure(comparison, host, missing, bar.update)
    return sorted(failed)


def _measure(
    comparison: Comparison, host: ManagedServer, plans: list[EndpointPlan], on_result: Callable[[int], Any]
) -> set[str]:
    """Start the server, make the runs, stop it; returns the endpoints that failed."""
    server_cpus, client_cpus = pinning()
    asked = json.loads((comparison.folder / "comparison.json").read_bytes())
    context = {
        "comparison": comparison.name,
        "command": comparison.command,
        "environment": asked["environment"],
        "settings": asdict(host.settings) if host.server else None,
    }
    with (
        Generator(comparison.folder, client_cpus) as generator,
        running(host, comparison.folder, server_cpus) as hosted,
    ):
        placed = [
            replace(
                plan,
                endpoint=hosted.endpoints[plan.endpoint.name],
                server_pid=hosted.pid,
                context={**context, "cold_start": hosted.cold.get(plan.endpoint.name)},
            )
            for plan in plans
        ]
        generator.run(placed, MODEL_REPOSITORY, on_result)
    results = [json.loads(Path(f"{plan.runs[0].path}.json").read_bytes()) for plan in plans]
    for result in results:
        if result.get("samples_sha256", asked["samples_sha256"]) != asked["samples_sha256"]:
            raise StageError("samples.npz changed during the comparison: begin it again with `make loadtest`")
    return {result["endpoint"]["name"] for result in results if "preflight_error" in result}


def _plan_of(comparison: Comparison, endpoint: Endpoint, number: int) -> EndpointPlan:
    """The runs at one endpoint that have no result yet, in the order of the profile."""
    folder = comparison.folder / endpoint.name.replace("/", "__")
    runs = [
        Run(scenario, number, comparison.seed + 1000 * number + index, str(folder / f"{scenario.name}-{number}"))
        for index, scenario in enumerate(comparison.profile.scenarios)
    ]
    missing = tuple(run for run in runs if not Path(f"{run.path}.json").is_file())
    return EndpointPlan(endpoint, missing, None, comparison.profile.warm_up_s, comparison.target_ms)


def _calibration(profile: Profile) -> tuple[float, float]:
    """Seconds of each calibration run, and the rate of its open loop."""
    rates = [scenario.rate_rps for scenario in profile.scenarios if isinstance(scenario, Open)]
    return min(2.0, 0.7 * max(scenario.seconds for scenario in profile.scenarios)), min(rates, default=OPEN_RATE_RPS)
