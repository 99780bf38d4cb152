"""Carries out a plan inside Locust: pre-flight, warm-up, then every run of every plan; writes each result as it is
made.

The generator half of `python -m loadtest`; imports gevent and Locust.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from locust import events
from locust.env import Environment

from contract import StageError, to_json, write_whole
from loadtest.analysis.run_metrics import measured
from loadtest.client.prepared import PreparedRequests
from loadtest.client.requests import BrokenAnswerError
from loadtest.client.target import Check, Target, assemble, build_target
from loadtest.generator.hub_socket import HubSocket
from loadtest.generator.loops import Load
from loadtest.generator.rate_search import search_rate, unmet
from loadtest.generator.recorder import Recorder
from loadtest.generator.resources import between, usage
from loadtest.generator.server_timing import ask_split
from loadtest.generator.users import Session, locust_report, user_class
from loadtest.plan import EndpointPlan, Run, Search, read_plan
from loadtest.raw_times import RIGHT, write_raw
from loadtest.scenarios import Burst, Closed, Offline, Open, Scenario

WARM_UP_USERS = 8
OPEN_SHARE, BURST_SHARE = 0.6, 1.2
"""Of what the warm-up reached, what the rate of an open loop and of a burst may be."""
WARM_UP_PIECES = 12
WARM_UP_GAIN = 1.1
"""A piece of the warm-up that is answered faster than the best before by this factor calls for others."""
WARM_UP_PATIENCE = 2
"""Pieces in a row that bring no gain, after which it is warm."""
START_DELAY_S = 0.002
"""From the starting signal to the clock's zero, so that every user is ready at zero."""


class PreflightError(Exception):
    """An endpoint that does not give right answers before any load."""


def run_plan(path: Path) -> int:
    """Make all runs of the plan; returns 1 where an endpoint failed its pre-flight, else 0."""
    repository, plans = read_plan(path)
    environment = Environment(events=events)
    environment.create_local_runner()
    failed = 0
    for plan in plans:
        try:
            _measure_endpoint(environment, repository, plan)
        except PreflightError as error:
            failed = 1
            print(f"{plan.endpoint.name}: {error}", file=sys.stderr, flush=True)
            for run in plan.runs:
                write_result(run, {**plan.context, **identity(plan, run), "preflight_error": str(error)})
            if plan.search is not None:
                fields = {"endpoint": {"name": plan.endpoint.name}, **unmet(f"pre-flight: {error}")}
                write_whole(Path(plan.search.path), to_json(fields).encode())
    return failed


def _measure_endpoint(environment: Environment, repository: Path, plan: EndpointPlan) -> None:
    targets = {1: _target(plan, repository, 1)}
    for run in plan.runs:
        batch = batch_of(run.scenario)
        if batch not in targets:
            targets[batch] = _target(plan, repository, batch)
    for target in targets.values():
        preflight(target)
    warmed_up_s, reached_rps = 0.0, math.inf
    if plan.warm_up_s:
        warmed_up_s, reached_rps = warm_up(environment, targets[1], plan.warm_up_s)
    for run in plan.runs:
        scenario = cap_to_capacity(run.scenario, reached_rps)
        result, table = measure(environment, plan, targets[batch_of(scenario)], scenario, run.seed)
        write_raw(Path(run.path + ".npz"), table)
        asked: dict[str, Any] = {"warm_up_s": warmed_up_s, "rate_asked_rps": getattr(run.scenario, "rate_rps", None)}
        if is_busiest(plan, scenario):
            asked["latency_split"] = ask_split(targets[1], scenario.users)
        write_result(run, {**plan.context, **identity(plan, run), **result, **asked})
    if plan.search is not None:
        find_rate(environment, plan, plan.search, targets[1])


def is_busiest(plan: EndpointPlan, scenario: Scenario) -> bool:
    """Whether it is the plan's closed loop with the most users, of a server that may tell where its time goes."""
    closed = [run.scenario.users for run in plan.runs if isinstance(run.scenario, Closed)]
    return not (plan.fixed or plan.prepared) and isinstance(scenario, Closed) and scenario.users == max(closed)


def cap_to_capacity(scenario: Scenario, reached_rps: float) -> Scenario:
    """The scenario at a rate that an endpoint which reached so much in its warm-up can bear.

    An endpoint that does not keep up with the common rate is measured at one that it does keep up with, and not ranked
    with the others: overload would show its queue's limit and nothing else.
    """
    if isinstance(scenario, (Open, Burst)):
        share = BURST_SHARE if isinstance(scenario, Burst) else OPEN_SHARE
        return replace(scenario, rate_rps=min(scenario.rate_rps, max(1.0, share * reached_rps)))
    return scenario


def warm_up(environment: Environment, target: Target, piece_s: float) -> tuple[float, float]:
    """Put load on until another piece of it is answered no faster, as a JIT and its caches would.

    Returns the seconds that took, and the most answers per second in a piece.
    """
    best, spent_s, idle = 0.0, 0.0, 0
    for _ in range(WARM_UP_PIECES):
        recorder, _, start_ns = run_once(environment, target, Closed(WARM_UP_USERS, piece_s), seed=0)
        spent_s += piece_s
        right = int((recorder.table(start_ns)["outcome"] == RIGHT).sum())
        idle = 0 if right > WARM_UP_GAIN * best else idle + 1
        best = max(best, right)
        if idle == WARM_UP_PATIENCE:
            break
    return spent_s, best / piece_s


