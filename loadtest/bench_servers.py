"""How fast our own servers are, beside others that serve the same model and beside what the machine could do.

Reads the model repository; writes `docs/benchmarks/servers.json` and `servers.svg`, and prints the table. One pinned
core for the server, another for the load; one thread; every answer checked. Rounds take turns; figures are medians.

    python -m loadtest.bench_servers [--contenders ours,ceiling,…] [--seconds 2] [--rounds 3]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from contract import ROOT, StageError, to_json, write_whole
from loadtest.bench_chart import draw
from loadtest.bench_contenders import Contender, contenders, in_process, make_plan, prepare
from loadtest.environment import environment
from serving.launcher import Running, start
from serving.repository import Samples, read_samples
from serving.server import Launch

RESULT = ROOT / "docs" / "benchmarks" / "servers.json"
CONNECTIONS = (1, 8, 32)
START_TIMEOUT_S = 120.0


@dataclass
class Started:
    """A contender that answers."""

    contender: Contender
    running: Running
    ports: Mapping[str, int]
    plans: dict[str, Path]


def cores() -> tuple[list[int], list[int]]:
    """One core for servers, one for the load; the same where there is but one."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return available[:1], available[-1:]


def begin(contender: Contender, samples: Samples, folder: Path) -> Started:
    """Start a contender on the server's core and wait until it is ready."""
    prepare(contender)
    folder = folder / contender.name
    folder.mkdir()
    probes = [socket.socket() for _ in contender.ports]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = {name: probe.getsockname()[1] for name, probe in zip(contender.ports, probes, strict=True)}
    for probe in probes:
        probe.close()
    running = start(contender.launch(ports, folder), log=folder / "log", cpus=cores()[0])
    try:
        _wait_ready(contender, running, ports)
        plans = {payload: folder / f"{payload}.npz" for payload in contender.payloads}
        for payload, path in plans.items():
            make_plan(contender, payload, samples).write(path)
    except BaseException:
        running.stop()
        raise
    return Started(contender, running, ports, plans)


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


def measure(started: Started, payload: str, connections: int, seconds: float, folder: Path) -> dict[str, Any]:
    """One run: what the load generator found, and the processor time that the server's processes took."""
    port = started.ports["grpc" if payload == "grpc" else "rest"]
    argv = [sys.executable, "-m", "loadtest.bench_load", str(started.plans[payload]), "--port", str(port)]
    argv += ["--connections", str(connections), "--seconds", str(seconds), "--warmup-s", str(min(1.0, seconds / 2))]
    log = folder / "load.log"
    log.unlink(missing_ok=True)
    before_s = _cpu_s(started.running.pid)
    running = start(Launch(tuple(argv), cwd=ROOT), log=log, cpus=cores()[1])
    if running.process.wait():
        raise StageError(f"{started.contender.name}, {payload}, {connections} connections:\n{running.last_lines()}")
    found: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    answered = found["requests"] * (1 + min(1.0, seconds / 2) / seconds)  # the warm-up's as well
    found["server_cpu_us_per_request"] = (_cpu_s(started.running.pid) - before_s) / max(answered, 1) * 1e6
    return found


def _cpu_s(pid: int) -> float:
    leader = psutil.Process(pid)
    times = [process.cpu_times() for process in (leader, *leader.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def run_group(group: list[Contender], samples: Samples, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure contenders against each other: all are up, and take turns in every round."""
    rows: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up = []
        for contender in group:
            up.append(begin(contender, samples, folder))
            stack.callback(up[-1].running.stop)
        turns = [(s, payload, n) for payload in ("json", "binary", "grpc") for n in CONNECTIONS for s in up]
        turns = [turn for turn in turns if turn[1] in turn[0].plans] * rounds
        names = ", ".join(contender.name for contender in group)
        for started, payload, connections in tqdm(turns, desc=names, file=sys.stderr):
            found = measure(started, payload, connections, seconds, folder)
            rows.setdefault((started.contender.name, payload, connections), []).append(found)
    return [_summary(key, runs, group) for key, runs in rows.items()]


def _summary(key: tuple[str, str, int], runs: list[dict[str, Any]], group: list[Contender]) -> dict[str, Any]:
    name, payload, connections = key
    checked = next(contender.checked for contender in group if contender.name == name)
    figures = ("requests_per_s", "p50_ms", "p99_ms", "server_cpu_us_per_request")
    return {
        "name": name,
        "payload": payload,
        "connections": connections,
        **{figure: round(statistics.median(run[figure] for run in runs), 4) for figure in figures},
        "requests": sum(run["requests"] for run in runs),
        "failures": sum(run["failures"] for run in runs),
        "wrong_answers": sum(run["wrong_answers"] for run in runs) if checked else None,
        "rounds": [{figure: round(run[figure], 4) for figure in figures} for run in runs],
    }


def groups(wanted: Iterable[str]) -> list[list[Contender]]:
    """Ours and its yardsticks together, everybody else alone: their idle processes would disturb."""
    everybody = contenders()
    unknown = [name for name in wanted if name not in everybody]
    if unknown:
        raise StageError(f"no contender {unknown[0]!r}: choose from {', '.join(everybody)}")
    together = ("ours", "ceiling", "grpc-echo", "uvicorn")
    first = [everybody[name] for name in together if name in wanted]
    return [first, *([everybody[name]] for name in everybody if name in wanted and name not in together)]


def main(argv: list[str] | None = None) -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench_servers", description=__doc__)
    parser.add_argument("--contenders", default="", help="names with commas; all without")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args(argv)
    try:
        samples = read_samples()
        wanted = options.contenders.split(",") if options.contenders else list(contenders())
        rows: list[dict[str, Any]] = []
        missing: dict[str, str] = {}
        for group in groups(wanted):
            try:
                rows += run_group(group, samples, options.rounds, options.seconds)
            except StageError as error:
                missing[group[0].name] = str(error)
                print(error, file=sys.stderr)
        alone = in_process((1, 8, 32), samples, 1.0)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    result = {
        "contenders": rows,
        "in_process_samples_per_s": alone,
        "missing": missing,
        "environment": environment(*cores()),
        "seconds": options.seconds,
        "rounds": options.rounds,
    }
    write_whole(options.output, to_json(result).encode())
    write_whole(options.output.with_suffix(".svg"), draw(rows).encode())
    print(table(rows))
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    names = ("contender", "payload", "conn", "requests/s", "p50 ms", "p99 ms", "wrong")
    lines = ["{:<12} {:<7} {:>4} {:>11} {:>8} {:>8} {:>5}".format(*names)]
    for row in rows:
        wrong = "-" if row["wrong_answers"] is None else row["wrong_answers"]
        lines.append(
            f"{row['name']:<12} {row['payload']:<7} {row['connections']:>4} {row['requests_per_s']:>11,.0f} "
            f"{row['p50_ms']:>8.2f} {row['p99_ms']:>8.2f} {wrong:>5}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
