"""Starts systems of the servers' benchmark on their core, and measures them in turn from the other core.

The load generator is the comparison's; wrk, where it is installed, measures some rows again. Plans, logs and raw times
go into a folder that the caller gives; every process started here is stopped by `StartedSystem.stop`.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract import StageError
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


def measure(turns: list[tuple[Point, StartedSystem]], seconds: float, folder: Path) -> dict[Point, Figures]:
    """Measure the points in order, first all of our generator, in one process, then all of wrk.

    The figures of each: requests, failures, wrong_answers, requests_per_s, p50_ms, p99_ms, generator_share,
    server_cpu_us_per_request and rss_bytes. Raises StageError where a system answers nothing.
    """
    own = [(point, started) for point, started in turns if point.generator == "own"]
    plans = [_plan(point, started, seconds, folder) for point, started in own]
    if plans:
        run_generator(folder, plans, cores()[1])
    figures = {point: _own_figures(plan) for (point, _), plan in zip(own, plans, strict=True)}
    for point, started in turns:
        if point.generator == "wrk":
            figures[point] = _wrk_figures(point, started, seconds, folder)
    for point, started in turns:
        if not figures[point]["requests"]:
            reason = f"{figures[point]['failures']} failures, {point.payload}, {point.connections} connections"
            raise StageError(f"{point.name} answered nothing ({reason}):\n{started.running.last_lines()}")
    return figures


def _plan(point: Point, started: StartedSystem, seconds: float, folder: Path) -> EndpointPlan:
    path = folder / "runs" / f"{point.name}-{point.payload}-{point.connections}-{point.traffic}"
    run = Run(Closed(point.connections, seconds), 1, 1, str(path))
    requests = str(started.requests[point.payload, point.traffic])
    return EndpointPlan(started.endpoint(point.payload), (run,), started.running.pid, WARM_UP_S, prepared=requests)


def _own_figures(plan: EndpointPlan) -> Figures:
    path = Path(plan.runs[0].path)
    result = json.loads(path.with_name(path.name + ".json").read_bytes())
    if result.get("preflight_error"):
        raise StageError(f"{plan.endpoint.name}: {result['preflight_error']}")
    latency_ms = result["latency_ms"]
    answers = result["requests"] - result["failures"] - result["wrong_answers"]
    return {
        "requests": answers,
        "failures": result["failures"],
        "wrong_answers": result["wrong_answers"],
        "requests_per_s": result["throughput_rps"],
        "p50_ms": latency_ms["p50"],
        "p99_ms": latency_ms["p99"],
        "generator_share": result["client"]["cpu_share"],
        **_server_figures(result["server"], answers),
    }


def _wrk_figures(point: Point, started: StartedSystem, seconds: float, folder: Path) -> Figures:
    before = usage(started.running.pid)
    prepared = PreparedRequests.read(started.requests[point.payload, point.traffic])
    port = started.endpoint(point.payload).port
    figures: Figures = dict(run_wrk(prepared, port, point.connections, seconds, cores()[1], folder))
    return figures | _server_figures(between(before, usage(started.running.pid)), figures["requests"])


def _server_figures(server: Mapping[str, Any], answers: float) -> Figures:
    cpu_s, rss_bytes = server["cpu_s"], server["rss_bytes"]
    if cpu_s is None:
        raise StageError("a server ended while it was measured: see its log")
    return {"server_cpu_us_per_request": cpu_s / max(answers, 1) * 1e6, "rss_bytes": rss_bytes}
