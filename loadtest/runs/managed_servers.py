"""The servers of a comparison: which there are, and as many of them up together as memory allows, pinned and ready."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import psutil

from contract import EXPORT_FIRST, Manifest, StageError
from serving.client import PredictionError, check
from serving.process.launcher import free_ports, start, wait_ready
from serving.repository import read_artifacts, read_samples
from serving.server import Endpoint, Server, Settings, find_server, servers_for

Seconds = dict[str, float | None]
SPARE_MEMORY = 0.15
"""Share of the machine's memory that stays free."""


@dataclass(frozen=True)
class ManagedServer:
    """A server that is started for each round, or endpoints that run already (`server` is None then)."""

    name: str
    endpoints: list[Endpoint]
    server: Server | None = None
    engine: str = ""
    artifacts: Mapping[str, Manifest] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    prepared: Mapping[str, str] = field(default_factory=dict)
    """By endpoint: a file of `loadtest.client.prepared` with its requests, for one that is not in the repository."""


@dataclass(frozen=True)
class RunningServer:
    """A server that runs: its endpoints at their ports, its process, and the seconds of its start per endpoint."""

    endpoints: dict[str, Endpoint]
    pid: int | None
    cold: dict[str, Seconds]


@dataclass
class Together:
    """Servers that are up at the same time."""

    servers: list[ManagedServer] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    """Those to measure, at their ports."""
    pids: dict[str, int | None] = field(default_factory=dict)
    """Root of each server's process tree, by its name."""
    cold: dict[str, Seconds] = field(default_factory=dict)
    """By endpoint."""

    def add(self, server: ManagedServer, running: RunningServer) -> None:
        """Take in a server that has been started."""
        self.servers.append(server)
        self.endpoints += [running.endpoints[endpoint.name] for endpoint in server.endpoints]
        self.pids[server.name] = running.pid
        self.cold |= running.cold

    def server_of(self, endpoint: Endpoint) -> ManagedServer:
        """The server that hosts an endpoint."""
        return next(server for server in self.servers if endpoint.name in {e.name for e in server.endpoints})


def find_managed_server(name: str, only: Sequence[str] = (), settings: Settings | None = None) -> ManagedServer:
    """The server called `name` with its engine, artifacts and those endpoints that `only` names."""
    server = find_server(name)
    engine = server.engine(os.environ.get(f"{name.upper()}_ENGINE"))
    artifacts = _artifacts_for(server)
    if not artifacts:
        raise StageError(f"{name}: no artifact of format {' or '.join(server.formats)}: {EXPORT_FIRST}")
    endpoints = server.endpoints(artifacts, server.ports, engine)
    return ManagedServer(name, named(endpoints, only), server, engine, artifacts, settings or server.grid[0])


def _artifacts_for(server: Server) -> dict[str, Manifest]:
    return {key: manifest for key, manifest in read_artifacts().items() if manifest.format in server.formats}


def named(endpoints: Sequence[Endpoint], only: Sequence[str]) -> list[Endpoint]:
    """The endpoints that `only` names, or whose names begin as a word that is no whole name; all for none."""
    whole = {endpoint.name for endpoint in endpoints} & set(only)
    beginnings = tuple(word for word in only if word not in whole)
    return [e for e in endpoints if not only or e.name in whole or (beginnings and e.name.startswith(beginnings))]


def choose_servers(
    names: Sequence[str], attached: Sequence[Endpoint] = (), only: Sequence[str] = ()
) -> list[ManagedServer]:
    """Every server that has an endpoint to measure; without `names` those that can host an artifact there is."""
    if attached:
        servers = [ManagedServer("attached", named(attached, only))]
    else:
        able = names or servers_for(read_artifacts())
        servers = [find_managed_server(name, only) for name in able]
    measured = [server for server in servers if server.endpoints]
    if not servers:
        raise StageError(f"no server hosts any artifact there is: {EXPORT_FIRST}")
    if not measured:
        raise StageError(f"no endpoint begins with {' or '.join(only)}: `python -m serving list` names them")
    return measured


class Memory(Protocol):
    """Of the machine, in bytes."""

    @property
    def total(self) -> int:
        """All of it."""

    @property
    def available(self) -> int:
        """What can be had without swapping."""


def started_groups(
    servers: Sequence[ManagedServer],
    folder: Path,
    cpus: Collection[int] | None,
    memory: Callable[[], Memory] = psutil.virtual_memory,
) -> Iterator[Together]:
    """Start the servers one after the other, each alone with its start, and give them out together.

    Where `memory` would run short a group is given out before the next server is started, and stopped when the caller
    asks for the next group.
    """
    waiting = list(servers)
    while waiting:
        with ExitStack() as stack:
            group, largest = Together(), 0
            while waiting and (not group.servers or _fits(largest, memory())):
                server = waiting.pop(0)
                before = memory().available
                group.add(server, stack.enter_context(running(server, folder, cpus)))
                largest = max(largest, before - memory().available)
            yield group


def _fits(bytes_needed: int, memory: Memory) -> bool:
    """Whether another server as large as the largest would leave enough memory free."""
    return bool(memory.available - 1.5 * bytes_needed > SPARE_MEMORY * memory.total)


@contextmanager
def running(server: ManagedServer, folder: Path, cpus: Collection[int] | None) -> Iterator[RunningServer]:
    """Start the server on free ports, pinned to `cpus`; stop it at the end of the block. One that runs
    already is left be.
    """
    if server.server is None:
        yield RunningServer({endpoint.name: endpoint for endpoint in server.endpoints}, None, {})
        return
    ports, configuration = free_ports(server.server), folder / "run" / server.name
    configuration.mkdir(parents=True, exist_ok=True)
    launch = server.server.launch(server.engine, server.artifacts, ports, server.settings, configuration)
    process = start(launch, log=folder / "run" / f"{server.name}.log", cpus=cpus)
    try:
        waited = wait_ready(process, server.server, server.artifacts, ports)
        port_names = server.server.protocols
        endpoints = {e.name: replace(e, port=ports[port_names[e.protocol]]) for e in server.endpoints}
        cold = {e.name: _cold(endpoints[e.name], server, waited) for e in server.endpoints}
        pid = None if server.engine == "docker" else process.pid  # a container is no child of its client
        yield RunningServer(endpoints, pid, cold)
    finally:
        process.stop()


def _cold(endpoint: Endpoint, server: ManagedServer, waited: Mapping[str, float]) -> Seconds:
    """Seconds from the start to live, ready and the endpoint's first right answer (None: the pre-flight says why)."""
    if endpoint.name in server.prepared:
        return {**waited, "first_answer_s": None}
    try:
        first_s = check(endpoint, server.artifacts[endpoint.artifact], read_samples(), [0]).latency_ms / 1e3
    except PredictionError:
        return {**waited, "first_answer_s": None}
    return {**waited, "first_answer_s": waited["ready_s"] + first_s}
