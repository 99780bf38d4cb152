"""Starts, pins, awaits and stops a server's processes: the only place of the servers that creates one.

Writes the server's output to a log file; reads nothing. Used by `python -m serving up` and by the load test.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import psutil

from contract import StageError
from serving.server import Call, Launch

POLL_S = 0.02
STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Running:
    """A started process, the leader of a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    started_s: float
    """`time.perf_counter()` just before the start."""

    @property
    def pid(self) -> int:
        """Process id, which is the group's id too."""
        return self.process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self.process.poll()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the process and all it started: SIGTERM, `timeout_s` seconds to finish answering, then SIGKILL."""
        family = _family(self.pid)
        if self.process.poll() is None:
            self.process.terminate()
            _wait_quietly(self.process, timeout_s)
        _signal_group(self.pid, signal.SIGKILL)
        self.process.wait()  # before psutil, which would take the exit status from us
        for member in family:  # one that left the group, or that the leader's end made an orphan
            if member.is_running():
                member.kill()
        psutil.wait_procs(family, timeout=5)

    def last_lines(self, count: int = 12) -> str:
        """The end of the log, for a message."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        return "\n".join(f"  | {line}" for line in lines[-count:])


def start(launch: Launch, *, log: Path, cpus: Collection[int] | None = None) -> Running:
    """Start `launch` in a process group of its own, pinned to `cpus` where given, its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    before = os.sched_getaffinity(0) if cpus and hasattr(os, "sched_setaffinity") else None
    with log.open("ab") as output:
        started_s = time.perf_counter()
        try:
            if before is not None and cpus:
                os.sched_setaffinity(0, cpus)  # a child inherits the affinity of the thread that forks it
            process = subprocess.Popen(
                launch.argv,
                env={**os.environ, **launch.env},
                cwd=launch.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise StageError(f"could not start {launch.argv[0]}: {error.strerror}: run `make install`") from error
        finally:
            if before is not None:
                os.sched_setaffinity(0, before)
    return Running(process, log, started_s)


class ReadinessProbe(Protocol):
    """What waiting for a program needs to know of it; every `Server` has it."""

    @property
    def name(self) -> str: ...
    @property
    def ports(self) -> Iterable[str]: ...
    @property
    def protocols(self) -> Mapping[str, str]: ...
    @property
    def ready_port(self) -> str: ...

    def live_call(self) -> Call:
        """The GET that is answered as soon as HTTP is served."""

    def ready_call(self, artifact: str, /) -> Call:
        """The GET that tells whether `artifact` answers."""

    def is_ready(self, status: int, body: bytes) -> bool:
        """Whether the answer to `ready_call` says so."""


def wait_ready(
    running: Running,
    server: ReadinessProbe,
    artifacts: Collection[str],
    ports: Mapping[str, int],
    timeout_s: float = 120.0,
    while_waiting: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Wait until `server` answers for every artifact: `{"live_s", "ready_s"}`, seconds from its start.

    Raises StageError with the end of its log where it dies or takes longer than `timeout_s`.
    """
    live_s, waiting = None, list(artifacts)
    port = ports[server.ready_port]
    while waiting:
        if running.exit_status is not None:
            raise StageError(
                f"{server.name} ended with status {running.exit_status} before it was ready:\n{running.last_lines()}"
            )
        if time.perf_counter() - running.started_s > timeout_s:
            raise StageError(f"{server.name} was not ready after {timeout_s:.0f} s:\n{running.last_lines()}")
        if live_s is None and _get(port, server.live_call()) is not None:
            live_s = time.perf_counter() - running.started_s
        if live_s is not None:
            answer = _get(port, server.ready_call(waiting[-1]))
            if answer and server.is_ready(*answer):
                waiting.pop()
                continue
        while_waiting()
        time.sleep(POLL_S)
    for protocol_port in set(server.protocols.values()):
        _wait_listening(ports[protocol_port], running, server, timeout_s)
    ready_s = time.perf_counter() - running.started_s
    return {"live_s": live_s or ready_s, "ready_s": ready_s}


def check_ports_free(server: str, ports: Mapping[str, int]) -> None:
    """Raise StageError naming the port, and who has it, unless every port can be bound on loopback."""
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                mend = f"stop it, or shift all ports: `python -m serving up {server} --port-offset 1000`"
                raise StageError(f"{server}: port {port} ({name}) is taken by {_owner(port)}: {mend}") from None


def free_ports(server: ReadinessProbe) -> dict[str, int]:
    """A free port for each port name of `server`, chosen by the kernel."""
    sockets = {name: socket.socket() for name in server.ports}
    try:
        for probe in sockets.values():
            probe.bind(("127.0.0.1", 0))
        return {name: probe.getsockname()[1] for name, probe in sockets.items()}
    finally:
        for probe in sockets.values():
            probe.close()


@cache
def docker_missing() -> str | None:
    """Why containers can't be run here, or None where a Docker daemon answers."""
    try:
        answer = subprocess.run(("docker", "info"), capture_output=True, timeout=20, check=False)
    except FileNotFoundError:
        return "no `docker` on PATH: install Docker"
    except subprocess.TimeoutExpired:
        return "the Docker daemon does not answer: start it"
    return None if answer.returncode == 0 else "no Docker daemon can be reached: start it"


def _get(port: int, call: Call) -> tuple[int, bytes] | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", call.path, headers=dict(call.headers))
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _wait_listening(port: int, running: Running, server: ReadinessProbe, timeout_s: float) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if running.exit_status is not None or time.perf_counter() - running.started_s > timeout_s:
                raise StageError(f"{server.name} does not listen on port {port}:\n{running.last_lines()}") from None
            time.sleep(POLL_S)
        else:
            return


def _family(pid: int) -> list[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _wait_quietly(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _owner(port: int) -> str:
    for connection in psutil.net_connections("tcp"):
        if (
            connection.laddr
            and connection.laddr.port == port
            and connection.status == psutil.CONN_LISTEN
            and connection.pid
        ):
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another process"
