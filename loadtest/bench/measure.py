"""Starts systems of the servers' benchmark on their core, and measures them from the other core, block by block.

The load generator is the comparison's; wrk, where it is installed, measures some rows again. Plans, logs and raw times
go into a folder that the caller gives; every process started here is stopped by `StartedSystem.stop`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contract import StageError
from loadtest.analysis.result import Result
from loadtest.bench.system import System, prepare_requests
from loadtest.bench.venvs import prepare
from loadtest.client.prepared import PreparedRequests
from loadtest.client.requests import BrokenAnswerError
from loadtest.generator.resources import between, usage
from loadtest.plan import EndpointPlan, Run
from loadtest.runs.generator_process import run_generator
from loadtest.runs.independent_clients import is_installed, run_wrk
from loadtest.scenarios import Closed
from serving.process.launcher import Running, free_ports, start, wait_ready
from serving.repository import Samples
from serving.server import Endpoint

START_TIMEOUT_S = 120.0
WARM_UP_S = 0.2
"""One piece of the warm-up, which the generator repeats until it goes no faster."""
BLOCKS, LEAD_IN_S = 4, 0.05
"""Of each row in a round: blocks, and load before each of them that doesn't count."""
WRK_CONNECTIONS = (8, 32)
CONSTANT, CHANGING = "constant", "changing"
"""What differs between requests: the sample alone; or also a traceparent, a request id and the body of each send."""
CHANGING_CONNECTIONS = (32,)
Figures = dict[str, Any]


@dataclass(frozen=True, order=True)
class Point:
    """What one row of the result is about."""

    name: str
    payload: str
    connections: int
    generator: str = "own"
    traffic: str = CONSTANT


@dataclass
class StartedSystem:
    """A system that answers."""

    system: System
    running: Running
    ports: Mapping[str, int]
    requests: dict[tuple[str, str], Path]
    """The file of requests by payload and traffic."""
    idle: list[socket.socket]

    def points(self) -> list[Point]:
        """What is to be measured of it."""
        name, system = self.system.name, self.system
        points = [Point(name, payload, n) for payload in system.payloads for n in system.connections]
        if is_installed("wrk"):
            points += [Point(name, p, n, "wrk") for p in system.wrk for n in WRK_CONNECTIONS if n in system.connections]
        again = [point for point in points if point.connections in CHANGING_CONNECTIONS]
        return points + [Point(name, p.payload, p.connections, p.generator, CHANGING) for p in again]

    def endpoint(self, payload: str) -> Endpoint:
        """Where requests with a payload go, as the load generator knows it."""
        protocol = "grpc" if payload == "grpc" else "rest"
        return Endpoint(self.system.name, payload, protocol, self.ports[protocol])

    def stop(self) -> None:
        """End it and its idle connections."""
        for connection in self.idle:
            connection.close()
        self.running.stop()


def cores(count: int = 1) -> tuple[list[int], list[int]]:
    """The first cores for a server, the last one for the load; the same where there is but one."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return available[:count], available[-1:]


def begin(system: System, samples: Samples, folder: Path) -> StartedSystem:
    """Start a system on the server's core and wait until it answers every payload rightly."""
    if system.venv:
        prepare(system.venv)
    folder.mkdir(parents=True)
    ports = free_ports(system)
    running = start(system.launch(ports, folder), log=folder / "log", cpus=cores(system.cores)[0])
    started = StartedSystem(system, running, ports, {}, [])
    try:
        wait_ready(running, system, system.artifacts, ports, START_TIMEOUT_S)
        for payload in system.payloads:
            for traffic in (CONSTANT, CHANGING):
                prepared = prepare_requests(system, payload, samples, traffic == CHANGING)
                started.requests[payload, traffic] = folder / f"{payload}-{traffic}.npz"
                prepared.write(started.requests[payload, traffic])
            _wait_right_answer(started, payload, prepared)
        for _ in range(system.idle_connections):
            started.idle.append(_idle(ports["rest"], system.ready_path))
    except BaseException:
        started.stop()
        raise
    return started


