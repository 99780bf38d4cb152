"""A lean closed-loop load generator: every answer checked, latencies in microseconds.

Used by the servers' benchmark, where a Locust user would be slower than what it measures. One process, one epoll loop,
`connections` clients that each send the next request when the answer to the last one has come. The answers are kept
with their number and checked when the clock has stopped. Reads requests from a pickle-free file (`Plan.write`); prints
one JSON object.

    python -m loadtest.bench.closed_loop <plan.npz> --port N --connections 32 --seconds 3
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet

from loadtest.client.grpc import GrpcConnection
from loadtest.client.http1 import Http1Connection, open_plain
from loadtest.client.requests import BrokenAnswerError, grpc_request

HOST = "127.0.0.1"
TIMEOUT_S = 10.0
TOLERANCE = 1e-4
Numbers = Callable[[bytes], np.ndarray]


@dataclass(frozen=True)
class Plan:
    """Ready-made requests, and the numbers that each answer must hold."""

    requests: list[bytes]
    """HTTP/1.1 requests whole, or gRPC messages."""
    expected: np.ndarray
    """FP32, one row per request; none: answers are not looked into."""
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


class Turns:
    """Gives each client its turn when something has come for it."""

    def __init__(self) -> None:
        self.hub = getcurrent()
        self.poll = select.epoll()
        self.clients: dict[int, greenlet] = {}

    def open(self, address: tuple[str, int], timeout_s: float) -> TurnSocket:
        """Connect a socket for the client whose turn it is."""
        return TurnSocket(self, address, timeout_s)

    def run(self, ends_s: float) -> None:
        """Give turns until the clock shows `ends_s`; raises TimeoutError where nothing comes for long."""
        clients, poll = self.clients, self.poll.poll
        while time.perf_counter() < ends_s:
            ready = poll(TIMEOUT_S)
            if not ready:
                raise TimeoutError(f"no answer in {TIMEOUT_S:.0f} s")
            for fd, _ in ready:
                clients[fd].switch()


class TurnSocket:
    """A connected socket whose `recv` lets the other clients go on until something has come."""

    unread = False

    def __init__(self, turns: Turns, address: tuple[str, int], timeout_s: float) -> None:
        self._turns = turns
        self._connected = open_plain(address, timeout_s)
        self._connected.settimeout(None)  # or Python asks the kernel before each call whether it may
        self._fd = self._connected.fileno()
        turns.clients[self._fd] = getcurrent()
        turns.poll.register(self._fd, select.EPOLLIN)
        self.sendall = self._connected.sendall

    def recv(self, size: int) -> bytes:
        """What has come, at most `size` bytes, b"" at the end."""
        self._turns.hub.switch()
        return self._connected.recv(size)

    def close(self) -> None:
        """Close it."""
        self._turns.poll.unregister(self._fd)
        self._connected.close()


class Load:
    """The clients' common count of requests, and what came back."""

    def __init__(self, plan: Plan, port: int, began_s: float, ends_s: float) -> None:
        self.plan, self.port = plan, port
        self.began_s, self.ends_s = began_s, ends_s
        self.number = self.failures = 0
        self.latencies_s = array("d")
        self.answers: Counter[tuple[int, bytes]] = Counter()

    def client(self, turns: Turns) -> None:
        """One connection's closed loop until the end; the warm-up's requests are not timed."""
        connection: Any = Http1Connection(HOST, self.port, TIMEOUT_S, turns.open)
        requests: list[Any] = self.plan.requests
        good_status = 200
        if self.plan.payload == "grpc":
            connection = GrpcConnection(HOST, self.port, TIMEOUT_S, turns.open)
            requests = [grpc_request(self.plan.path, {}, message, f"{HOST}:{self.port}") for message in requests]
            good_status = 0
        try:
            self._loop(connection, requests, good_status)
        finally:
            connection.close()

    def _loop(self, connection: Any, requests: list[Any], good_status: int) -> None:
        now_s = 0.0
        while now_s < self.ends_s:
            index = self.number % len(requests)
            self.number += 1
            sent_s = time.perf_counter()
            try:
                status, _, body = connection.exchange(requests[index])
            except (OSError, BrokenAnswerError):
                status = -1
            now_s = time.perf_counter()
            if status != good_status:
                self.failures += 1
                continue
            self.answers[index, body] += 1
            if sent_s >= self.began_s:
                self.latencies_s.append(now_s - sent_s)

    def wrong_answers(self) -> int:
        """How many answers do not hold the numbers that were expected; equal ones are looked into once."""
        if not self.plan.expected.size:
            return 0
        numbers = numbers_of(self.plan)
        return sum(
            count
            for (index, body), count in self.answers.items()
            if not _is_right(numbers, body, self.plan.expected[index])
        )


