"""What becomes of requests when something happens to a server under load, over REST and gRPC at once.

A version is swapped in and out, the queue is full, SIGTERM comes, a worker is killed. Every server that says how
(`Server.launch_for_fault`) takes part. Reads the model repository; writes `docs/benchmarks/faults.json` and prints the
table. Status 1 where an answer was wrong, or a request was lost that must not be: none in a swap, at a full queue or at
SIGTERM; at a killed worker those on its connections, and those that came to it while it died.

    python -m loadtest faults [--servers onnxruntime,…] [--seconds 1]
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from contract import MODEL_REPOSITORY, ROOT, StageError, to_json, write_whole
from loadtest.bench.client_threads import ClientThreads
from loadtest.client.target import build_target
from loadtest.runs.environment import environment, pinning
from loadtest.table import Column, Table, to_text
from loadtest.table import Row as Line
from loadtest.table import row as line
from serving.process.launcher import Running, free_ports, start, wait_ready
from serving.repository import read_artifacts
from serving.server import (
    FAULTS,
    FULL_QUEUE,
    KILLED_WORKER,
    TERMINATION,
    VERSION_SWAP,
    Endpoint,
    Launch,
    Server,
    find_server,
    list_servers,
)

RESULT = ROOT / "docs" / "benchmarks" / "faults.json"
PROTOCOLS = ("rest", "grpc")
PATIENCE_S = 60.0
CLIENTS = {VERSION_SWAP: 4, FULL_QUEUE: 24, TERMINATION: 4, KILLED_WORKER: 4}
"""Of each protocol."""
Row = dict[str, Any]
WORDS = ("server", "fault", "protocol")
COUNTS = ("right", "refused", "failed", "wrong")
"""Of a row, in the order of the table."""


@dataclass(frozen=True)
class ServerUnderTest:
    """A running server with one artifact, on a model repository of its own that may be changed."""

    server: Server
    artifact: str
    running: Running
    ports: Mapping[str, int]
    repository: Path
    seconds: float

    @property
    def versions(self) -> Path:
        """The folder of the artifact's versions."""
        return self.repository / self.artifact

    def served_versions(self) -> set[str]:
        """The versions that answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[self.server.ready_port], timeout=10)
        try:
            connection.request("GET", self.server.versions_call(self.artifact).path)
            return self.server.served_versions(connection.getresponse().read())
        finally:
            connection.close()

    def ready_workers(self) -> int:
        """How many workers have said that they are ready, those that ended since included."""
        return self.running.log.read_text(errors="replace").count("is ready on")


def swap(test: ServerUnderTest) -> Row:
    """A second version appears, takes over, and goes again."""
    new, gone = test.repository.with_name("new"), test.repository.with_name("gone")
    shutil.copytree(test.versions / "1", new)
    began_s = time.perf_counter()
    new.rename(test.versions / "2")
    _wait_until(lambda: test.served_versions() == {"2"}, "version 2 alone is served")
    swapped_s = time.perf_counter() - began_s
    time.sleep(test.seconds)
    (test.versions / "2").rename(gone)
    _wait_until(lambda: test.served_versions() == {"1"}, "version 1 alone is served")
    return {"swapped_after_s": round(swapped_s, 2)}


def fill(test: ServerUnderTest) -> Row:
    """More clients than the queue has room for: that is all."""
    time.sleep(test.seconds)
    return {}


def terminate(test: ServerUnderTest) -> Row:
    """SIGTERM; the server has to end by itself."""
    os.kill(test.running.pid, signal.SIGTERM)
    began_s = time.perf_counter()
    status = test.running.process.wait(PATIENCE_S)
    return {"exit_status": status, "ended_after_s": round(time.perf_counter() - began_s, 2)}


def kill(test: ServerUnderTest) -> Row:
    """SIGKILL to one of two workers; another takes its place."""
    os.kill(min(child.pid for child in psutil.Process(test.running.pid).children()), signal.SIGKILL)
    began_s = time.perf_counter()
    _wait_until(lambda: test.ready_workers() == 3, "a third worker is ready")
    return {"replaced_after_s": round(time.perf_counter() - began_s, 2)}


ACTIONS: dict[str, Callable[[ServerUnderTest], Row]] = {
    VERSION_SWAP: swap,
    FULL_QUEUE: fill,
    TERMINATION: terminate,
    KILLED_WORKER: kill,
}


def find_launch(server: Server, fault: str, artifact: str, ports: Mapping[str, int], folder: Path) -> Launch | None:
    """How to start the server in `folder`, with a copy of the artifact; None where it takes no part."""
    repository = folder / "repository"
    launch = server.launch_for_fault(fault, artifact, repository, ports, folder)
    if launch is not None:
        shutil.copytree(MODEL_REPOSITORY / artifact, repository / artifact)
    return launch


def artifact_of(server: Server) -> str | None:
    """The first artifact in the order of the server's formats; None where there is none."""
    names = {manifest.format: name for name, manifest in reversed(read_artifacts().items())}
    return next((names[name] for name in server.formats if name in names), None)


