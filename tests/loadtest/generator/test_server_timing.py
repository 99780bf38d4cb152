"""The split of a request's time: asked for, read over both protocols, put together, shown."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from contract import ROOT
from loadtest.analysis.aggregate import mean_split
from loadtest.analysis.figures import Split

TOLD = 'queue;dur=0.250, compute;dur=0.500, batch;desc="8"'
CODE = """
import locust, gevent, json
from gevent.server import StreamServer
from loadtest.generator.server_timing import ask_split
from loadtest.client.target import Check, assemble
from serving.server import Call, Endpoint
def answer(sock, address):
    while data := sock.recv(65536):
        asked = b"\\r\\nx-server-timing: 1\\r\\n" in data and {tells}
        split_in = b'Server-Timing: {split_in}\\r\\n' if asked else b""
        gevent.sleep(0.002)
        sock.sendall(b"HTTP/1.1 200 OK\\r\\n" + split_in + b"Content-Length: 2\\r\\n\\r\\nok")
server = StreamServer(("127.0.0.1", 0), answer); server.start()
endpoint = Endpoint("s", "a", "rest", server.server_port)
check = Check(lambda body, _: {{}}, lambda _: "", 200)
print(json.dumps(ask_split(assemble(endpoint, [Call("/x", b"body")], [check], ""), 4, 0.2)))
"""


def asked(tells: bool) -> Any:
    code = CODE.format(tells=tells, split_in=TOLD)
    done = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_split_is_what_the_server_told() -> None:
    split = asked(tells=True)
    assert (split["users"], split["queue_ms"], split["compute_ms"], split["batch_rows"]) == (4, 0.25, 0.5, 8)
    assert split["requests"] > 20
    assert split["rest_ms"] == pytest.approx(split["latency_ms"] - 0.75)


def test_server_that_tells_nothing_has_no_split() -> None:
    assert asked(tells=False) is None


def test_parts_of_the_middle_add_up() -> None:
    from loadtest.generator.server_timing import middle

    rows = [(float(n), n / 2, n / 4, 8.0, n / 4) for n in range(10, 0, -1)]
    assert middle(rows) == {"latency_ms": 5.5, "queue_ms": 2.75, "compute_ms": 1.375, "batch_rows": 8, "rest_ms": 1.375}
    assert middle(rows[:1])["latency_ms"] == 10


def test_split_over_grpc_comes_with_the_trailers() -> None:
    from loadtest.generator.server_timing import split_in, with_question

    target: Any = SimpleNamespace(endpoint=SimpleNamespace(protocol="grpc"))
    block, payloads = with_question(target, (b"block", [b"data"]))
    assert block.startswith(b"block")
    assert b"x-server-timing" in block
    connection: Any = SimpleNamespace(headers=[("grpc-status", "0"), ("server-timing", TOLD)])
    assert split_in(target, connection, None) == (0.25, 0.5, 8)  # type: ignore[arg-type] # gRPC's answer has no head
    assert payloads == [b"data"]


def test_rounds_are_put_together() -> None:
    rounds = [Split(32, 100, latency, 0.5, 1.0, latency - 1.5, 8.0) for latency in (3.0, 5.0)]
    mean = mean_split(rounds)
    assert mean is not None
    assert (mean.users, mean.requests, mean.latency_ms, mean.rest_ms) == (32, 200, 4.0, 2.5)
    assert mean_split([]) is None
