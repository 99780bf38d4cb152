"""A comparison: every server is started several times, and in each round all endpoints take turns block by block.

Reads the model repository; writes `<workspace>/results/<comparison>/`: `comparison.json` (what was asked, and the
environment), `clients.json`, `schedule.json` (how many blocks of which length), and per endpoint
`<scenario>-<round>.json` with the raw `.npz` beside it. What is measured stays when a run is interrupted; running the
same comparison again makes only what is missing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from contract import MODEL_REPOSITORY, RESULTS, StageError, to_json, write_whole
from loadtest.analysis.beside import describe_artifacts
from loadtest.analysis.result import Result
from loadtest.analysis.schedule import Blocks, Schedule
from loadtest.plan import EndpointPlan, Run
from loadtest.runs.calibration import calibrate
from loadtest.runs.environment import environment, pinning
from loadtest.runs.generator_process import Generator
from loadtest.runs.in_process import measure_missing
from loadtest.runs.managed_servers import ManagedServer, Together, choose_servers, started_groups
from loadtest.runs.schedule import Probe, plan_blocks, starts_for
from loadtest.scenarios import Closed, Open, Profile, Scenario, at_rate, find_profile, to_fields
from serving.repository import read_samples
from serving.server import Endpoint

PROBE = Closed(1, 0.25)
CALIBRATION_S, CALIBRATION_RPS = 0.5, 250.0
RESERVE = 0.05
"""Share of the time kept for what takes longer than it did the first time."""
LEAST = 0.4
"""Share of the time that is measured in, however long the servers took to start."""


@dataclass(frozen=True)
class Comparison:
    """What is compared and how: enough to do it again, or to go on with it."""

    name: str
    profile: Profile
    seed: int
    servers: tuple[str, ...]
    """Servers that are started and stopped here; none is all that have an artifact, or where `attached` ones are."""
    attached: tuple[Endpoint, ...] = ()
    only: tuple[str, ...] = ()
    """Names of the endpoints to measure, or their beginnings; none is all."""
    target_ms: float = 5.0
    rate_rps: float = 0.0
    """Of the open load; 0: a share of what the weakest endpoint bears."""
    starts: int = 0
    """0: as many as the profile says for so many endpoints."""
    command: str = ""

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return RESULTS / self.name

    def write(self, servers: Sequence[ManagedServer]) -> None:
        """Write `comparison.json`."""
        stand_ins = {s.name: s.server.stands_in_for.get(s.engine, "") for s in servers if s.server is not None}
        server_cpus, client_cpus = pinning()
        keys = ("name", "seed", "servers", "only", "target_ms", "rate_rps", "starts", "command")
        fields = {
            **{key: getattr(self, key) for key in keys},
            "profile": self.profile.name,
            "scenarios": [to_fields(scenario) for scenario in self.profile.scenarios],
            "attached": [asdict(endpoint) for endpoint in self.attached],
            "environment": environment(server_cpus, client_cpus),
            "samples_sha256": read_samples().sha256,
            "stands_in_for": stand_ins,
            "artifacts": [asdict(artifact) for artifact in describe_artifacts()],
        }
        write_whole(self.folder / "comparison.json", to_json(fields).encode())

    @classmethod
    def read(cls, name: str) -> Self:
        """The comparison called `name`, to go on with."""
        path = RESULTS / name / "comparison.json"
        if not path.is_file():
            known = ", ".join(sorted(p.parent.name for p in RESULTS.glob("*/comparison.json"))) or "none yet"
            raise StageError(f"no comparison {name!r} in artifacts/results: there are {known}")
        fields = json.loads(path.read_bytes())
        if "rate_rps" not in fields:
            raise StageError(f"comparison {name!r} is of an older version: begin it again with `make loadtest`")
        return cls(
            **{key: fields[key] for key in ("name", "seed", "target_ms", "rate_rps", "starts", "command")},
            profile=find_profile(fields["profile"]),
            servers=tuple(fields["servers"]),
            attached=tuple(Endpoint(**endpoint) for endpoint in fields["attached"]),
            only=tuple(fields["only"]),
        )


def run_comparison(comparison: Comparison, servers: Sequence[ManagedServer] | None = None) -> list[str]:
    """Make all runs that are missing; returns the names of the endpoints that failed their pre-flight.

    `servers` are measured in place of those that the comparison names.
    """
    return Conductor(comparison, servers).run()


class Conductor:
    """Runs one comparison: starts the servers, has the generator measure them, keeps to the time."""

    def __init__(self, comparison: Comparison, servers: Sequence[ManagedServer] | None = None) -> None:
        """Write what is asked, and find the servers."""
        self.comparison = comparison
        self.began_s = time.perf_counter()
        chosen = servers or choose_servers(comparison.servers, comparison.attached, comparison.only)
        self.servers = list(chosen)
        comparison.write(self.servers)
        self.written = json.loads((comparison.folder / "comparison.json").read_bytes())
        self.endpoints = [endpoint for server in self.servers for endpoint in server.endpoints]
        self.probes: dict[str, Probe] = {}
        self.failed: set[str] = set()
        self.starting_s = 0.0

    def run(self) -> list[str]:
        """Make what is missing."""
        comparison = self.comparison
        with tqdm(desc="load test", unit="block", file=sys.stderr, dynamic_ncols=True) as bar:
            bar.set_postfix_str("what the models take without a server")
            if not comparison.attached:  # the floor of this machine says nothing about servers on another
                measure_missing()
            bar.set_postfix_str("the client itself")
            if not (comparison.folder / "clients.json").is_file():
                calibrate(comparison.folder, self.endpoints, CALIBRATION_S, CALIBRATION_RPS, *pinning())
            schedule = self._schedule_on_disk()
            number = 1
            while schedule is None or number <= schedule.starts:
                if schedule is not None and not self._missing(schedule, number):
                    bar.total = schedule.count * schedule.starts
                    bar.update(schedule.count)
                    number += 1
                    continue
                known = schedule is not None
                schedule = self._round(bar, schedule, number)
                number += known or len(schedule.groups) == 1
        return sorted(self.failed)

    def _round(self, bar: tqdm[Any], schedule: Schedule | None, number: int) -> Schedule:
        """One start of every server: measured, but that servers which don't fit together are only probed at first."""
        order = np.random.default_rng((self.comparison.seed, number))
        servers = [self.servers[index] for index in order.permutation(len(self.servers))]
        groups, known = [], schedule is not None
        bar.set_postfix_str(f"starting the servers, {number}")
        starting_s = time.perf_counter()
        for group in started_groups(servers, self.comparison.folder, pinning()[0]):
            groups.append(tuple(server.name for server in group.servers))
            self.starting_s = time.perf_counter() - starting_s
            if not known:
                bar.set_postfix_str("a look at each endpoint")
                self._probe(group)
                if len(group.servers) == len(self.servers):
                    schedule = self._make_schedule(groups)
                    bar.reset(schedule.count * schedule.starts)
            if schedule is not None:
                bar.set_postfix_str(f"start {number} of {schedule.starts}")
                self._measure(group, schedule, number, bar)
        return schedule or self._make_schedule(groups)

    def _schedule_on_disk(self) -> Schedule | None:
        return Schedule.read(self.comparison.folder / "schedule.json")

    def _make_schedule(self, groups: Sequence[tuple[str, ...]]) -> Schedule:
        """Fill the time that is left with blocks, and write down how."""
        comparison = self.comparison
        if not self.probes:
            raise StageError(
                f"no right answers from {', '.join(sorted(self.failed))}: see {comparison.folder}/generator.log"
            )
        starts = comparison.starts or starts_for(comparison.profile, len(self.endpoints))
        spent_s = time.perf_counter() - self.began_s
        whole_s = comparison.profile.seconds
        left_s = whole_s * (1 - RESERVE) - spent_s - (starts - 1) * self.starting_s
        budget_s = max(left_s, LEAST * whole_s) / starts
        schedule = plan_blocks(comparison.profile, self.probes, budget_s, starts, comparison.rate_rps)
        schedule = replace(schedule, groups=tuple(groups))
        schedule.write(comparison.folder / "schedule.json")
        return schedule

    def _probe(self, group: Together) -> None:
        """A short look at what each endpoint bears."""
        folder = self.comparison.folder / "probe"
        plans = [
            self._plan(group, endpoint, (Run(PROBE, 0, 0, str(folder / endpoint.name.replace("/", "__"))),))
            for endpoint in group.endpoints
        ]
        self._generate(plans)
        for plan in plans:
            result = Result.read(Path(plan.runs[0].path + ".json"))
            alone_ms = result.latency_ms["p50"] if result.latency_ms else None
            if result.preflight_error or not alone_ms:
                self.failed.add(plan.endpoint.name)
            else:
                capacity = result.warm_up_rps or 1e3 / alone_ms
                self.probes[plan.endpoint.name] = Probe(capacity, alone_ms / 1e3)

    def _measure(self, group: Together, schedule: Schedule, number: int, bar: tqdm[Any]) -> None:
        """Make the missing runs of the group's endpoints."""
        plans = []
        for endpoint in group.endpoints:
            runs = tuple(run for run in self._runs(schedule, endpoint.name, number) if not _is_made(run))
            if runs:
                plans.append(self._plan(group, endpoint, runs))
        whole = sum(blocks.count for e in group.endpoints for blocks in schedule.blocks.get(e.name, ()))
        bar.update(whole - sum(run.blocks for plan in plans for run in plan.runs))
        if plans:
            self._generate(plans, bar)
        for plan in plans:
            result = Result.read(Path(plan.runs[0].path + ".json"))
            if result.samples_sha256 not in ("", self.written["samples_sha256"]):
                raise StageError("samples.npz changed during the comparison: begin it again with `make loadtest`")

    def _generate(self, plans: list[EndpointPlan], bar: tqdm[Any] | None = None) -> None:
        with Generator(self.comparison.folder, pinning()[1]) as generator:
            generator.run(plans, MODEL_REPOSITORY, bar.update if bar is not None else lambda _: None)

    def _missing(self, schedule: Schedule, number: int) -> bool:
        names = [endpoint.name for endpoint in self.endpoints]
        return any(not _is_made(run) for name in names for run in self._runs(schedule, name, number))

    def _runs(self, schedule: Schedule, endpoint: str, number: int) -> list[Run]:
        """The runs of an endpoint in one start."""
        folder = self.comparison.folder / endpoint.replace("/", "__")
        by_name = {scenario.name: scenario for scenario in self.comparison.profile.scenarios}
        return [
            Run(
                scenario=_scenario(by_name[blocks.scenario], blocks),
                round=number,
                seed=self.comparison.seed + 1000 * number + index,
                path=str(folder / f"{blocks.scenario}-{number}"),
                blocks=blocks.count,
                lead_in_s=blocks.lead_in_s,
            )
            for index, blocks in enumerate(schedule.blocks.get(endpoint, ()))
            if blocks.count
        ]

    def _plan(self, group: Together, endpoint: Endpoint, runs: tuple[Run, ...]) -> EndpointPlan:
        server = group.server_of(endpoint)
        context: Mapping[str, Any] = {
            "comparison": self.comparison.name,
            "command": self.comparison.command,
            "environment": self.written["environment"],
            "settings": asdict(server.settings) if server.server else None,
            "cold_start": group.cold.get(endpoint.name),
        }
        return EndpointPlan(
            endpoint,
            runs,
            group.pids.get(server.name),
            self.comparison.profile.warm_up_s,
            self.comparison.target_ms,
            dict(context),
            prepared=server.prepared.get(endpoint.name, ""),
        )


def _scenario(scenario: Scenario, blocks: Blocks) -> Scenario:
    """The profile's scenario, as long and as fast as the schedule says."""
    rate = blocks.rate_rps if isinstance(scenario, Open) else blocks.rate_rps / 2
    return replace(at_rate(scenario, rate), seconds=blocks.seconds)


def _is_made(run: Run) -> bool:
    return Path(f"{run.path}.json").is_file()


__all__ = ["Comparison", "ManagedServer", "run_comparison"]
