"""The split of a request's time: asked for, read over both protocols, put together, shown."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from contract import ROOT
from loadtest.analysis.aggregate import _split

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
        told = b'Server-Timing: {told}\\r\\n' if asked else b""
        gevent.sleep(0.002)
        sock.sendall(b"HTTP/1.1 200 OK\\r\\n" + told + b"Content-Length: 2\\r\\n\\r\\nok")
server = StreamServer(("127.0.0.1", 0), answer); server.start()
endpoint = Endpoint("s", "a", "rest", server.server_port)
check = Check(lambda body, _: {{}}, lambda _: "", 200)
print(json.dumps(ask_split(assemble(endpoint, [Call("/x", b"body")], [check], ""), 4, 0.2)))
"""


def asked(tells: bool) -> Any:
    code = CODE.format(tells=tells, told=TOLD)
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
    from loadtest.generator.server_timing import told, with_question

    target: Any = SimpleNamespace(endpoint=SimpleNamespace(protocol="grpc"))
    block, payloads = with_question(target, (b"block", [b"data"]))
    assert block.startswith(b"block")
    assert b"x-server-timing" in block
    connection: Any = SimpleNamespace(headers=[("grpc-status", "0"), ("server-timing", TOLD)])
    assert told(target, connection, None) == (0.25, 0.5, 8)  # type: ignore[arg-type] # gRPC's answer has no head
    assert payloads == [b"data"]


def test_rounds_are_put_together() -> None:
    rounds = [{"users": 8, "requests": 9, "latency_ms": v, "queue_ms": 1.0, "compute_ms": 2.0, "rest_ms": v - 3,
               "batch_rows": 4.0} for v in (5.0, 7.0, 6.0)]  # fmt: skip
    split = _split(rounds)
    assert split == {"users": 8, "requests": 9, "latency_ms": 6.0, "queue_ms": 1.0, "compute_ms": 2.0, "rest_ms": 3.0,
                     "batch_rows": 4.0}  # fmt: skip
