"""Carries out a plan inside Locust: pre-flight, warm-up, then all blocks of all endpoints in turn; writes each result
when its last block is done.

The generator half of `python -m loadtest`; imports gevent and Locust.
"""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract import to_json, write_whole
from loadtest.analysis.blocks import closed_throughput
from loadtest.analysis.result import Result
from loadtest.analysis.run_metrics import measured
from loadtest.fields import read_fields
from loadtest.generator.block import BlockDriver, BlockTimes
from loadtest.generator.partition import interleaved
from loadtest.generator.preflight import WARM_UP_USERS, ReadyEndpoint, batch_of
from loadtest.generator.rate_search import FoundRate, Piece, RateSearch
from loadtest.generator.recorder import stacked
from loadtest.generator.resources import Usage, between, usage
from loadtest.generator.server_timing import ask_split
from loadtest.plan import EndpointPlan, Run, Search, read_plan
from loadtest.raw_times import RIGHT, write_raw
from loadtest.scenarios import Closed, Scenario, to_fields

WARM_UP_PIECES = 12
WARM_UP_MOST_S = 4.0
"""A slow model is warm by then."""
WARM_UP_GAIN = 1.1
"""A piece of the warm-up that is answered faster than the best before by this factor calls for others."""
WARM_UP_PATIENCE = 2
"""Pieces in a row that bring no gain, after which it is warm."""
OPEN_FILES = 65_536
SEED_STEP = 10_007
"""Between the seeds of a run's blocks."""


@dataclass
class Progress:
    """A run that is being made."""

    started: str
    before: Usage | None
    blocks: list[BlockTimes] = field(default_factory=list)


def run_plan(path: Path) -> int:
    """Make all runs of the plan; returns 1 where an endpoint could not answer any request, else 0."""
    repository, plans = read_plan(path)
    _allow_open_files()
    endpoints = [ReadyEndpoint(plan, repository) for plan in plans]
    ready = [endpoint for endpoint in endpoints if endpoint.is_ready]
    driver = BlockDriver({plan.server_pid for plan in plans if plan.server_pid})
    for endpoint in endpoints:
        write_off(endpoint)
    try:
        for endpoint in ready:
            warm_up(driver, endpoint)
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection would stand still in the middle of somebody's latency
        run_blocks(driver, ready, path.with_suffix(".progress"))
        for endpoint in ready:
            if endpoint.plan.search is not None:
                find_rate(driver, endpoint, endpoint.plan.search)
    finally:
        for endpoint in ready:
            if endpoint.users:
                endpoint.users.close()
    return int(len(ready) < len(endpoints))


def _allow_open_files() -> None:
    """Every user of every endpoint has a connection: allow enough open files, as far as the system lets."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if wanted > allowed != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def run_blocks(driver: BlockDriver, endpoints: Sequence[ReadyEndpoint], counter: Path) -> None:
    """Make the blocks of all runs, endpoint by endpoint in turn; `counter` grows by a byte with each."""
    progress: dict[str, Progress] = {}
    seed = next((run.seed for endpoint in endpoints for run in endpoint.runs), 0)
    sweep = -1
    for number, index, block in interleaved([[run.blocks for run in e.runs] for e in endpoints], seed):
        endpoint, run = endpoints[number], endpoints[number].runs[index]
        if block > sweep:
            sweep = block
            gc.collect(0)
            driver.look_again()
        if run.path not in progress:
            progress[run.path] = Progress(datetime.now(UTC).isoformat(timespec="seconds"), usage_of(endpoint.plan))
        blocks = progress[run.path].blocks
        blocks.append(drive(driver, endpoint, run.scenario, run.seed + SEED_STEP * block, run.lead_in_s, block))
        with counter.open("ab") as file:
            file.write(b".")
        if len(blocks) == run.blocks:
            finish(endpoint, run, progress.pop(run.path))


def drive(
    driver: BlockDriver, endpoint: ReadyEndpoint, scenario: Scenario, seed: int, lead_in_s: float = 0.0, number: int = 0
) -> BlockTimes:
    """One block at the endpoint."""
    assert endpoint.users is not None
    target, pid = endpoint.targets[batch_of(scenario)], endpoint.plan.server_pid
    return driver.drive(endpoint.users, target, scenario, seed, server_pid=pid, lead_in_s=lead_in_s, number=number)


def finish(endpoint: ReadyEndpoint, run: Run, progress: Progress) -> None:
    """Write a run's raw times and its result."""
    write_raw(Path(run.path + ".npz"), stacked([block.table for block in progress.blocks]))
    fields = {
        **endpoint.plan.context,
        **identity(endpoint.plan, run),
        **figures(endpoint, run.scenario, progress.blocks, progress.before),
        "started": progress.started,
        "warm_up_s": endpoint.warmed_up_s,
        "warm_up_rps": endpoint.warm_up_rps,
        "latency_split": _split(endpoint, run.scenario),
    }
    read_fields(Result, fields).write(Path(run.path + ".json"))