def measure(
    environment: Environment, plan: EndpointPlan, target: Target, scenario: Scenario, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Run one scenario between two looks at the server's and the client's resources: the figures, and the raw rows."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    before, cpu_before_s, started_s = usage_of(plan), time.process_time(), time.perf_counter()
    recorder, load, start_ns = run_once(environment, target, scenario, seed)
    cpu_s, elapsed_s = time.process_time() - cpu_before_s, time.perf_counter() - started_s
    after, table = usage_of(plan), recorder.table(start_ns)
    figures = measured(scenario, table, plan.target_ms)
    answered = max(1, figures["requests"] - figures["failures"])
    result = {
        **figures,
        "started": started,
        "explanations": recorder.explanations,
        "capped": recorder.capped,
        "batch": target.batch,
        "samples_sha256": target.samples_sha256,
        "request_bytes": target.request_bytes,
        "request_wire_bytes": target.wire_bytes,
        "response_bytes": load.response_bytes / answered,
        "server": between(before, after),
        "client": {"cpu_s": cpu_s, "cpu_share": cpu_s / elapsed_s},
    }
    return result, table


def find_rate(environment: Environment, plan: EndpointPlan, search: Search, target: Target) -> None:
    """Find the highest rate that meets the target and write what was found, with every probe."""

    def probe(scenario: Scenario) -> dict[str, Any]:
        result, table = measure(environment, plan, target, scenario, search.next_seed())
        latency_ms, right = (table["done_us"] - table["intended_us"]) / 1e3, table["outcome"] == RIGHT
        slow = ~right | (latency_ms > plan.target_ms)
        more = {"over_target": int(slow.sum()), "latencies_ms": latency_ms[right]}
        return {"endpoint": {"protocol": plan.endpoint.protocol}, **more, **result}

    found = search_rate(probe, search, plan.target_ms)
    fields = {**plan.context, "endpoint": {**asdict(plan.endpoint), "name": plan.endpoint.name}, **found}
    write_whole(Path(search.path), to_json(fields).encode())


def run_once(
    environment: Environment, target: Target, scenario: Scenario, seed: int, worker: int = 0, workers: int = 1
) -> tuple[Recorder, Load, int]:
    """Run one scenario with Locust's users: what was recorded, the load, and the clock's zero.

    One of several `workers` gets its own users as `scenario`; an open loop's rate is the whole one, shared among them.
    """
    load = Load(target, report=locust_report(environment, target.endpoint))
    session = Session(load, scenario, seed, worker, workers, shares=scenario.users * workers)
    chosen = user_class(target.endpoint, lambda _environment: session)
    runner = environment.runner
    assert runner is not None
    environment.user_classes = [chosen]
    gc.collect()
    gc.disable()  # a collection would stand still in the middle of somebody's latency
    try:
        runner.start(scenario.users, spawn_rate=min(100, scenario.users))
        if runner.spawning_greenlet:
            runner.spawning_greenlet.join()
        while session.connected < scenario.users:
            if not len(runner.user_greenlets):
                raise PreflightError("its users ended before the clock started")
            gevent.sleep(0.001)
        session.start_ns = time.perf_counter_ns() + int(START_DELAY_S * 1e9)
        if isinstance(scenario, (Open, Burst)):
            session.go.set()  # its own timer is finer than an event's
        else:
            gevent.spawn_later(START_DELAY_S, session.go.set)
        runner.user_greenlets.join()
    finally:
        runner.stop()
        gc.enable()
    return load.recorder, load, session.start_ns


def usage_of(plan: EndpointPlan) -> Any:
    """The server's usage so far, None where its processes are not ours to look into."""
    return usage(plan.server_pid) if plan.server_pid is not None else None


def preflight(target: Target) -> None:
    """Ask every request once and check the answer; the requests' right answers are known from here on."""
    connection = target.connection(HubSocket)
    try:
        for index, request in enumerate(target.requests):
            fault = target.fault(index, connection.exchange(request))
            if fault:
                raise PreflightError(f"wrong answer to sample {index}: {fault}")
    except (OSError, BrokenAnswerError, ValueError) as error:
        raise PreflightError(f"no answer to sample {index}: {type(error).__name__}: {error}") from None
    finally:
        connection.close()


def _target(plan: EndpointPlan, repository: Path, batch: int) -> Target:
    if plan.prepared:
        return PreparedRequests.read(Path(plan.prepared)).target(plan.endpoint)
    if plan.fixed is None:
        return build_target(plan.endpoint, repository, batch)

    def decode(_body: bytes, headers: object) -> dict[str, Any]:
        raise ValueError(f"not the one right answer ({headers})")

    grpc = plan.endpoint.protocol == "grpc"
    check = Check(decode, lambda _: "", 0 if grpc else 200)
    check.right.add((plan.fixed.answer, () if grpc else tuple(plan.fixed.answer_headers.items())))
    return assemble(plan.endpoint, [plan.fixed.call], [check], "", batch)


def batch_of(scenario: Scenario) -> int:
    return scenario.batch if isinstance(scenario, Offline) else 1


def identity(plan: EndpointPlan, run: Run) -> dict[str, Any]:
    endpoint = {**asdict(plan.endpoint), "name": plan.endpoint.name}
    return {"endpoint": endpoint, "scenario_name": run.scenario.name, "round": run.round, "seed": run.seed}


def write_result(run: Run, fields: dict[str, Any]) -> None:
    write_whole(Path(run.path + ".json"), to_json(fields).encode())


__all__ = [
    "Burst",
    "Open",
    "PreflightError",
    "StageError",
    "batch_of",
    "between",
    "identity",
    "preflight",
    "run_once",
    "run_plan",
    "write_result",
]  # fmt: skip
