"""What the servers' benchmark knows of a system under test: how it is started, what it is sent, when it is ready.

A `System` has what `serving.process.launcher` asks of a server, so that everything is started in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract import MODEL_REPOSITORY, Manifest, Tensors
from loadtest.client.prepared import NOISE, PreparedRequests
from serving.repository import Samples
from serving.server import Call, Launch, Settings, find_server

PROTOCOL = {"json": "rest", "binary": "rest-binary", "grpc": "grpc"}
ARTIFACT = "pytorch-onnx"
SAMPLES = 64
CONNECTIONS = (1, 8, 32)
Program = Callable[[Mapping[str, int], Path], Launch]
"""What to start, from ports (`rest`, `grpc`, …) and a folder to write into."""
Encode = Callable[[str, Tensors], Call]
"""From a payload and one sample to a request."""


@dataclass(frozen=True)
class System:
    """A server to measure, or a program that does a part of a server's work."""

    name: str
    launch: Program
    payloads: tuple[str, ...]
    encode: Encode
    artifact: str = ARTIFACT
    ready_path: str = "/"
    """Asked with GET; empty where an open gRPC port is all there is to see."""
    ready_port: str = "rest"
    ready: Callable[[int, bytes], bool] = lambda status, _: status == 200
    ports: tuple[str, ...] = ("rest", "grpc")
    batching: str = "what has arrived, at most 32"
    """Its setting, for the reader."""
    venv: str | None = None
    checked: bool = True
    """Whether answers are predictions; an echo's are not."""
    connections: tuple[int, ...] = CONNECTIONS
    wrk: tuple[str, ...] = ()
    """Payloads that wrk sends as well, with 8 and 32 connections."""
    cores: int = 1
    idle_connections: int = 0
    """Kept open beside those that are measured."""

    @property
    def protocols(self) -> Mapping[str, str]:
        """The port's name by payload."""
        return {payload: "grpc" if payload == "grpc" else "rest" for payload in self.payloads}

    @property
    def artifacts(self) -> tuple[str, ...]:
        """What must be ready; nothing where there is nothing to ask."""
        return (self.artifact,) if self.ready_path else ()

    def live_call(self) -> Call:
        """The GET that is answered as soon as HTTP is served."""
        return Call(self.ready_path, b"")

    def ready_call(self, _artifact: str) -> Call:
        """The GET that tells whether it is ready."""
        return Call(self.ready_path, b"")

    def is_ready(self, status: int, body: bytes) -> bool:
        """Whether the answer to `ready_call` says so."""
        return self.ready(status, body)


def prepare_requests(system: System, payload: str, samples: Samples, changing: bool) -> PreparedRequests:
    """The requests for one sample each, and what is expected: the trained model's answer."""
    expected = next(iter(samples.expected[system.artifact].values()))[:SAMPLES].astype(np.float32)
    inputs = [samples.take([index]) for index in range(SAMPLES)]
    calls = [system.encode(payload, with_noise(sample) if changing else sample) for sample in inputs]
    return PreparedRequests(calls, expected if system.checked else expected[:0], payload, changing)


def with_noise(sample: Tensors) -> Tensors:
    """The sample with its first number replaced by the one that every send writes anew."""
    name, array = next(iter(sample.items()))
    noisy = array.copy()
    noisy.reshape(-1)[0] = NOISE
    return {**sample, name: noisy}


def registered(name: str, artifact: str, payloads: tuple[str, ...], settings: Settings, label: str = "") -> System:
    """A server of the registry."""
    batching = f"at most {settings.max_batch_size}, {settings.max_queue_delay_us} µs"
    server = find_server(name)
    manifest = Manifest.read(MODEL_REPOSITORY / artifact, "make export")

    def launch(ports: Mapping[str, int], folder: Path) -> Launch:
        return server.launch(server.engine(), {artifact: manifest}, ports, settings, folder)

    def encode(payload: str, inputs: Tensors) -> Call:
        return server.encode(PROTOCOL[payload], artifact, manifest, inputs)

    return System(
        label or name,
        launch,
        payloads,
        encode,
        artifact,
        server.ready_call(artifact).path,
        server.ready_port,
        server.is_ready,
        tuple(server.ports),
        batching if settings.max_batch_size > 1 else "none",
    )