def figures(
    endpoint: ReadyEndpoint, scenario: Scenario, blocks: Sequence[BlockTimes], before: Usage | None
) -> dict[str, Any]:
    """The figures of a run's blocks, and what they used."""
    target, table = endpoint.targets[batch_of(scenario)], stacked([block.table for block in blocks])
    answers = max(1, sum(block.use.right_answers for block in blocks))
    taken_s = [block.use.server_cpu_s for block in blocks if block.use.server_cpu_s is not None]
    elapsed_s, cpu_s = (
        sum(values) for values in zip(*((b.use.elapsed_s, b.client_cpu_s) for b in blocks), strict=True)
    )
    return {
        **measured(scenario, table, len(blocks), endpoint.plan.target_ms),
        "explanations": [text for block in blocks for text in block.explanations][:5],
        "capped": any(block.capped for block in blocks),
        "batch": target.batch,
        "samples_sha256": target.samples_sha256,
        "request_bytes": target.request_bytes,
        "request_wire_bytes": target.wire_bytes,
        "response_bytes": sum(block.response_bytes for block in blocks) / answers,
        "server": {**between(before, usage_of(endpoint.plan)), "cpu_s": sum(taken_s) if taken_s else None},
        "client": {"cpu_s": cpu_s, "cpu_share": cpu_s / elapsed_s},
        "blocks": [asdict(block.use) for block in blocks],
    }


def _split(endpoint: ReadyEndpoint, scenario: Scenario) -> dict[str, float] | None:
    """Where the time goes under the closed loop with the most users, of a server that may tell."""
    plan = endpoint.plan
    closed = [run.scenario.users for run in plan.runs if isinstance(run.scenario, Closed)]
    if plan.fixed or plan.prepared or not isinstance(scenario, Closed) or scenario.users < max(closed):
        return None
    return ask_split(endpoint.first, scenario.users)


def warm_up(driver: BlockDriver, endpoint: ReadyEndpoint) -> None:
    """Put load on until another piece is answered no faster, as a JIT and its caches would."""
    best, idle = 0.0, 0
    scenario = Closed(WARM_UP_USERS, endpoint.plan.warm_up_s)
    for number in range(WARM_UP_PIECES if endpoint.plan.warm_up_s and 1 in endpoint.targets else 0):
        times = drive(driver, endpoint, scenario, number)
        endpoint.warmed_up_s += times.use.elapsed_s
        rate = closed_throughput(times.table, scenario.seconds, scenario.users) or 0.0
        idle = 0 if rate > WARM_UP_GAIN * best else idle + 1
        best = max(best, rate)
        if idle == WARM_UP_PATIENCE or endpoint.warmed_up_s > WARM_UP_MOST_S:
            break
    endpoint.warm_up_rps = best or None


def find_rate(driver: BlockDriver, endpoint: ReadyEndpoint, search: Search) -> None:
    """Find the highest rate that meets the target and write what was found, with every trial."""
    plan = endpoint.plan

    def probe(scenario: Scenario) -> Piece:
        times = drive(driver, endpoint, scenario, search.next_seed())
        table = times.table
        latency_ms, right = (table["done_us"] - table["intended_us"]) / 1e3, table["outcome"] == RIGHT
        fields = figures(endpoint, scenario, [times], None)
        use = usage_of(plan)
        return Piece(
            seconds=scenario.seconds,
            over_target=int((~right | (latency_ms > plan.target_ms)).sum()),
            latencies_ms=latency_ms[right],
            lag_p99_ms=(fields["schedule_lag_ms"] or {"p99": 0.0})["p99"] or 0.0,
            client_cpu_share=fields["client"]["cpu_share"],
            server_cpu_s=times.use.server_cpu_s,
            rss_bytes=use.rss_bytes if use else None,
            explanations=times.explanations,
            **{key: fields[key] for key in _SHARED},
        )

    _write_search(plan, RateSearch(probe, search, plan.target_ms).run())


_SHARED = ("requests", "failures", "wrong_answers", "throughput_rps", "goodput_rps", "capped")


def write_off(endpoint: ReadyEndpoint) -> None:
    """Write the results of the runs that can't be made: why."""
    plan = endpoint.plan
    for reason in endpoint.refused.values():
        print(f"{plan.endpoint.name}: {reason}", file=sys.stderr, flush=True)
    for run, reason in endpoint.left_out():
        fields = {**plan.context, **identity(plan, run), "preflight_error": reason}
        read_fields(Result, fields).write(Path(run.path + ".json"))
    if plan.search is not None and not endpoint.is_ready:
        _write_search(plan, FoundRate(reason=f"pre-flight: {next(iter(endpoint.refused.values()))}"))


def _write_search(plan: EndpointPlan, rate: FoundRate) -> None:
    assert plan.search is not None
    fields = {**plan.context, "endpoint": {**asdict(plan.endpoint), "name": plan.endpoint.name}, **rate.fields()}
    write_whole(Path(plan.search.path), to_json(fields).encode())


def identity(plan: EndpointPlan, run: Run) -> dict[str, Any]:
    """Of a result: what was measured, and as which run."""
    endpoint = {**asdict(plan.endpoint), "name": plan.endpoint.name}
    scenario = {"scenario_name": run.scenario.name, "scenario": to_fields(run.scenario)}
    return {"endpoint": endpoint, **scenario, "round": run.round, "seed": run.seed}


def usage_of(plan: EndpointPlan) -> Usage | None:
    """The server's usage so far, None where its processes are not ours to look into."""
    return usage(plan.server_pid) if plan.server_pid is not None else None
