"""The servers of a comparison: which there are, and one of them started, pinned and ready for as long
as it is measured.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contract import EXPORT_FIRST, Manifest, StageError
from serving.client import PredictionError, check
from serving.process.launcher import free_ports, start, wait_ready
from serving.repository import Samples, read_artifacts, read_samples
from serving.server import Endpoint, Server, Settings, find_server

Seconds = dict[str, float | None]


@dataclass(frozen=True)
class ManagedServer:
    """A server that is started for each round, or one that runs already (`server` is None then)."""

    name: str
    endpoints: list[Endpoint]
    server: Server | None = None
    engine: str = ""
    artifacts: Mapping[str, Manifest] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class RunningServer:
    """A host that runs: its endpoints at their ports, its process, and the seconds of its start per endpoint."""

    endpoints: dict[str, Endpoint]
    pid: int | None
    cold: dict[str, Seconds]


def find_managed_server(name: str, only: Sequence[str] = (), settings: Settings | None = None) -> ManagedServer:
    """The server called `name` with its engine, artifacts and those endpoints whose names begin as `only` says."""
    server = find_server(name)
    engine = server.engine(os.environ.get(f"{name.upper()}_ENGINE"))
    artifacts = {key: found for key, found in read_artifacts().items() if found.format in server.formats}
    if not artifacts:
        raise StageError(f"{name}: no artifact of format {' or '.join(server.formats)}: {EXPORT_FIRST}")
    endpoints = server.endpoints(artifacts, server.ports, engine)
    kept = [endpoint for endpoint in endpoints if not only or endpoint.name.startswith(tuple(only))]
    return ManagedServer(name, kept, server, engine, artifacts, settings or server.grid[0])


def choose_servers(names: Sequence[str], attached: Sequence[Endpoint], only: Sequence[str]) -> list[ManagedServer]:
    """Every host that has an endpoint to measure; raises StageError where none has."""
    if attached:
        kept = [endpoint for endpoint in attached if not only or endpoint.name.startswith(tuple(only))]
        found = [ManagedServer("attached", kept)]
    else:
        found = [find_managed_server(name, only) for name in names]
    hosts = [host for host in found if host.endpoints]
    if not hosts:
        raise StageError(f"no endpoint begins with {' or '.join(only)}: `python -m serving list` names them")
    return hosts


@contextmanager
def running(host: ManagedServer, folder: Path, cpus: Collection[int] | None) -> Iterator[RunningServer]:
    """Start the host on free ports, pinned to `cpus`; stop it at the end of the block. One that runs
    already is left be.
    """
    if host.server is None:
        yield RunningServer({endpoint.name: endpoint for endpoint in host.endpoints}, None, {})
        return
    ports, configuration = free_ports(host.server), folder / "run" / host.name
    configuration.mkdir(parents=True, exist_ok=True)
    launch = host.server.launch(host.engine, host.artifacts, ports, host.settings, configuration)
    process = start(launch, log=folder / "run" / f"{host.name}.log", cpus=cpus)
    try:
        waited = wait_ready(process, host.server, host.artifacts, ports)
        endpoints = {e.name: e for e in host.server.endpoints(host.artifacts, ports, host.engine)}
        samples = read_samples()
        cold = {one.name: _cold(endpoints[one.name], host.artifacts, samples, waited) for one in host.endpoints}
        pid = None if host.engine == "docker" else process.pid  # a container is no child of its client
        yield RunningServer(endpoints, pid, cold)
    finally:
        process.stop()


def _cold(
    endpoint: Endpoint, artifacts: Mapping[str, Manifest], samples: Samples, waited: Mapping[str, float]
) -> Seconds:
    """Seconds from the start to live, ready and the endpoint's first right answer (None: the pre-flight says why)."""
    try:
        first_s = check(endpoint, artifacts[endpoint.artifact], samples, [0]).latency_ms / 1e3
    except PredictionError:
        return {**waited, "first_answer_s": None}
    return {**waited, "first_answer_s": waited["ready_s"] + first_s}
