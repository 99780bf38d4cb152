"""What becomes of requests when something happens to one of our own servers under load, over REST and gRPC at once.

A version is swapped in and out, the queue is full, SIGTERM comes, a worker is killed. Reads the model repository;
writes `docs/benchmarks/faults.json` and prints the table. Status 1 where an answer was wrong, or a request was lost
that must not be: none in a swap, at a full queue or at SIGTERM; at a killed worker those on its connections, and those
that came to it while it died.

    python -m loadtest faults [--servers onnxruntime,…] [--seconds 1]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from contract import MODEL_REPOSITORY, ROOT, StageError, to_json, write_whole
from loadtest.bench.fault_load import FaultLoad
from loadtest.client.target import build_target
from loadtest.runs.environment import environment, pinning
from serving.process.launcher import Running, free_ports, start, wait_ready
from serving.server import Endpoint, Launch, find_server

RESULT = ROOT / "docs" / "benchmarks" / "faults.json"
ARTIFACTS = {
    "onnxruntime": "pytorch-onnx",
    "tflite": "tensorflow-tflite",
    "tfserving": "tensorflow-savedmodel",
}
PROTOCOLS = ("rest", "grpc")
PATIENCE_S = 60.0
SWAP, FULL, TERM, KILL = "version swap", "full queue", "SIGTERM", "killed worker"
CLIENTS = {SWAP: 4, FULL: 24, TERM: 4, KILL: 4}
"""Of each protocol."""
OIP_OPTIONS = {
    SWAP: ("--poll-s", "0.2"),
    FULL: ("--max-queue-size", "2", "--max-batch-size", "1"),
    TERM: ("--grace-s", "0.5"),
    KILL: ("--workers", "2"),
}
TFSERVING_OPTIONS = {
    SWAP: ("--file_system_poll_wait_seconds=1",),
    FULL: ("--enable_batching", "--batching_parameters_file={folder}/batching"),
    TERM: ("--grace_seconds=0.5",),
    KILL: ("--workers=2",),
}
BATCHING = "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }"


@dataclass(frozen=True)
class Up:
    """A server under load."""

    name: str
    artifact: str
    running: Running
    port: int
    folder: Path
    seconds: float

    @property
    def versions(self) -> Path:
        """The folder of the artifact's versions, a copy that may be changed."""
        return self.folder / "repository" / self.artifact


def launch(name: str, fault: str, ports: dict[str, int], folder: Path) -> Launch:
    """The server on a model repository of its own in `folder`, with one thread, in the settings of the fault."""
    artifact = ARTIFACTS[name]
    shutil.copytree(MODEL_REPOSITORY / artifact, folder / "repository" / artifact)
    program = (sys.executable, "-m", f"serving.servers.{name}")
    where: tuple[str, ...]
    listen: tuple[str, ...]
    if name != "tfserving":
        where = ("--model-repository", str(folder / "repository"), "--artifact", artifact, "--threads", "1")
        listen = ("--rest-port", str(ports["rest"]), "--grpc-port", str(ports["grpc"]))
        return Launch((*program, *where, *listen, *OIP_OPTIONS[fault]), cwd=ROOT)
    (folder / "batching").write_text(BATCHING)
    base = folder / "repository" / artifact
    where = (f"--model_name={artifact}", f"--model_base_path={base}", "--tensorflow_session_parallelism=1")
    listen = (f"--rest_api_port={ports['rest']}", f"--port={ports['grpc']}")
    options = (option.format(folder=folder) for option in TFSERVING_OPTIONS[fault])
    return Launch((*program, *where, *listen, *options), cwd=ROOT)


def swap(up: Up) -> dict[str, Any]:
    """A second version appears, takes over, and goes again."""
    shutil.copytree(up.versions / "1", up.folder / "new")
    began_s = time.perf_counter()
    (up.folder / "new").rename(up.versions / "2")
    _until(lambda: _served(up) == {"2"}, "version 2 alone is served")
    swapped_s = time.perf_counter() - began_s
    time.sleep(up.seconds)
    (up.versions / "2").rename(up.folder / "gone")
    _until(lambda: _served(up) == {"1"}, "version 1 alone is served")
    return {"swapped_after_s": round(swapped_s, 2)}


def fill(up: Up) -> dict[str, Any]:
    """More clients than the queue has room for: that is all."""
    time.sleep(up.seconds)
    return {}


