"""Starts a contender of the servers' benchmark on its core, and measures it once with one generator on the other core.

Writes plans and logs into a folder that the caller gives; every process it starts is stopped by `Started.stop`.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from contract import StageError
from loadtest.bench import closed_loop as bench_load
from loadtest.bench import wrk as bench_wrk
from loadtest.bench.closed_loop import Plan
from loadtest.bench.systems import Contender, make_plan
from loadtest.bench.venvs import prepare
from loadtest.runs.generator_process import run_to_end
from serving.process.launcher import Running, start
from serving.repository import Samples

START_TIMEOUT_S = 120.0
FIRST_ANSWER_S = 0.1
WARM_UP_S = 0.5
GENERATORS = ("own", "wrk")
WRK_CONNECTIONS = (8, 32)


@dataclass(frozen=True, order=True)
class Point:
    """What one row of the result is about."""

    name: str
    payload: str
    connections: int
    generator: str = "own"


@dataclass
class Started:
    """A contender that answers."""

    contender: Contender
    running: Running
    ports: Mapping[str, int]
    plans: dict[str, Path]
    idle: list[socket.socket]

    def points(self) -> list[Point]:
        """What is to be measured of it."""
        name, contender = self.contender.name, self.contender
        own = [Point(name, payload, n) for payload in contender.payloads for n in contender.connections]
        if not bench_wrk.is_installed():
            return own
        more = [n for n in WRK_CONNECTIONS if n in contender.connections]
        return own + [Point(name, payload, n, "wrk") for payload in contender.wrk for n in more]

    def port(self, payload: str) -> int:
        """Where requests with a payload go."""
        return self.ports["grpc" if payload == "grpc" else "rest"]

    def stop(self) -> None:
        """End it and its idle connections."""
        for connection in self.idle:
            connection.close()
        self.running.stop()


def cores(count: int = 1) -> tuple[list[int], list[int]]:
    """The first cores for a server, the last one for the load; the same where there is but one."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return available[:count], available[-1:]


def begin(contender: Contender, samples: Samples, folder: Path) -> Started:
    """Start a contender on the server's core and wait until it is ready."""
    if contender.venv:
        prepare(contender.venv)
    folder.mkdir(parents=True)
    ports = _free_ports(contender.ports)
    running = start(contender.launch(ports, folder), log=folder / "log", cpus=cores(contender.cores)[0])
    started = Started(contender, running, ports, {}, [])
    try:
        _wait_ready(contender, running, ports)
        for payload in contender.payloads:
            plan, started.plans[payload] = make_plan(contender, payload, samples), folder / f"{payload}.npz"
            plan.write(started.plans[payload])
            _wait_answer(started, plan)
        for _ in range(contender.idle_connections):
            started.idle.append(_idle(ports["rest"], contender.ready_path))
    except BaseException:
        started.stop()
        raise
    return started


def _free_ports(names: tuple[str, ...]) -> dict[str, int]:
    probes = {name: socket.socket() for name in names}
    try:
        for probe in probes.values():
            probe.bind(("127.0.0.1", 0))
        return {name: probe.getsockname()[1] for name, probe in probes.items()}
    finally:
        for probe in probes.values():
            probe.close()


def _idle(port: int, path: str) -> socket.socket:
    """A connection that has had one answer, and asks no more."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
        connection.close()
        raise StageError("an idle connection was not answered: see the server's limits")
    return connection


def _wait_ready(contender: Contender, running: Running, ports: Mapping[str, int]) -> None:
    port = ports[contender.ready_port if contender.ready_path else "grpc"]
    while True:
        if running.exit_status is not None or time.perf_counter() - running.started_s > START_TIMEOUT_S:
            raise StageError(f"{contender.name} does not become ready:\n{running.last_lines()}")
        time.sleep(0.1)
        try:
            if not contender.ready_path:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", contender.ready_path)
            response = connection.getresponse()
            if contender.is_ready(response.status, response.read()):
                return
        except (OSError, http.client.HTTPException):
            continue


def _wait_answer(started: Started, plan: Plan) -> None:
    """Ask until one answer is right: some say that they are ready before they are."""
    running = started.running
    found: dict[str, float] = {}
    while not found.get("requests"):
        if running.exit_status is not None or time.perf_counter() - running.started_s > START_TIMEOUT_S:
            raise StageError(f"{started.contender.name} gives no answer, {plan.payload}:\n{running.last_lines()}")
        try:
            found = bench_load.run(plan, started.port(plan.payload), 1, FIRST_ANSWER_S, 0.0)
        except TimeoutError:
            continue
        if found["wrong_answers"]:
            raise StageError(f"{started.contender.name} answers wrongly, {plan.payload}: see its model")


def measure(started: Started, point: Point, seconds: float, folder: Path) -> dict[str, Any]:
    """One run: what the load generator found, and what the server's processes took of processor and memory."""
    before_s = _taken(started.running.pid)[0]
    if point.generator == "wrk":
        plan, port = started.plans[point.payload], started.port(point.payload)
        found: dict[str, Any] = bench_wrk.run(plan, port, point.connections, seconds, cores()[1], folder)
    else:
        found = _own(started, point, seconds, folder)
    cpu_s, found["rss_bytes"] = _taken(started.running.pid)
    if not found["requests"] > 0:
        said = f"{found['failures']} failures, {point.payload}, {point.connections} connections"
        raise StageError(f"{point.name} answered nothing ({said}):\n{started.running.last_lines()}")
    found["server_cpu_us_per_request"] = (cpu_s - before_s) / max(found["answers"], 1) * 1e6
    return found


def _own(started: Started, point: Point, seconds: float, folder: Path) -> dict[str, Any]:
    port = started.port(point.payload)
    argv = [sys.executable, "-m", "loadtest.bench.closed_loop", str(started.plans[point.payload]), "--port", str(port)]
    argv += ["--connections", str(point.connections), "--seconds", str(seconds), "--warmup-s", str(WARM_UP_S)]
    said = run_to_end(argv, folder / "load.log", cores()[1], seconds + 60)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _taken(pid: int) -> tuple[float, int]:
    """Processor seconds and resident bytes of a process and all below it."""
    leader = psutil.Process(pid)
    family = (leader, *leader.children(recursive=True))
    times = [process.cpu_times() for process in family]
    return sum(t.user + t.system for t in times), sum(process.memory_info().rss for process in family)
