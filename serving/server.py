"""The `Server` interface: what a server hosts, how it is started, and how one speaks to it.

A server is one file or folder, `serving/servers/<name>`, with an instance of `Server` in a constant `SERVER`. Encoding
and decoding are pure functions; processes belong to `serving.process.launcher`, sockets to `serving.client` and
the load test.
"""

from __future__ import annotations

import importlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from contract import Manifest, StageError, Tensors

SERVERS = Path(__file__).parent / "servers"
PROTOCOLS = ("rest", "rest-binary", "grpc")
VERSION_SWAP, FULL_QUEUE, TERMINATION, KILLED_WORKER = "version swap", "full queue", "SIGTERM", "killed worker"
FAULTS = (VERSION_SWAP, FULL_QUEUE, TERMINATION, KILLED_WORKER)
"""What the fault benchmark does to a server under load."""


@dataclass(frozen=True)
class Settings:
    """What can be tuned in every server, under one name; a server ignores what it has no switch for, and says so."""

    threads: int = 1
    """Intra-op threads of one worker."""
    workers: int = 1
    """Worker processes (or model workers)."""
    max_batch_size: int = 32
    """Largest batch that the server may form from waiting requests; 1 turns batching off."""
    max_queue_delay_us: int = 0
    """Longest wait for a batch to fill, in microseconds."""


@dataclass(frozen=True)
class Launch:
    """One process to start: what the launcher runs."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the environment."""
    cwd: Path | None = None


@dataclass(frozen=True)
class Call:
    """One encoded request, ready to send as it is."""

    path: str
    """HTTP path, or full gRPC method name as `/package.Service/Method`."""
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """HTTP headers or gRPC metadata, without Content-Length."""


@dataclass(frozen=True)
class Endpoint:
    """Server × artifact × protocol: one thing that can be measured."""

    server: str
    artifact: str
    protocol: str
    port: int
    host: str = "127.0.0.1"
    engine: str = ""

    @property
    def name(self) -> str:
        """`<server>/<artifact>/<protocol>`, the name in every table."""
        return f"{self.server}/{self.artifact}/{self.protocol}"

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


class Server(ABC):
    """A program that hosts artifacts."""

    name: str
    formats: tuple[str, ...]
    """The formats it can host."""
    ports: Mapping[str, int]
    """Default port by port name, e.g. `{"rest": 8501, "grpc": 8500}`."""
    protocols: Mapping[str, str]
    """Port name by protocol, e.g. `{"rest": "rest", "rest-binary": "rest", "grpc": "grpc"}`."""
    engines: tuple[str, ...]
    """How it can be provided, the preferred one first."""
    ready_port: str = "rest"
    """Name of the port that `live_call` and `ready_call` go to."""
    grid: tuple[Settings, ...] = (Settings(),)
    """Settings that tuning tries; the first is the default."""
    apis: Mapping[str, str] = MappingProxyType({})
    """The API of `serving.conformance` by protocol, e.g. `{"rest": "oip-rest", "grpc": "oip-grpc"}`."""
    optional_apis: Mapping[str, str] = MappingProxyType({})
    """Open Inference APIs by protocol that the server has only where `GET /v2` answers 200."""
    stands_in_for: Mapping[str, str] = MappingProxyType({})
    """By engine the genuine program that the engine stands in for; its figures are not that program's."""

    @abstractmethod
    def missing(self, engine: str) -> str | None:
        """Why `engine` can't be used on this machine and what would bring it, or None where it can."""

    @abstractmethod
    def launch(
        self, engine: str, artifacts: Mapping[str, Manifest], ports: Mapping[str, int], settings: Settings, folder: Path
    ) -> Launch:
        """Write the configuration into `folder` and say what to start: all `artifacts`, on loopback, at `ports`."""

    @abstractmethod
    def ready_call(self, artifact: str) -> Call:
        """The HTTP GET, on the port named `ready_port`, that tells whether `artifact` answers predictions."""

    def is_ready(self, status: int, body: bytes) -> bool:
        """Whether the answer to `ready_call` says that the artifact answers predictions."""
        return status == 200

    @abstractmethod
    def encode(self, protocol: str, artifact: str, manifest: Manifest, inputs: Tensors) -> Call:
        """The request that sends `inputs` (the batch in the first dimension) to `artifact`."""

    @abstractmethod
    def decode(
        self, protocol: str, manifest: Manifest, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        """The outputs in an answer; `headers` has lower-case names. Raises ValueError where it is no answer."""

    def live_call(self) -> Call:
        """The HTTP GET, on the port named `ready_port`, that is answered as soon as the process serves HTTP."""
        return Call("/v2/health/live", b"")

    def launch_for_fault(
        self, fault: str, artifact: str, repository: Path, ports: Mapping[str, int], folder: Path
    ) -> Launch | None:
        """How to start the embedded program on `repository` so that `fault`, one of FAULTS, can happen to it.

        Files go into `folder`. None for a server that the fault benchmark leaves out.
        """
        return None

    def versions_call(self, artifact: str) -> Call:
        """The HTTP GET, on the port named `ready_port`, whose answer `served_versions` reads."""
        return Call(f"/v2/models/{artifact}", b"")

    def served_versions(self, body: bytes) -> set[str]:
        """The versions that answer predictions, by the answer to `versions_call`."""
        return set(json.loads(body)["versions"])

    def engine(self, wanted: str | None = None) -> str:
        """`wanted` if it can be used, else the first engine that can; raises StageError with every reason."""
        candidates = (wanted,) if wanted else self.engines
        if wanted and wanted not in self.engines:
            raise StageError(f"{self.name} has no engine {wanted!r}: choose from {', '.join(self.engines)}")
        reasons = {engine: self.missing(engine) for engine in candidates}
        for engine, reason in reasons.items():
            if reason is None:
                return engine
        raise StageError(f"{self.name} can't start: " + "; ".join(f"engine {e}: {r}" for e, r in reasons.items()))

    def endpoints(
        self, artifacts: Mapping[str, Any], ports: Mapping[str, int], engine: str, host: str = "127.0.0.1"
    ) -> list[Endpoint]:
        """One endpoint per artifact and protocol."""
        return [
            Endpoint(self.name, artifact, protocol, ports[port], host, engine)
            for artifact in artifacts
            for protocol, port in self.protocols.items()
        ]


def list_servers() -> list[str]:
    """The names of all servers: the files and folders of `serving/servers/`."""
    found = (path.stem for path in SERVERS.iterdir() if path.suffix in ("", ".py"))
    return sorted(name for name in found if not name.startswith(("_", ".")))


def servers_for(artifacts: Mapping[str, Manifest]) -> list[str]:
    """The servers that one of these artifacts is for; a line on stderr names those that are left out."""
    formats = {manifest.format for manifest in artifacts.values()}
    usable = [name for name in list_servers() if formats.intersection(find_server(name).formats)]
    for name in sorted(set(list_servers()) - set(usable)):
        print(f"{name} is left out: no artifact of format {' or '.join(find_server(name).formats)}", file=sys.stderr)
    return usable


def find_server(name: str) -> Server:
    """The server called `name`."""
    if name not in list_servers():
        raise StageError(f"no server {name!r}: choose from {', '.join(list_servers())}")
    found: Server = importlib.import_module(f"serving.servers.{name}").SERVER
    return found
