"""`python -m serving up [server…]`: start servers, print their endpoints, watch and restart them, stop them all.

Reads the model repository; writes `<workspace>/endpoints.json` (what is running) and `<workspace>/logs/<server>.log`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from contract import (
    EXPORT_FIRST,
    MODEL_REPOSITORY,
    WORKSPACE,
    Manifest,
    StageError,
    shown,
    write_whole,
)
from serving.process.launcher import Running, check_ports_free, start, wait_ready
from serving.process.running_endpoints import announce, withdraw
from serving.repository import read_artifacts, read_samples
from serving.server import Endpoint, Server, Settings, find_server

REQUESTS = WORKSPACE / "requests"
LOGS = WORKSPACE / "logs"
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
WATCH_S = 0.2
STEADY_S = 60.0
"""A server that ran this long begins its back-off anew."""


class StoppedError(Exception):
    """A signal came while a server was starting."""


@dataclass
class SupervisedServer:
    """One server under watch: what it was started with, and how often it had to be started again."""

    server: Server
    engine: str
    artifacts: dict[str, Manifest]
    ports: dict[str, int]
    settings: Settings
    running: Running | None = None
    restarts: int = 0
    ready_at_s: float = 0.0

    @property
    def endpoints(self) -> list[Endpoint]:
        """One per artifact and protocol."""
        return self.server.endpoints(self.artifacts, self.ports, self.engine)

    def start(self, stopping: threading.Event) -> float:
        """Start it and wait until it answers: the seconds that took. Raises StoppedError once `stopping` is set."""
        folder = WORKSPACE / "run" / self.server.name
        launch = self.server.launch(self.engine, self.artifacts, self.ports, self.settings, folder)
        self.running = start(launch, log=LOGS / f"{self.server.name}.log")

        def leave_if_stopping() -> None:
            if stopping.is_set():
                raise StoppedError

        waited = wait_ready(self.running, self.server, self.artifacts, self.ports, while_waiting=leave_if_stopping)
        self.ready_at_s = time.monotonic()
        return waited["ready_s"]

    def next_wait_s(self) -> float:
        """How long to wait before the next start: longer each time, unless it ran well in between."""
        if time.monotonic() - self.ready_at_s > STEADY_S:
            self.restarts = 0
        self.restarts += 1
        return BACKOFF_S[min(self.restarts, len(BACKOFF_S)) - 1]


def choose(names: list[str], port_offset: int = 0) -> list[SupervisedServer]:
    """What to start: each named server with the engine and artifacts that there are, else StageError."""
    repository = read_artifacts()
    chosen = []
    for name in names:
        server = find_server(name)
        engine = server.engine(os.environ.get(f"{name.upper()}_ENGINE"))
        artifacts = {key: manifest for key, manifest in repository.items() if manifest.format in server.formats}
        if not artifacts:
            raise StageError(f"{name}: no artifact of format {' or '.join(server.formats)}: {EXPORT_FIRST}")
        for key, manifest in artifacts.items():
            manifest.check_files(MODEL_REPOSITORY / key, "make export")
        ports = {port: number + port_offset for port, number in server.ports.items()}
        check_ports_free(name, ports)
        chosen.append(SupervisedServer(server, engine, artifacts, ports, server.grid[0]))
    return chosen


class Supervisor:
    """Starts servers, watches them, starts the dead ones again, and stops them all at the end."""

    def __init__(self, servers: list[SupervisedServer]) -> None:
        self._servers = servers
        self._stopping = threading.Event()

    def run(self) -> int:
        """Go on until SIGINT or SIGTERM; returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        try:
            self._start_all()
            announce([endpoint for server in self._servers for endpoint in server.endpoints])
            self._print_endpoints()
            self._in_threads([partial(self._watch, server) for server in self._servers])
        except StoppedError:
            return 0
        finally:
            withdraw()
            self._in_threads([server.running.stop for server in self._servers if server.running is not None])
        return 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        print(f"\n{signal.Signals(number).name}: stopping", file=sys.stderr)
        self._stopping.set()

    def _start_all(self) -> None:
        with tqdm(self._servers, desc="start", unit="server", file=sys.stderr) as bar:
            for supervised in bar:
                name = supervised.server.name
                bar.set_postfix_str(name)
                ready_s = supervised.start(self._stopping)
                tqdm.write(f"{name} ({supervised.engine}): ready in {ready_s:.1f} s", file=sys.stderr)

    def _watch(self, supervised: SupervisedServer) -> None:
        """Look after one server, in a thread of its own: a slow restart keeps nobody else waiting."""
        while not self._stopping.wait(WATCH_S):
            self._restart_if_dead(supervised)

    def _restart_if_dead(self, supervised: SupervisedServer) -> None:
        if supervised.running is None or (status := supervised.running.exit_status) is None:
            return
        name, wait_s = supervised.server.name, supervised.next_wait_s()
        print(f"{name} died (status {status}): starting it again in {wait_s:g} s", file=sys.stderr)
        supervised.running.stop()  # what it left behind still holds its ports
        if self._stopping.wait(wait_s):
            return
        try:
            ready_s = supervised.start(self._stopping)
        except StoppedError:
            return
        except StageError as error:
            print(error, file=sys.stderr)
        else:
            print(f"{name} is back after {ready_s:.1f} s", file=sys.stderr)

    def _print_endpoints(self) -> None:
        pairs = [(e, server.artifacts[e.artifact]) for server in self._servers for e in server.endpoints]
        width = max(len(endpoint.name) for endpoint, _ in pairs)
        for endpoint, manifest in pairs:
            print(f"{endpoint.name:{width}}  {endpoint.engine:8}  {shell_line(endpoint, manifest)}")
        print("Ctrl-C stops them all", file=sys.stderr, flush=True)
        sys.stdout.flush()

    @staticmethod
    def _in_threads(tasks: list[Callable[[], None]]) -> None:
        """Do all tasks at once, and wait for them."""
        threads = [threading.Thread(target=task) for task in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def up(names: list[str], port_offset: int = 0) -> int:
    """Run servers until SIGINT or SIGTERM; returns the exit status."""
    return Supervisor(choose(names, port_offset)).run()


def shell_line(endpoint: Endpoint, manifest: Manifest) -> str:
    """A line for a shell that gets a prediction; the request body is written to `artifacts/requests/`."""
    if endpoint.protocol == "grpc":
        return f"{shown(Path(sys.executable))} -m serving predict --endpoint {endpoint.name}"
    call = find_server(endpoint.server).encode(endpoint.protocol, endpoint.artifact, manifest, read_samples().take([0]))
    body = REQUESTS / endpoint.name.replace("/", "__")
    write_whole(body, call.body)
    headers = "".join(f" -H '{name}: {value}'" for name, value in call.headers.items())
    output = " -o answer.bin" if endpoint.protocol == "rest-binary" else ""
    return f"curl -sS{output}{headers} --data-binary @{shown(body)} http://{endpoint.address}{call.path}"
