"""`python -m serving up [server…]`: start servers, print their endpoints, watch and restart them, stop them all.

Reads the model repository; writes `<workspace>/endpoints.json` (what is running) and `<workspace>/logs/<server>.log`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import orjson
from tqdm import tqdm

from contract import (
    ENDPOINTS,
    EXPORT_FIRST,
    MODEL_REPOSITORY,
    WORKSPACE,
    Manifest,
    StageError,
    shown,
    to_json,
    write_whole,
)
from serving.process.launcher import Running, check_ports_free, start, wait_ready
from serving.repository import read_artifacts, read_samples
from serving.server import Endpoint, Server, Settings, find_server

REQUESTS = WORKSPACE / "requests"
LOGS = WORKSPACE / "logs"
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
STEADY_S = 60.0
"""A server that ran this long begins its back-off anew."""


class StoppedError(Exception):
    """A signal came while a server was starting."""


@dataclass
class Hosted:
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
        """Start it and wait until it answers; returns the seconds that took. Raises Stopped once `stopping` is set."""
        folder = WORKSPACE / "run" / self.server.name
        launch = self.server.launch(self.engine, self.artifacts, self.ports, self.settings, folder)
        self.running = start(launch, log=LOGS / f"{self.server.name}.log")

        def leave_if_stopping() -> None:
            if stopping.is_set():
                raise StoppedError

        waited = wait_ready(self.running, self.server, self.artifacts, self.ports, while_waiting=leave_if_stopping)
        self.ready_at_s = time.monotonic()
        return waited["ready_s"]


def choose(names: list[str], port_offset: int = 0) -> list[Hosted]:
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
        chosen.append(Hosted(server, engine, artifacts, ports, server.grid[0]))
    return chosen


def up(names: list[str], port_offset: int = 0) -> int:
    """Run servers until SIGINT or SIGTERM; returns the exit status."""
    hosted = choose(names, port_offset)
    stopping = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        print(f"\n{signal.Signals(number).name}: stopping", file=sys.stderr)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        _start_all(hosted, stopping)
        _announce(hosted)
        watchers = [threading.Thread(target=_watch, args=(one, stopping)) for one in hosted]
        for watcher in watchers:
            watcher.start()
        for watcher in watchers:
            watcher.join()
    except StoppedError:
        return 0
    finally:
        _stop_all(hosted)
    return 0


def _start_all(hosted: list[Hosted], stopping: threading.Event) -> None:
    with tqdm(hosted, desc="start", unit="server", file=sys.stderr) as bar:
        for one in bar:
            bar.set_postfix_str(one.server.name)
            ready_s = one.start(stopping)
            tqdm.write(f"{one.server.name} ({one.engine}): ready in {ready_s:.1f} s", file=sys.stderr)


def _watch(one: Hosted, stopping: threading.Event) -> None:
    """Look after one server, in a thread of its own: a slow restart keeps nobody else waiting."""
    while not stopping.wait(0.2):
        _restart_if_dead(one, stopping)


def _restart_if_dead(one: Hosted, stopping: threading.Event) -> None:
    if one.running is None or (status := one.running.exit_status) is None:
        return
    if time.monotonic() - one.ready_at_s > STEADY_S:
        one.restarts = 0
    wait_s = BACKOFF_S[min(one.restarts, len(BACKOFF_S) - 1)]
    one.restarts += 1
    print(f"{one.server.name} died (status {status}): starting it again in {wait_s:g} s", file=sys.stderr)
    one.running.stop()  # what it left behind still holds its ports
    if stopping.wait(wait_s):
        return
    try:
        ready_s = one.start(stopping)
    except StoppedError:
        return
    except StageError as error:
        print(error, file=sys.stderr)
    else:
        print(f"{one.server.name} is back after {ready_s:.1f} s", file=sys.stderr)


def _stop_all(hosted: list[Hosted]) -> None:
    ENDPOINTS.unlink(missing_ok=True)
    stops = [threading.Thread(target=one.running.stop) for one in hosted if one.running is not None]
    for stop in stops:
        stop.start()
    for stop in stops:
        stop.join()


def _announce(hosted: list[Hosted]) -> None:
    endpoints = [endpoint for one in hosted for endpoint in one.endpoints]
    write_whole(ENDPOINTS, to_json([asdict(endpoint) for endpoint in endpoints]).encode())
    manifests = {name: manifest for one in hosted for name, manifest in one.artifacts.items()}
    width = max(len(endpoint.name) for endpoint in endpoints)
    for endpoint in endpoints:
        print(f"{endpoint.name:{width}}  {endpoint.engine:8}  {shell_line(endpoint, manifests[endpoint.artifact])}")
    print("Ctrl-C stops them all", file=sys.stderr, flush=True)
    sys.stdout.flush()


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


def read_running(path: Path = ENDPOINTS) -> list[Endpoint]:
    """The endpoints that `up` is running now."""
    if not path.is_file():
        raise StageError("nothing is running: start the servers with `make serve-all`")
    return [Endpoint(**fields) for fields in orjson.loads(path.read_bytes())]