def inject_fault(name: str, fault: str, seconds: float) -> list[Row]:
    """One server, one fault under load: a row for each protocol; none for a server that takes no part."""
    server = find_server(name)
    artifact = artifact_of(server)
    if artifact is None:
        raise StageError(f"{name}: no artifact of format {' or '.join(server.formats)}: run `make export`")
    ports = free_ports(server)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        launch = find_launch(server, fault, artifact, ports, folder)
        if launch is None:
            return []
        running = start(launch, log=folder / "log", cpus=pinning()[0])
        stack.callback(running.stop)
        test = ServerUnderTest(server, artifact, running, ports, folder / "repository", seconds)
        wait_ready(running, server, [artifact], ports)
        if fault == KILLED_WORKER:
            _wait_until(lambda: test.ready_workers() == 2, "both workers are ready")
        endpoints = [Endpoint(name, artifact, p, ports[server.protocols[p]]) for p in PROTOCOLS]
        loads = [ClientThreads(build_target(endpoint), CLIENTS[fault]) for endpoint in endpoints]
        with ExitStack() as block:
            for load in loads:
                block.enter_context(load)
            time.sleep(seconds)
            result = ACTIONS[fault](test)
            time.sleep(seconds / 2)
    row = {"server": name, "fault": fault, "connections": CLIENTS[fault], **result}
    return [
        {**row, "protocol": protocol, **load.total(), "explanations": load.explanations}
        for protocol, load in zip(PROTOCOLS, loads, strict=True)
    ]


def meets_requirements(row: Row) -> bool:
    """Whether the server did what it must."""
    allowed = 2 * row["connections"] if row["fault"] == KILLED_WORKER else 0
    refused = row["refused"] > 0 if row["fault"] == FULL_QUEUE else row["refused"] == 0
    return bool(row["wrong"] == 0 and row["failed"] <= allowed and refused and row.get("exit_status", 0) == 0)


def table(rows: list[Row]) -> str:
    """The rows as text."""
    columns = (*map(Column, WORDS), *(Column(name, True) for name in COUNTS), Column("worst ms", True), Column(""))
    return to_text(Table("faults", "", columns, tuple(map(_line, rows))))


def _line(row: Row) -> Line:
    words, counts = (row[name] for name in WORDS), (f"{row[name]:,}" for name in COUNTS)
    return line(*words, *counts, f"{row['worst_ms']:,.1f}", "" if meets_requirements(row) else "MISSED")


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > ends_s:
            raise StageError(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.05)


def main(argv: list[str] | None = None) -> int:
    """Bring about every fault, write, print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest faults", description=__doc__)
    parser.add_argument("--servers", default=",".join(list_servers()), help="names with commas")
    parser.add_argument("--faults", default=",".join(FAULTS), help="names with commas")
    parser.add_argument("--seconds", type=float, default=1.0, help="of load before each fault")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args(argv)
    rows = []
    try:
        for name in options.servers.split(","):
            for fault in options.faults.split(","):
                print(f"{name}: {fault}", file=sys.stderr, flush=True)
                rows += inject_fault(name, fault, options.seconds)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    result = {"rows": rows, "environment": environment(pinning()[0], None), "seconds": options.seconds}
    write_whole(options.output, to_json(result).encode())
    print(table(rows))
    return 0 if all(map(meets_requirements, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
