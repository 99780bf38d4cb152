"""wrk and h2load put the requests that our generator puts."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contract import StageError
from loadtest.client.prepared import NOISE, PreparedRequests
from loadtest.runs.calibration import null_server
from loadtest.runs.independent_clients import is_installed, run_h2load, run_wrk
from serving.server import Call

ANSWER = b'{"outputs": [{"data": [0.25, 0.75]}]}'
NONE = np.zeros((0, 2), np.float32)
needs_wrk = pytest.mark.skipif(not is_installed("wrk"), reason="wrk is not installed")
needs_h2load = pytest.mark.skipif(not is_installed("h2load"), reason="h2load (nghttp2) is not installed")


@pytest.fixture
def recorded() -> Iterator[tuple[int, list[tuple[str | None, str | None, bytes]]]]:
    """A server that keeps the traceparent, the request id and the body of each request."""
    requests: list[tuple[str | None, str | None, bytes]] = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.headers["traceparent"], self.headers["x-request-id"], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, requests
        server.shutdown()


@needs_wrk
def test_wrk_sends_the_requests_in_turn(tmp_path: Path) -> None:
    calls = [Call("/", bytes([n]) * 3000) for n in range(3)]
    with null_server(tmp_path, "rest", ANSWER, None) as (_, port):
        figures = run_wrk(PreparedRequests(calls, NONE, "binary"), port, 2, 0.5, None, tmp_path)
    assert figures["requests"] > 20
    assert figures["failures"] == 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


@needs_wrk
def test_wrk_sends_changing_requests(
    tmp_path: Path, recorded: tuple[int, list[tuple[str | None, str | None, bytes]]]
) -> None:
    port, requests = recorded
    calls = [Call("/", body) for body in (b"a" + NOISE.tobytes() + b"\0{};" * 9, b"[0.00012345, 0.5]")]
    run_wrk(PreparedRequests(calls, NONE, "binary", changing=True), port, 1, 1, None, tmp_path)
    traces, ids, bodies = zip(*requests, strict=True)
    assert len(requests) > 10
    assert len(set(traces)) == len(set(ids)) == len(requests)
    early = bodies[:5000]  # the digits come again after 10,000
    assert len(set(early)) == len(early)
    assert {len(body) for body in bodies} == {len(call.body) for call in calls}
    assert all(trace and len(trace) == 55 for trace in traces)


@needs_h2load
def test_h2load_sends_grpc_calls(tmp_path: Path) -> None:
    calls = [Call("/test.Service/Method", b"x" * 3000)]
    with null_server(tmp_path, "grpc", ANSWER, None) as (_, port):
        figures = run_h2load(PreparedRequests(calls, NONE, "grpc"), port, 2, 1, None, tmp_path)
    assert figures["requests"] > 20
    assert figures["failures"] == 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


@needs_wrk
def test_a_client_without_figures_is_an_error(tmp_path: Path) -> None:
    calls = [Call("/", b"")]
    with pytest.raises(StageError, match="wrk"):
        run_wrk(PreparedRequests(calls, NONE, "json"), 1, 1, 1, None, tmp_path)