def terminate(up: Up) -> dict[str, Any]:
    """SIGTERM; the server has to end by itself."""
    os.kill(up.running.pid, signal.SIGTERM)
    began_s = time.perf_counter()
    status = up.running.process.wait(PATIENCE_S)
    return {"exit_status": status, "ended_after_s": round(time.perf_counter() - began_s, 2)}


def kill(up: Up) -> dict[str, Any]:
    """SIGKILL to one of two workers; another takes its place."""
    os.kill(min(child.pid for child in psutil.Process(up.running.pid).children()), signal.SIGKILL)
    began_s = time.perf_counter()
    _until(lambda: _ready_workers(up) == 3, "a third worker is ready")
    return {"replaced_after_s": round(time.perf_counter() - began_s, 2)}


FAULTS: dict[str, Callable[[Up], dict[str, Any]]] = {SWAP: swap, FULL: fill, TERM: terminate, KILL: kill}


def suffer(name: str, fault: str, seconds: float) -> list[dict[str, Any]]:
    """One server, one fault: a row for each protocol."""
    server, artifact = find_server(name), ARTIFACTS[name]
    ports = free_ports(server)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = start(launch(name, fault, ports, folder), log=folder / "log", cpus=pinning()[0])
        stack.callback(running.stop)
        up = Up(name, artifact, running, ports["rest"], folder, seconds)
        wait_ready(running, server, [artifact], ports)
        if fault == KILL:
            _until(lambda: _ready_workers(up) == 2, "both workers are ready")
        endpoints = [Endpoint(name, artifact, protocol, ports[protocol]) for protocol in PROTOCOLS]
        loads = [FaultLoad(build_target(endpoint), CLIENTS[fault]) for endpoint in endpoints]
        with ExitStack() as block:
            for load in loads:
                block.enter_context(load)
            time.sleep(seconds)
            found = FAULTS[fault](up)
            time.sleep(seconds / 2)
    row = {"server": name, "fault": fault, "connections": CLIENTS[fault], **found}
    return [
        {**row, "protocol": protocol, **load.total(), "explanations": load.explanations}
        for protocol, load in zip(PROTOCOLS, loads, strict=True)
    ]


def is_borne(row: dict[str, Any]) -> bool:
    """Whether the server did what it must."""
    allowed = 2 * row["connections"] if row["fault"] == KILL else 0
    refused = row["refused"] > 0 if row["fault"] == FULL else row["refused"] == 0
    return bool(row["wrong"] == 0 and row["failed"] <= allowed and refused and row.get("exit_status", 0) == 0)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    names = ("server", "fault", "protocol", "right", "refused", "failed", "wrong", "worst ms")
    lines = ["{:<12} {:<14} {:<8} {:>8} {:>8} {:>7} {:>6} {:>9}".format(*names)]
    lines += [
        f"{row['server']:<12} {row['fault']:<14} {row['protocol']:<8} {row['right']:>8,} {row['refused']:>8,} "
        f"{row['failed']:>7} {row['wrong']:>6} {row['worst_ms']:>9,.1f}" + ("" if is_borne(row) else "  NOT BORNE")
        for row in rows
    ]
    return "\n".join(lines)


def _until(condition: Callable[[], bool], what: str) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > ends_s:
            raise StageError(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.05)


def _ready_workers(up: Up) -> int:
    return up.running.log.read_text(errors="replace").count("is ready on")


def _served(up: Up) -> set[str]:
    """The versions that answer."""
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=10)
    try:
        connection.request("GET", f"/v{1 if up.name == 'tfserving' else 2}/models/{up.artifact}")
        found = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if up.name != "tfserving":
        return set(found["versions"])
    return {row["version"] for row in found["model_version_status"] if row["state"] in ("AVAILABLE", "UNLOADING")}


def main(argv: list[str] | None = None) -> int:
    """Bring about every fault, write, print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest faults", description=__doc__)
    parser.add_argument("--servers", default=",".join(ARTIFACTS), help="names with commas")
    parser.add_argument("--faults", default=",".join(FAULTS), help="names with commas")
    parser.add_argument("--seconds", type=float, default=1.0, help="of load before each fault")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args(argv)
    rows = []
    try:
        for name in options.servers.split(","):
            for fault in options.faults.split(","):
                print(f"{name}: {fault}", file=sys.stderr, flush=True)
                rows += suffer(name, fault, options.seconds)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    kept = {"rows": rows, "environment": environment(pinning()[0], None), "seconds": options.seconds}
    write_whole(options.output, to_json(kept).encode())
    print(table(rows))
    return 0 if all(map(is_borne, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
