"""One checked prediction over any protocol: used by `smoke`, `predict`, the tests and the load test's pre-flight.

Importing it imports no framework; gRPC is imported on first use. It is no load generator: a connection per call.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contract import Manifest, Tensors
from serving.repository import Samples
from serving.server import Call, Endpoint, find_server

TIMEOUT_S = 30.0


class PredictionError(Exception):
    """A request that was refused or got no answer: the endpoint, the status, and what the server said."""


@dataclass(frozen=True)
class Answer:
    """What came back: the outputs, and the bytes on the wire in both directions (bodies, without framing)."""

    outputs: dict[str, np.ndarray]
    latency_ms: float
    request_bytes: int
    response_bytes: int


def predict(endpoint: Endpoint, manifest: Manifest, inputs: Tensors, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send `inputs` to `endpoint` and decode the outputs; raises PredictionError where there are none."""
    server = find_server(endpoint.server)
    call = server.encode(endpoint.protocol, endpoint.artifact, manifest, inputs)
    started_s = time.perf_counter()
    body, headers = send(endpoint, call, timeout_s)
    latency_ms = (time.perf_counter() - started_s) * 1e3
    try:
        outputs = server.decode(endpoint.protocol, manifest, body, headers)
    except (ValueError, KeyError, TypeError) as error:
        raise PredictionError(f"{endpoint.name}: the answer can't be decoded ({error}): {body[:200]!r}") from error
    return Answer(outputs, latency_ms, len(call.body), len(body))


def send(endpoint: Endpoint, call: Call, timeout_s: float = TIMEOUT_S) -> tuple[bytes, Mapping[str, str]]:
    """Send one encoded request: the body of the answer and its headers."""
    if endpoint.protocol == "grpc":
        return _send_grpc(endpoint, call, timeout_s), {}
    return _send_http(endpoint, call, timeout_s)


def check(endpoint: Endpoint, manifest: Manifest, samples: Samples, indices: list[int]) -> Answer:
    """Send some samples and compare the answer; raises PredictionError where it is wrong."""
    answer = predict(endpoint, manifest, samples.take(indices))
    if fault := samples.fault(answer.outputs, endpoint.artifact, indices):
        raise PredictionError(f"{endpoint.name}: wrong answer: {fault}")
    return answer


def _send_http(endpoint: Endpoint, call: Call, timeout_s: float) -> tuple[bytes, Mapping[str, str]]:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
    try:
        connection.request("POST", call.path, call.body, dict(call.headers))
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise PredictionError(f"{endpoint.name}: no answer from {endpoint.address} ({error!r})") from error
    finally:
        connection.close()
    if response.status != 200:
        raise PredictionError(f"{endpoint.name}: HTTP {response.status}: {body[:500].decode(errors='replace')}")
    return body, {name.lower(): value for name, value in response.getheaders()}


def _send_grpc(endpoint: Endpoint, call: Call, timeout_s: float) -> bytes:
    import grpc

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(endpoint.address, options=options) as channel:
        method = channel.unary_unary(call.path, request_serializer=bytes, response_deserializer=bytes)
        try:
            answer: bytes = method(call.body, timeout=timeout_s, metadata=tuple(call.headers.items()))
        except grpc.RpcError as error:
            raise PredictionError(f"{endpoint.name}: gRPC {error.code().name}: {error.details()}") from error
    return answer