def run(plan: Plan, port: int, connections: int, seconds: float, warmup_s: float) -> dict[str, float]:
    """Load the server for the warm-up and `seconds`; the warm-up's answers are checked, but neither counted nor timed.

    Returns requests, failures, wrong_answers, requests_per_s, p50_ms, p99_ms (NaN where nothing was answered) and
    generator_share, the share of a core that the generator took.
    """
    turns = Turns()
    began_s = time.perf_counter() + warmup_s
    load = Load(plan, port, began_s, began_s + seconds)
    clients = [greenlet(load.client) for _ in range(connections)]
    cpu_s, started_s = time.process_time(), time.perf_counter()
    for client in clients:
        client.switch(turns)
    try:
        turns.run(load.ends_s)
        share = (time.process_time() - cpu_s) / (time.perf_counter() - started_s)
    finally:
        for client in clients:
            client.throw()  # what is still under way is left, its connection closed
        turns.poll.close()
    latencies_ms = np.array(load.latencies_s) * 1e3
    p50_ms, p99_ms = np.quantile(latencies_ms, [0.5, 0.99]) if latencies_ms.size else (float("nan"),) * 2
    return {
        "requests": latencies_ms.size,
        "failures": load.failures,
        "wrong_answers": load.wrong_answers(),
        "requests_per_s": latencies_ms.size / seconds,
        "p50_ms": float(p50_ms),
        "p99_ms": float(p99_ms),
        "generator_share": share,
        "answers": load.answers.total(),
    }


def _is_right(numbers: Numbers, body: bytes, expected: np.ndarray) -> bool:
    try:
        found = numbers(body)
    except (ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError):
        return False
    return found.size == expected.size and bool(np.abs(found - expected).max() < TOLERANCE)


def numbers_of(plan: Plan) -> Numbers:
    """The function that finds the numbers in an answer's body; it raises where there are none."""
    if plan.payload == "json":
        return _json_numbers
    if plan.payload == "grpc":
        return _grpc_numbers(plan.path)
    size = 4 * plan.expected.shape[1]
    return lambda body: np.frombuffer(body[-size:], np.float32)


def _json_numbers(body: bytes) -> np.ndarray:
    found: Any = json.loads(body)
    while not (isinstance(found, list) and isinstance(found[0], (list, float, int))):
        if isinstance(found, dict):
            key = next((key for key in ("outputs", "predictions", "data") if key in found), next(iter(found)))
            found = found[key]
        else:
            found = found[0]
    return np.asarray(found, np.float64).ravel()


def _grpc_numbers(path: str) -> Numbers:
    from serving import protos

    def oip(answer: Any) -> np.ndarray:
        if answer.raw_output_contents:
            return np.frombuffer(answer.raw_output_contents[0], np.float32)
        return np.array(answer.outputs[0].contents.fp32_contents)

    def tensorflow(answer: Any) -> np.ndarray:
        tensor = next(iter(answer.outputs.values()))
        return np.frombuffer(tensor.tensor_content, np.float32) if tensor.tensor_content else np.array(tensor.float_val)

    service = path.strip("/").partition("/")[0]
    message, numbers = {
        "inference.GRPCInferenceService": ("inference.ModelInferResponse", oip),
        "tensorflow.serving.PredictionService": ("tensorflow.serving.PredictResponse", tensorflow),
        "org.pytorch.serve.grpc.inference.InferenceAPIsService": (
            "org.pytorch.serve.grpc.inference.PredictionResponse",
            lambda answer: np.frombuffer(answer.prediction, np.float32),
        ),
    }[service]
    answers = protos.message(message)
    return lambda body: numbers(answers.FromString(body))


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