def _idle(port: int, path: str) -> socket.socket:
    """A connection that has had one answer, and asks no more."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
        connection.close()
        raise StageError("an idle connection was not answered: see the server's limits")
    return connection


def _wait_right_answer(started: StartedSystem, payload: str, prepared: PreparedRequests) -> None:
    """Ask until one answer comes: some say that they are ready before they are."""
    target, running = prepared.target(started.endpoint(payload)), started.running
    connection = target.connection()
    while True:
        try:
            fault = target.fault(0, connection.exchange(target.requests[0]))
        except (OSError, BrokenAnswerError, ValueError) as error:
            if running.exit_status is not None or time.perf_counter() - running.started_s > START_TIMEOUT_S:
                lines = running.last_lines()
                raise StageError(f"{started.system.name} gives no answer, {payload} ({error}):\n{lines}") from None
            time.sleep(0.1)
            continue
        connection.close()
        if fault:
            raise StageError(f"{started.system.name} answers wrongly, {payload}: {fault}")
        return


def measure(started: Sequence[StartedSystem], seconds: float, folder: Path) -> dict[Point, Figures]:
    """Measure every point of the systems: first all of our generator, in one process, then all of wrk.

    The figures of each: requests, failures, wrong_answers, requests_per_s, p50_ms, p99_ms, generator_share,
    server_cpu_us_per_request and rss_bytes. Raises StageError where a system answers nothing.
    """
    plans = [plan for each in started for plan in _plans(each, seconds, folder)]
    run_generator(folder, plans, cores()[1])
    points = [(point, each) for each in started for point in each.points()]
    points.sort(key=lambda pair: (pair[0].payload, pair[0].connections, pair[0].traffic))  # neighbours are compared
    figures: dict[Point, Figures] = {}
    for point, each in points:
        own = point.generator == "own"
        figures[point] = _own_figures(point, folder) if own else _wrk_figures(point, each, seconds, folder)
        if not figures[point]["requests"]:
            reason = f"{figures[point]['failures']} failures, {point.payload}, {point.connections} connections"
            raise StageError(f"{point.name} answered nothing ({reason}):\n{each.running.last_lines()}")
    return figures


def _plans(started: StartedSystem, seconds: float, folder: Path) -> list[EndpointPlan]:
    """What the load generator has to do at a system: a plan for each payload and traffic, a run for each point."""
    plans = []
    for (payload, traffic), requests in started.requests.items():
        points = [p for p in started.points() if (p.generator, p.payload, p.traffic) == ("own", payload, traffic)]
        runs = tuple(
            Run(Closed(p.connections, seconds / BLOCKS), 1, 1, str(_result(p, folder)), BLOCKS, LEAD_IN_S)
            for p in points
        )
        endpoint = replace(started.endpoint(payload), artifact=f"{payload}-{traffic}")
        plans.append(EndpointPlan(endpoint, runs, started.running.pid, WARM_UP_S, prepared=str(requests)))
    return plans


def _result(point: Point, folder: Path) -> Path:
    return folder / "runs" / f"{point.name}-{point.payload}-{point.connections}-{point.traffic}"


def _own_figures(point: Point, folder: Path) -> Figures:
    path = _result(point, folder)
    result = Result.read(path.with_name(path.name + ".json"))
    if result.preflight_error:
        raise StageError(f"{result.endpoint.name}: {result.preflight_error}")
    answers = result.requests - result.failures - result.wrong_answers
    answered = sum(block.right_answers for block in result.blocks)  # those that led in and drained too
    return {
        "requests": answers,
        "failures": result.failures,
        "wrong_answers": result.wrong_answers,
        "requests_per_s": result.throughput_rps,
        "p50_ms": result.latency_ms["p50"],
        "p99_ms": result.latency_ms["p99"],
        "generator_share": result.client.cpu_share,
        **_server_figures(result.server.cpu_s, result.server.rss_bytes, answered),
    }


def _wrk_figures(point: Point, started: StartedSystem, seconds: float, folder: Path) -> Figures:
    before = usage(started.running.pid)
    prepared = PreparedRequests.read(started.requests[point.payload, point.traffic])
    port = started.endpoint(point.payload).port
    figures: Figures = dict(run_wrk(prepared, port, point.connections, seconds, cores()[1], folder))
    used = between(before, usage(started.running.pid))
    return figures | _server_figures(used["cpu_s"], used["rss_bytes"], figures["requests"])


def _server_figures(cpu_s: float | None, rss_bytes: float | None, answers: float) -> Figures:
    if cpu_s is None or rss_bytes is None:
        raise StageError("a server ended while it was measured: see its log")
    return {"server_cpu_us_per_request": cpu_s / max(answers, 1) * 1e6, "rss_bytes": rss_bytes}
