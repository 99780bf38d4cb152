"""A lean closed-loop load generator over raw sockets: every answer checked, latencies in microseconds.

Used by the servers' benchmark, where a Locust user would be slower than what it measures. One process, one epoll loop,
`connections` clients that each send the next request when the answer to the last one has come. Reads requests from a
pickle-free file (`Plan.write`); prints one JSON object.

    python -m loadtest.bench_load <plan.npz> --port N --connections 32 --seconds 3
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.bench_http2 import Http2Client

TIMEOUT_S = 10.0
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Plan:
    """Ready-made requests, and the numbers that each answer must hold."""

    requests: list[bytes]
    """HTTP/1.1 requests whole, or gRPC messages."""
    expected: np.ndarray
    """FP32, one row per request."""
    payload: str
    """How the numbers are found in an answer: `json`, `binary` or `grpc`."""
    path: str = ""
    """gRPC method."""

    def write(self, path: Path) -> None:
        """Write an `.npz`."""
        lengths = np.array([len(r) for r in self.requests])
        blob = np.frombuffer(b"".join(self.requests), np.uint8)
        np.savez(path, lengths=lengths, blob=blob, expected=self.expected, payload=self.payload, path=self.path)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read what `write` wrote."""
        with np.load(path) as file:
            ends = np.cumsum(file["lengths"])
            blob = file["blob"].tobytes()
            requests = [blob[end - length : end] for end, length in zip(ends, file["lengths"], strict=True)]
            return cls(requests, file["expected"], str(file["payload"]), str(file["path"]))


class HttpClient:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Read what there is: the status and body of an answer, or None where it isn't complete."""
        data = self.socket.recv(262144)
        if not data:
            raise ConnectionError("the server closed the connection")
        buffer = self._buffer + data if self._buffer else data
        head, separator, rest = buffer.partition(b"\r\n\r\n")
        body = self._body(head, rest) if separator else None
        if body is None:
            self._buffer = buffer
            return None
        self._buffer = b""
        return int(head[9:12]), body

    @staticmethod
    def _body(head: bytes, body: bytes) -> bytes | None:
        lower = head.lower()
        start = lower.find(b"content-length:")
        if start < 0:  # chunked
            if not body.endswith(b"0\r\n\r\n"):
                return None
            parts = body.split(b"\r\n")
            return b"".join(parts[1:-3:2])
        end = lower.find(b"\r\n", start)
        length = int(lower[start + 15 : end if end > 0 else None])
        return body if len(body) >= length else None


def checker(plan: Plan) -> Callable[[int, bytes], bool]:
    """A function from a request's number and its answer's body to whether the answer is right."""
    expected, columns = plan.expected, plan.expected.shape[1]
    if plan.payload == "json":
        import simdjson

        def numbers(body: bytes) -> np.ndarray:
            found: Any = simdjson.Parser().parse(body)
            while not (isinstance(found, simdjson.Array) and isinstance(found[0], (simdjson.Array, float, int))):
                if isinstance(found, simdjson.Object):
                    key = next((key for key in ("outputs", "predictions", "data") if key in found), next(iter(found)))
                    found = found[key]
                else:
                    found = found[0]
            return np.frombuffer(found.as_buffer(of_type="d"), np.float64)

    elif plan.payload == "binary":

        def numbers(body: bytes) -> np.ndarray:
            return np.frombuffer(body[-4 * columns :], np.float32)
    else:
        from serving import protos

        response = protos.message("inference.ModelInferResponse")

        def numbers(body: bytes) -> np.ndarray:
            return np.frombuffer(response.FromString(body).raw_output_contents[0], np.float32)

    def is_right(index: int, body: bytes) -> bool:
        try:
            found = numbers(body)
        except (ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError):
            return False
        return found.size == columns and bool(np.abs(found - expected[index]).max() < TOLERANCE)

    return is_right


def run(plan: Plan, port: int, connections: int, seconds: float, warmup_s: float) -> dict[str, object]:
    """Load the server; warm-up requests are checked, but neither counted nor timed."""
    is_right = checker(plan)
    make: Callable[[int], HttpClient | Http2Client] = HttpClient
    if plan.payload == "grpc":
        make = lambda p: Http2Client(p, plan.path)  # noqa: E731 - one of two makers
    clients = {client.socket.fileno(): client for client in (make(port) for _ in range(connections))}
    poll = select.epoll()
    sent: dict[int, tuple[int, float]] = {}
    number = failures = wrong = 0
    latencies = array("d")
    for fd, client in clients.items():
        poll.register(fd, select.EPOLLIN)
        client.send(plan.requests[number % len(plan.requests)])
        sent[fd] = (number % len(plan.requests), time.perf_counter())
        number += 1
    began_s = time.perf_counter() + warmup_s
    now_s = time.perf_counter()
    while now_s < began_s + seconds:
        ready = poll.poll(TIMEOUT_S)
        if not ready:
            raise TimeoutError(f"no answer in {TIMEOUT_S:.0f} s")
        for fd, _ in ready:
            answer = clients[fd].receive()
            if answer is None:
                continue
            now_s = time.perf_counter()
            index, sent_s = sent[fd]
            following = number % len(plan.requests)
            number += 1
            clients[fd].send(plan.requests[following])
            sent[fd] = (following, now_s)
            good = answer[0] == 200
            right = good and is_right(index, answer[1])
            failures += not good
            wrong += good and not right
            if good and sent_s >= began_s:
                latencies.append(now_s - sent_s)
    took_s = now_s - began_s
    quantiles = np.quantile(np.array(latencies), [0.5, 0.99]) * 1e3 if latencies else (float("nan"),) * 2
    return {
        "requests": len(latencies),
        "failures": failures,
        "wrong_answers": wrong,
        "requests_per_s": len(latencies) / took_s,
        "p50_ms": float(quantiles[0]),
        "p99_ms": float(quantiles[1]),
    }


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warmup-s", type=float, default=1.0)
    options = parser.parse_args()
    plan = Plan.read(options.plan)
    print(json.dumps(run(plan, options.port, options.connections, options.seconds, options.warmup_s)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
