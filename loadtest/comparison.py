"""A comparison: rounds, in each of which every endpoint is visited once, in random order.

Reads the model repository; writes `artifacts/results/<comparison>/`: `comparison.json` (what was asked, and the
environment), `clients.json`, and per endpoint `<scenario>-<round>.json` with the raw `.npz` beside it. What is measured
stays when a run is interrupted; carrying out the same comparison again makes only the runs that are missing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contract import RESULTS, Manifest, StageError, to_json, write_whole
from loadtest.calibrate import calibrate
from loadtest.environment import environment, pinning
from loadtest.generator import generate
from loadtest.plan import Run, Visit
from loadtest.scenarios import Profile, Scenario, from_fields, to_fields
from serving.client import PredictionError, check
from serving.launcher import free_ports, start, wait_ready
from serving.repository import Samples, read_artifacts, read_samples
from serving.server import Endpoint, Server, Settings, find_server, list_servers


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
    settings: Mapping[str, Settings] | None = None
    """By server, where not its defaults."""

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
            "settings": {name: asdict(found) for name, found in (self.settings or {}).items()},
            "environment": environment(server_cpus, client_cpus),
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
            settings={server: Settings(**fields) for server, fields in found["settings"].items()},
        )


def carry_out(comparison: Comparison) -> list[str]:
    """Make all runs that are missing; returns the names of the endpoints that failed their pre-flight."""
    comparison.write()
    server_cpus, client_cpus = pinning()
    hosts = _hosts(comparison)
    endpoints = [endpoint for host in hosts for endpoint in host.endpoints]
    failed: list[str] = []
    total = comparison.profile.rounds * len(comparison.profile.scenarios) * len(endpoints)
    with tqdm(total=total, desc="load test", unit="run", file=sys.stderr) as bar:
        if not (comparison.folder / "clients.json").is_file():
            bar.set_postfix_str("the client itself")
            seconds, rate_rps = _calibration(comparison.profile)
            calibrate(comparison.folder, endpoints, seconds, rate_rps, server_cpus, client_cpus)
        for number in range(1, comparison.profile.rounds + 1):
            order = np.random.default_rng((comparison.seed, number))
            for index in order.permutation(len(hosts)):
                host = hosts[index]
                visits = [_visit(comparison, host.endpoints[i], number) for i in order.permutation(len(host.endpoints))]
                runs = sum(len(visit.runs) for visit in visits)
                visits = [visit for visit in visits if visit.runs]
                bar.update(len(host.endpoints) * len(comparison.profile.scenarios) - runs)
                if visits:
                    bar.set_postfix_str(f"round {number}, {host.name}")
                    failed += host.measure(comparison, visits, server_cpus, client_cpus, bar.update)
    return sorted(set(failed))


@dataclass(frozen=True)
class Host:
    """A server that is started for each round, or one that runs already (`server` is None then)."""

    name: str
    endpoints: list[Endpoint]
    server: Server | None = None
    engine: str = ""
    artifacts: Mapping[str, Manifest] | None = None
    settings: Settings = field(default_factory=Settings)

    def measure(
        self,
        comparison: Comparison,
        visits: list[Visit],
        server_cpus: Collection[int] | None,
        client_cpus: Collection[int] | None,
        on_result: Callable[[int], Any],
    ) -> list[str]:
        """Start the server, make the runs, stop it; returns the endpoints that failed."""
        with ExitStack() as stack:
            cold: dict[str, dict[str, float | None]] = {}
            if self.server is not None and self.artifacts is not None:
                visits, cold = _started(stack, comparison, self, self.server, self.artifacts, visits, server_cpus)
            context = {
                "comparison": comparison.name,
                "command": comparison.command,
                "environment": json.loads((comparison.folder / "comparison.json").read_bytes())["environment"],
                "settings": asdict(self.settings) if self.server else None,
            }
            visits = [
                replace(visit, context={**context, "cold_start": cold.get(visit.endpoint.name)}) for visit in visits
            ]
            generate(comparison.folder, visits, client_cpus, on_result=on_result)
        results = {visit.endpoint.name: Path(f"{visit.runs[0].path}.json") for visit in visits}
        return [name for name, path in results.items() if "preflight_error" in json.loads(path.read_bytes())]


def _started(
    stack: ExitStack,
    comparison: Comparison,
    host: Host,
    server: Server,
    artifacts: Mapping[str, Manifest],
    visits: list[Visit],
    cpus: Collection[int] | None,
) -> tuple[list[Visit], dict[str, dict[str, float | None]]]:
    """Start the server and wait until it is ready: the visits with its ports and process, and the cold start of each
    endpoint.
    """
    ports, folder = free_ports(server), comparison.folder / "run" / server.name
    folder.mkdir(parents=True, exist_ok=True)
    launch = server.launch(host.engine, artifacts, ports, host.settings, folder)
    running = start(launch, log=comparison.folder / "run" / f"{server.name}.log", cpus=cpus)
    stack.callback(running.stop)
    waited = wait_ready(running, server, artifacts, ports)
    at = {endpoint.name: endpoint for endpoint in server.endpoints(artifacts, ports, host.engine)}
    pid = None if host.engine == "docker" else running.pid  # a container is no child of its client
    visits = [replace(visit, endpoint=at[visit.endpoint.name], server_pid=pid) for visit in visits]
    samples, cold = read_samples(), {}
    for visit in visits:
        first = _first_answer_s(visit.endpoint, artifacts[visit.endpoint.artifact], samples)
        cold[visit.endpoint.name] = {**waited, "first_answer_s": None if first is None else waited["ready_s"] + first}
    return visits, cold


def _first_answer_s(endpoint: Endpoint, manifest: Manifest, samples: Samples) -> float | None:
    """Seconds that the very first prediction takes, encoding left out; None where it fails (the
    pre-flight says why).
    """
    try:
        return check(endpoint, manifest, samples, [0]).latency_ms / 1e3
    except PredictionError:
        return None


def _visit(comparison: Comparison, endpoint: Endpoint, number: int) -> Visit:
    """The runs at one endpoint that have no result yet, in the order of the profile."""
    folder = comparison.folder / endpoint.name.replace("/", "__")
    runs = [
        Run(scenario, number, comparison.seed + 1000 * number + index, str(folder / f"{_stem(scenario)}-{number}"))
        for index, scenario in enumerate(comparison.profile.scenarios)
    ]
    missing = tuple(run for run in runs if not Path(f"{run.path}.json").is_file())
    return Visit(endpoint, missing, None, comparison.profile.warm_up_s, comparison.target_ms)


def _stem(scenario: Scenario) -> str:
    return scenario.name


def _hosts(comparison: Comparison) -> list[Host]:
    def wanted(endpoints: list[Endpoint]) -> list[Endpoint]:
        return [e for e in endpoints if not comparison.only or e.name.startswith(comparison.only)]

    if comparison.attached:
        hosts = [Host("attached", wanted(list(comparison.attached)))]
    else:
        hosts = [_host(name, comparison, wanted) for name in comparison.servers]
    hosts = [host for host in hosts if host.endpoints]
    if not hosts:
        raise StageError(f"no endpoint begins with {' or '.join(comparison.only)}: `python -m serving list` names them")
    return hosts


def _host(name: str, comparison: Comparison, wanted: Callable[[list[Endpoint]], list[Endpoint]]) -> Host:
    server = find_server(name)
    engine = server.engine(os.environ.get(f"{name.upper()}_ENGINE"))
    artifacts = {key: found for key, found in read_artifacts().items() if found.format in server.formats}
    if not artifacts:
        raise StageError(f"{name}: no artifact of format {' or '.join(server.formats)}: run `make export`")
    settings = (comparison.settings or {}).get(name, server.grid[0])
    endpoints = wanted(server.endpoints(artifacts, server.ports, engine))
    return Host(name, endpoints, server, engine, artifacts, settings)


def _calibration(profile: Profile) -> tuple[float, float]:
    """Seconds of each calibration run, and the rate of its open loop."""
    rates = [scenario.rate_rps for scenario in profile.scenarios if hasattr(scenario, "rate_rps")]
    return min(2.0, max(scenario.seconds for scenario in profile.scenarios)), min(rates, default=250.0)


def every_server() -> tuple[str, ...]:
    """All servers there are."""
    return tuple(list_servers())
