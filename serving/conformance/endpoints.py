"""Puts the cases to this project's endpoints: those that run already, or every server, started for it and stopped."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contract import EXPORT_FIRST, StageError
from serving.conformance.exchange import ask
from serving.conformance.runner import Verdict, run
from serving.conformance.signature import find_subject
from serving.process.launcher import free_ports, start, wait_ready
from serving.repository import read_artifacts
from serving.server import Endpoint, find_server, servers_for


def examine(endpoints: Sequence[Endpoint], repository: Path | None = None) -> list[Verdict]:
    """Put to every endpoint the cases of the APIs that it speaks."""
    address_of = {(e.server, e.artifact, e.protocol): e.address for e in endpoints}
    verdicts = []
    for endpoint in endpoints:
        rest, rpc = (address_of.get((endpoint.server, endpoint.artifact, p), "") for p in ("rest", "grpc"))
        for api in _spoken(endpoint, rest):
            address = endpoint.address if api == "oip-grpc" else rest
            subject = find_subject(api, address, rpc, endpoint.artifact, repository)
            verdicts.append(run(api, subject, endpoint.name, endpoint.engine))
    return verdicts


def examine_started(names: Sequence[str] = ()) -> list[Verdict]:
    """Start each server on free ports, put its cases to it, and stop it; all servers where none is named."""
    verdicts = []
    for name in names or servers_for(read_artifacts()):
        with started(name) as endpoints:
            verdicts += examine(endpoints)
    return verdicts


@contextmanager
def started(name: str) -> Iterator[list[Endpoint]]:
    """The endpoints of a server that runs, with its default settings, as long as the context does."""
    server = find_server(name)
    engine = server.engine(os.environ.get(f"{name.upper()}_ENGINE"))
    artifacts = {key: manifest for key, manifest in read_artifacts().items() if manifest.format in server.formats}
    if not artifacts:
        raise StageError(f"{name}: no artifact of format {' or '.join(server.formats)}: {EXPORT_FIRST}")
    ports = free_ports(server)
    with tempfile.TemporaryDirectory() as folder, _ended_by_sigterm():
        launch = server.launch(engine, artifacts, ports, server.grid[0], Path(folder))
        running = start(launch, log=Path(folder) / "log")
        try:
            wait_ready(running, server, artifacts, ports)
            yield server.endpoints(artifacts, ports, engine)
        finally:
            running.stop()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the program in good order, so that the server that it started is stopped."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _spoken(endpoint: Endpoint, rest: str) -> list[str]:
    """The APIs of an endpoint; one that a server may have is held to the protocol where it is switched on."""
    server = find_server(endpoint.server)
    apis = [server.apis.get(endpoint.protocol)]
    if endpoint.protocol in server.optional_apis and ask(rest, "GET", "/v2").status == 200:
        apis.append(server.optional_apis[endpoint.protocol])
    return [api for api in apis if api]
