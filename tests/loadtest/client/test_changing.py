"""Requests that differ from send to send: what changes, and that all else stays."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from loadtest.client.changing import trace_bytes
from loadtest.client.prepared import NOISE, PreparedRequests
from loadtest.client.requests import Answer
from loadtest.client.target import Target, assemble
from serving.server import Call, Endpoint

TRACEPARENT = re.compile(rb"traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01\r\n")


def sends(target: Target, count: int, index: int = 0) -> list[bytes]:
    """What goes over the wire for one request again and again; of gRPC the header block and the message."""
    requests = [target.requests[index] for _ in range(count)]
    return [request if isinstance(request, bytes) else b"".join((request[0], *request[1])) for request in requests]


def prepared(body: bytes, payload: str, path: str = "/", changes: bool = True) -> PreparedRequests:
    return PreparedRequests([Call(path, body, {"A": "b"})] * 2, np.zeros((2, 2), np.float32), payload, changes)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_every_send_of_a_target_has_a_trace_context_of_its_own(protocol: str) -> None:
    target = assemble(Endpoint("s", "a", protocol, 1), [Call("/p", b"body", {"k": "v"})], [], "")
    found = sends(target, 50)
    assert len(set(found)) == 50
    assert len({len(send) for send in found}) == 1
    assert all(b"body" in send for send in found)


def test_a_traceparent_has_the_form_of_the_specification() -> None:
    target = assemble(Endpoint("s", "a", "rest", 1), [Call("/p", b"body")], [], "")
    matches = [TRACEPARENT.search(send) for send in sends(target, 20)]
    assert all(match and set(match[1]) != {ord("0")} and set(match[2]) != {ord("0")} for match in matches)
    assert len({match[1] for match in matches if match}) == 20


def test_two_targets_share_no_trace_id() -> None:
    """A server that outlives the load generator would know the second one's requests again."""
    first, second = (assemble(Endpoint("s", "a", "rest", 1), [Call("/p", b"")], [], "") for _ in range(2))
    assert not set(sends(first, 100)) & set(sends(second, 100))


@pytest.mark.parametrize(
    ("body", "payload", "path"),
    [
        (b'{"data": [0.00012345, 0.5]}', "json", "/"),
        (b'{"data": [0.00012345000190101564, 0.5]}', "json", "/"),
        (b"head" + NOISE.tobytes() + b"tail", "binary", "/"),
        (b"head" + NOISE.tobytes() + b"\0" * 40_000, "grpc", "/inference.GRPCInferenceService/ModelInfer"),
    ],
)
def test_changing_requests_differ_in_headers_and_body(body: bytes, payload: str, path: str) -> None:
    target = prepared(body, payload, path).target(Endpoint("s", "a", "grpc" if payload == "grpc" else "rest", 1))
    found = sends(target, 100)
    assert len({send[-len(body) :] for send in found}) == 100
    assert len({send[: -len(body)] for send in found}) == 100
    assert {len(send) for send in found} == {len(found[0])}
    assert all(b"x-request-id" in send and b"traceparent" in send for send in found)


def test_noise_as_bytes_stays_near_its_value() -> None:
    target = prepared(NOISE.tobytes(), "binary").target(Endpoint("s", "a", "rest", 1))
    values = np.array([np.frombuffer(send[-4:], np.float32)[0] for send in sends(target, 1000)])
    assert np.all((values > 1e-4) & (values < 2e-4))


def test_constant_requests_are_sent_as_they_are() -> None:
    target = prepared(b"[0.00012345]", "json", changes=False).target(Endpoint("s", "a", "rest", 1))
    found = sends(target, 10)
    assert len(set(found)) == 1
    assert b"traceparent" not in found[0]


def test_prepared_requests_are_read_as_they_were_written(tmp_path: Path) -> None:
    calls = [Call("/x", b"first", {"A": "b"}), Call("/x", b"", {}), Call("/x", bytes(range(256)), {})]
    written = PreparedRequests(calls, np.eye(3, dtype=np.float32), "binary", changing=True)
    written.write(tmp_path / "prepared.npz")
    read = PreparedRequests.read(tmp_path / "prepared.npz")
    assert (read.calls, read.payload, read.changing) == (calls, "binary", True)
    assert np.array_equal(read.expected, written.expected)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"outputs": [{"data": [0.0, 0.0]}]}', ""),
        (b'{"predictions": [[0.0, 0.0]]}', ""),
        (b'{"outputs": [{"data": [0.0, 0.5]}]}', "off by 0.5"),
        (b'{"outputs": [{"data": [0.0]}]}', "1 numbers, expected 2"),
        (b'{"outputs": []}', "can't be decoded"),
        (b"<html>", "can't be decoded"),
    ],
)
def test_the_numbers_of_an_answer_are_checked(body: bytes, reason: str) -> None:
    target = prepared(b"", "json").target(Endpoint("s", "a", "rest", 1))
    found = target.fault(0, Answer(200, b"HTTP/1.1 200 OK", body))
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_trace_and_span_change_together() -> None:
    first, second = trace_bytes(1), trace_bytes(2)
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 24
