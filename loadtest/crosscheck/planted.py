"""Servers whose differences are known beforehand, in the form in which a comparison starts and measures any server.

A null server that is busy for some milliseconds on every request, and a real server whose one endpoint has several
names. Their requests come from files (`loadtest.client.prepared`), since no model repository knows them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from contract import ROOT, Manifest, Tensors
from loadtest.client.prepared import PreparedRequests
from loadtest.crosscheck.independent import prepare
from loadtest.runs.managed_servers import ManagedServer, find_managed_server
from serving.server import Call, Endpoint, Launch, Server, Settings

ANSWER = b'{"outputs": [{"name": "p", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}]}'
EXPECTED = np.array([[0.25, 0.75]], np.float32)
BODY_BYTES = 3000
ENGINE = "embedded"


class NullServer(Server):
    """Answers every request alike, after `service_ms` of processor time."""

    formats = ()
    ports = {"rest": 9000}
    protocols = {"rest": "rest"}
    engines = (ENGINE,)

    def __init__(self, name: str, service_ms: float) -> None:
        self.name, self.service_ms = name, service_ms

    def missing(self, engine: str) -> str | None:
        """Nothing can be missing."""
        return None

    def launch(
        self, engine: str, artifacts: Mapping[str, Manifest], ports: Mapping[str, int], settings: Settings, folder: Path
    ) -> Launch:
        """Write the answer and say what to start."""
        answer = folder / "answer.bin"
        answer.write_bytes(ANSWER)
        module = ("-m", "loadtest.runs.null_server", "--answer", str(answer), "--port", str(ports["rest"]))
        return Launch((sys.executable, *module, "--service-ms", f"{self.service_ms:g}"), cwd=ROOT)

    def ready_call(self, artifact: str) -> Call:
        """Any path is answered."""
        return Call("/", b"")

    def encode(self, protocol: str, artifact: str, manifest: Manifest, inputs: Tensors) -> Call:
        """A request of a real one's size, whatever the inputs."""
        return Call(f"/v2/models/{artifact}/infer", b"0" * BODY_BYTES, {"Content-Type": "application/json"})

    def decode(
        self, protocol: str, manifest: Manifest, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        """The constant; raises ValueError for anything else."""
        if body != ANSWER:
            raise ValueError("not the one right answer")
        return {"p": EXPECTED}


def null_servers(folder: Path, names: Sequence[str], service_ms: float) -> list[ManagedServer]:
    """Null servers that are all alike but for their names."""
    path = folder / "null.npz"
    call = Call("/v2/models/null/infer", b"0" * BODY_BYTES, {"Content-Type": "application/json"})
    PreparedRequests([call] * 2, np.repeat(EXPECTED, 2, axis=0), "json", changing=True).write(path)
    servers = [NullServer(name, service_ms) for name in names]
    endpoints = [Endpoint(name, "null", "rest", 0, engine=ENGINE) for name in names]
    return [
        ManagedServer(server.name, [endpoint], server, ENGINE, prepared={endpoint.name: str(path)})
        for server, endpoint in zip(servers, endpoints, strict=True)
    ]


def under_many_names(folder: Path, endpoint: str, count: int) -> ManagedServer:
    """The server with one artifact, whose one endpoint is measured under so many names: what differs is chance."""
    path = folder / "requests.npz"
    server = find_managed_server(endpoint.split("/", maxsplit=1)[0], [endpoint])
    real = server.endpoints[0]
    prepare(real).write(path)
    aliases = [replace(real, artifact=f"{real.artifact}-as-{number}") for number in range(1, count + 1)]
    artifacts = {real.artifact: server.artifacts[real.artifact]}
    prepared = {alias.name: str(path) for alias in aliases}
    return replace(server, endpoints=aliases, artifacts=artifacts, prepared=prepared)
