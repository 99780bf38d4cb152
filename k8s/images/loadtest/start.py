"""Run the load generator in a container: `start.py master`, `start.py worker`, or `start.py web` for Locust's own page.

Reads the model repository; a server is found at its own name, the Service's. The master measures every endpoint with
WORKERS workers and PROFILE, writes below ARTIFACTS_DIR, prints the figures, and ends with status 1 after any failure or
wrong answer. Before it ends it waits for the file `collected` beside the results, COLLECT_S seconds at most.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from contract import ENDPOINTS, RESULTS, StageError, to_json, write_whole
from loadtest.analysis.result import Result
from serving.repository import read_artifacts
from serving.server import find_server, list_servers

NAME = os.environ.get("COMPARISON", "cluster")


def write_endpoints() -> None:
    """Write every endpoint; SERVERS keeps some, ENGINES (JSON) names the engine where it is not our own build."""
    repository, engines = read_artifacts(), json.loads(os.environ.get("ENGINES", "{}"))
    endpoints = []
    for server in map(find_server, os.environ.get("SERVERS", "").split() or list_servers()):
        artifacts = {name: m for name, m in repository.items() if m.format in server.formats}
        engine = engines.get(server.name) or next(e for e in reversed(server.engines) if e != "docker")
        endpoints += server.endpoints(artifacts, server.ports, engine, host=server.name)
    write_whole(ENDPOINTS, to_json([asdict(endpoint) for endpoint in endpoints]).encode())


def run_master() -> int:
    """Measure, print, wait until the results are fetched."""
    write_endpoints()
    argv = ("-m", "loadtest", "--endpoints", str(ENDPOINTS), "--profile", os.environ.get("PROFILE", "smoke"))
    environ = {**os.environ, "LOADTEST_WORKERS": os.environ.get("WORKERS", "2")}
    done = subprocess.run((sys.executable, *argv, "--name", NAME), env=environ, check=False)
    faults = print_results(RESULTS / NAME)
    (RESULTS / NAME / "complete").touch()
    deadline_s = time.monotonic() + float(os.environ.get("COLLECT_S", "600"))
    while not (RESULTS / NAME / "collected").exists() and time.monotonic() < deadline_s:
        time.sleep(0.5)
    return done.returncode or int(faults > 0)


def print_results(folder: Path) -> int:
    """Print a line per run; returns how many answers failed or were wrong, an endpoint without any counting as one."""
    faults = 0
    for path in sorted(folder.glob("*__*__*/*.json")):
        result = Result.read(path)
        run = f"{result.endpoint.name}  {result.scenario_name}"
        if result.preflight_error:
            print(f"{run}  FAILED: {result.preflight_error}")
            faults += 1
            continue
        faults += result.failures + result.wrong_answers
        counts = f"{result.requests} requests, {result.failures} failed, {result.wrong_answers} wrong"
        p50, p99 = (result.latency_ms.get(key) or float("nan") for key in ("p50", "p99"))
        print(f"{run}  {counts}  {result.throughput_rps:.0f}/s  p50 {p50:.2f} ms  p99 {p99:.2f} ms")
    return faults


def run_worker() -> int:
    """Serve masters one after another, each from a fresh process."""
    host = os.environ.get("MASTER_HOST", "loadtest-master")
    while True:
        subprocess.run((sys.executable, "-m", "loadtest.generator.cluster", host), check=False)
        time.sleep(1)


def run_web() -> int:
    """Locust's web page on port 8089, for a person; its workers are `loadtest-web-worker`."""
    write_endpoints()
    argv = ("-m", "locust", "-f", "loadtest/locustfile.py", *sys.argv[2:])
    os.execv(sys.executable, (sys.executable, *argv))  # noqa: S606


RUNS = {"master": run_master, "worker": run_worker, "web": run_web}

if __name__ == "__main__":
    try:
        sys.exit(RUNS[sys.argv[1]]())
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
