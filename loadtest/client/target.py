"""One endpoint as the load generator sees it: requests as ready-made bytes, connections, and the check of every answer.

Reads the model repository. Encoding and decoding are the server's own (`serving.server.Server`); no socket is opened
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from contract import MODEL_REPOSITORY, Manifest, StageError
from loadtest.client.changing import TRACE, TRACE_HEADERS, ChangingRequests, Place
from loadtest.client.grpc import GrpcConnection
from loadtest.client.http1 import Http1Connection, Opener
from loadtest.client.requests import Answer, grpc_request, http1_request
from serving.repository import read_samples
from serving.server import Call, Endpoint, find_server

DIFFERENT_SAMPLES = 100
"""Samples that the requests cycle through."""
READ_HEADERS = ("content-type", "content-encoding", "inference-header-content-length")
"""The headers that decoding may look at: an answer is known again by its body and these."""
REMEMBERED = 64
"""Right answers remembered per request: batches of different sizes round differently in the last bits."""

Decode = Callable[[bytes, Mapping[str, str]], dict[str, Any]]


class Connection(Protocol):
    """What both protocols' connections have in common."""

    def connect(self) -> None:
        """Open it outside of the clock."""

    def close(self) -> None:
        """Close it."""

    def exchange(self, request: Any) -> Answer:
        """Send one request and return its answer."""


class Check:
    """Says whether an answer is right: decoded and compared with the expected outputs, for every answer.

    Decoding is a pure function of the body and `READ_HEADERS`, so an answer equal in these to one found right before is
    right; only others are decoded again.
    """

    def __init__(self, decode: Decode, find_fault: Callable[[dict[str, Any]], str], ok_status: int) -> None:
        self.decode = decode
        self.find_fault = find_fault
        self.ok_status = ok_status
        self.right: set[tuple[bytes, tuple[tuple[str, str], ...]]] = set()

    def __call__(self, answer: Answer, headers: tuple[tuple[str, str], ...]) -> str:
        """The reason why the answer is wrong, or "" where it is right. Raises ValueError where it is an
        error answer.
        """
        if answer.status != self.ok_status:
            reason = (answer.body or answer.head)[:200]
            raise ValueError(f"status {answer.status}: {reason.decode(errors='replace')}")
        if (answer.body, headers) in self.right:
            return ""
        try:
            fault = self.find_fault(self.decode(answer.body, dict(headers)))
        except (ValueError, KeyError, TypeError) as error:
            return f"can't be decoded ({error}): {answer.body[:200]!r}"
        if not fault and len(self.right) < REMEMBERED:
            self.right.add((answer.body, headers))
        return fault


@dataclass
class Target:
    """Requests and checks by index, and how to connect."""

    endpoint: Endpoint
    requests: Sequence[Any]
    """Each look-up gives the bytes of one send, with a trace context of its own."""
    checks: list[Check]
    request_bytes: float
    """Mean size of a body (HTTP) or message (gRPC)."""
    wire_bytes: float
    """Mean size of all that is sent for a request, headers and framing included."""
    samples_sha256: str
    batch: int

    def __post_init__(self) -> None:
        self.heads: dict[bytes, tuple[tuple[str, str], ...]] = {}

    def connection(self, opened: Opener | None = None, timeout_s: float = 30.0) -> Connection:
        """A connection of its own for one user, on sockets that `opened` makes (ordinary ones by default)."""
        kind = GrpcConnection if self.endpoint.protocol == "grpc" else Http1Connection
        return kind(self.endpoint.host, self.endpoint.port, timeout_s, opened)

    def fault(self, index: int, answer: Answer) -> str:
        """Why the answer to request `index` is wrong, or ""; raises ValueError where the server refused."""
        return self.checks[index](answer, self._headers(answer.head))

    def _headers(self, head: bytes) -> tuple[tuple[str, str], ...]:
        if self.endpoint.protocol == "grpc":
            return ()
        if (known := self.heads.get(head)) is None:
            if len(self.heads) > 256:  # a date or an id makes each head new
                self.heads.clear()
            lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
            named = {name.strip().lower(): value.strip() for name, _, value in lines}
            known = self.heads[head] = tuple((name, named[name]) for name in READ_HEADERS if name in named)
        return known


def build_target(endpoint: Endpoint, repository: Path = MODEL_REPOSITORY, batch: int = 1) -> Target:
    """Encode the samples for `endpoint`, `batch` to a request; raises StageError where the repository lacks them."""
    samples = read_samples(repository)
    manifest = Manifest.read(repository / endpoint.artifact, "make export")
    count = min(len(samples), DIFFERENT_SAMPLES) if batch == 1 else max(1, min(len(samples) // batch, 8))
    if len(samples) < batch:
        raise StageError(f"samples.npz has {len(samples)} samples, a batch needs {batch}: run `make export`")
    groups = [list(range(i * batch, (i + 1) * batch)) for i in range(count)]
    server = find_server(endpoint.server)
    calls = [server.encode(endpoint.protocol, endpoint.artifact, manifest, samples.take(group)) for group in groups]

    def decode(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        return server.decode(endpoint.protocol, manifest, body, headers)

    ok_status = 0 if endpoint.protocol == "grpc" else 200
    faults = [partial(samples.fault, artifact=endpoint.artifact, rows=group) for group in groups]
    checks = [Check(decode, fault, ok_status) for fault in faults]
    return assemble(endpoint, calls, checks, samples.sha256, batch)


def assemble(endpoint: Endpoint, calls: list[Call], checks: list[Check], samples_sha256: str, batch: int = 1) -> Target:
    """A target from encoded calls and their checks; every send carries a `traceparent` of its own."""
    traced = [replace(call, headers={**call.headers, **TRACE_HEADERS}) for call in calls]
    return assemble_changing(endpoint, traced, checks, samples_sha256, batch, [TRACE])


def assemble_changing(
    endpoint: Endpoint,
    calls: list[Call],
    checks: list[Check],
    samples_sha256: str,
    batch: int,
    places: Sequence[Place],
) -> Target:
    """A target whose requests differ from send to send in `places`, and in nothing where there are none."""
    if endpoint.protocol == "grpc":
        requests: list[Any] = [grpc_request(call.path, call.headers, call.body, endpoint.address) for call in calls]
        sizes = [9 + len(block) + sum(9 + len(piece) for piece in pieces) for block, pieces in requests]
    else:
        requests = [http1_request(call.path, call.headers, call.body, endpoint.address) for call in calls]
        sizes = [len(request) for request in requests]
    bodies, total = sum(len(call.body) for call in calls) / len(calls), sum(sizes) / len(sizes)
    sends = ChangingRequests(requests, places) if places else requests
    return Target(endpoint, sends, checks, bodies, total, samples_sha256, batch)
