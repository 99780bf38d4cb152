"""The server as something that one runs: versions, signals, workers, a full queue, security, metrics, options."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contract import ROOT

BODY = json.dumps({"inputs": [{"name": "x_FP32", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
INFER = "/v2/models/double/infer"
WITHIN_S = 60.0


def ask(
    port: int, path: str = INFER, body: bytes | None = BODY, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST" if body is not None else "GET", path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


@pytest.fixture
def until(eventually: Callable[..., Any]) -> Callable[..., Any]:
    """Wait for a condition, and return its value."""
    return lambda condition: eventually(condition, WITHIN_S)


def is_ready(port: int) -> bool:
    try:
        return ask(port, "/v2/health/ready", None)[0] == 200
    except OSError:
        return False


class Load:
    """Closed-loop clients that count what they get until they are told to leave."""

    def __init__(self, port: int, factors: set[float]) -> None:
        self.port, self.factors = port, factors
        self.right = self.wrong = self.failed = 0
        self.seen: set[float] = set()
        self.stopping = False

    def client(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            self.ask_on(connection)

    def ask_on(self, connection: http.client.HTTPConnection) -> None:
        while not self.stopping:
            try:
                connection.request("POST", INFER, BODY)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException):
                self.failed += 1
                return
            if response.status != 200:
                self.failed += 1
                continue
            factors = np.array(json.loads(content)["outputs"][0]["data"]) / [1, 2, 3, 4]
            is_right = factors[0] in self.factors and bool((factors == factors[0]).all())
            self.right += is_right
            self.wrong += not is_right
            self.seen.add(float(factors[0]))
            if response.getheader("Connection") == "close":
                return


@pytest.fixture
def load_on(until: Callable[..., Any]) -> Callable[..., Any]:
    """Clients that ask as long as the context lasts."""

    @contextmanager
    def run_load(port: int, factors: set[float], clients: int = 8) -> Iterator[Load]:
        load = Load(port, factors)
        threads = [threading.Thread(target=load.client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: load.right > 20)
            yield load
        finally:
            load.stopping = True
            for thread in threads:
                thread.join(15)

    return run_load


def add_version(repository: Path, version: str, factor: float, content: bytes | None = None) -> None:
    """A version appears at once, as `mv` makes it."""
    from onnx import load, numpy_helper, save

    model = load(repository / "double/1/model.onnx")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([factor], np.float32), "factor"))
    folder = repository.parent / f"new-{version}"
    folder.mkdir()
    if content is None:
        save(model, folder / "model.onnx")
    else:
        (folder / "model.onnx").write_bytes(content)
    folder.rename(repository / "double" / version)


def index(port: int) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(ask(port, "/v2/repository/index", b"")[1])
    return rows


def test_new_version_is_swapped_in_under_load_without_a_lost_request(
    start_server: Any, own_repository: Path, until: Any, load_on: Any
) -> None:
    server = start_server(own_repository, "--poll-s", "0.1")
    with load_on(server.rest, {2.0, 3.0}) as load:
        add_version(own_repository, "2", 3.0)
        until(lambda: 3.0 in load.seen)
        shutil.rmtree(own_repository / "double" / "2")
        before = load.right
        until(lambda: json.loads(ask(server.rest, "/v2/models/double", None)[1])["versions"] == ["1"])
        until(lambda: load.right > before + 20)
    assert (load.failed, load.wrong) == (0, 0)
    server.running.stop()


def test_unloadable_version_is_reported_while_the_old_one_serves(
    start_server: Any, own_repository: Path, until: Any
) -> None:
    server = start_server(own_repository, "--poll-s", "0.1")
    add_version(own_repository, "2", 0, content=b"half a file")
    row = until(lambda: next((row for row in index(server.rest) if row["version"] == "2" and row["reason"]), None))
    assert row["state"] == "UNAVAILABLE"
    assert "model.onnx" in row["reason"]
    assert ask(server.rest)[0] == 200
    server.running.stop()


def test_all_versions_are_served_when_asked_for(start_server: Any, own_repository: Path) -> None:
    add_version(own_repository, "7", 7.0)
    server = start_server(own_repository, "--versions", "0")
    for version, factor in (("1", 2.0), ("7", 7.0)):
        answer = json.loads(ask(server.rest, f"/v2/models/double/versions/{version}/infer")[1])
        assert (answer["model_version"], answer["outputs"][0]["data"][0]) == (version, factor)
    assert json.loads(ask(server.rest)[1])["model_version"] == "7"
    server.running.stop()


def test_sigterm_under_load_loses_no_request_and_ends_with_zero(
    start_server: Any, repository: Path, until: Any, load_on: Any
) -> None:
    server = start_server(repository, "--grace-s", "3")
    with load_on(server.rest, {2.0}) as load:
        os.kill(server.running.pid, signal.SIGTERM)
        until(lambda: ask(server.rest, "/v2/health/ready", None)[0] == 503)
        assert server.running.process.wait(10) == 0
    assert (load.failed, load.wrong) == (0, 0)


def test_killed_worker_is_replaced_and_nothing_is_left_at_the_end(
    start_server: Any, repository: Path, until: Any, load_on: Any
) -> None:
    server = start_server(repository, "--workers", "2")
    supervisor = psutil.Process(server.running.pid)
    until(lambda: server.running.log.read_text().count("is ready on") == 2)
    first = {child.pid for child in supervisor.children()}
    with load_on(server.rest, {2.0}) as load:
        os.kill(min(first), signal.SIGKILL)
        until(lambda: len({c.pid for c in supervisor.children()} - first) == 1)
    assert load.wrong == 0
    assert load.failed <= 8  # the connections of the worker that was killed
    assert ask(server.rest)[0] == 200
    children = supervisor.children()
    os.kill(server.running.pid, signal.SIGTERM)
    assert server.running.process.wait(15) == 0
    assert not any(child.is_running() for child in children)


def test_unloading_by_name_reaches_every_worker(start_server: Any, own_repository: Path, until: Any) -> None:
    server = start_server(own_repository, "--workers", "2", "--poll-s", "0.1")
    until(lambda: server.running.log.read_text().count("is ready on") == 2)
    for change, status in (("unload", 404), ("load", 200)):
        assert ask(server.rest, f"/v2/repository/models/double/{change}", b"")[0] == 200
        until(lambda wanted=status: {ask(server.rest)[0] for _ in range(20)} == {wanted})
    server.running.stop()


def test_metrics_count_every_worker_and_every_run(start_server: Any, repository: Path) -> None:
    server = start_server(repository, "--workers", "2")
    for _ in range(20):
        assert ask(server.rest)[0] == 200
    assert ask(server.rest, INFER, b"{}")[0] == 400
    status, text, headers = ask(server.rest, "/metrics", None)
    samples = {
        (sample.name, sample.labels.get("outcome"), sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.labels["model"] == "double" and sample.labels["version"] == "1"
    }
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert samples["oip_requests_total", "ok", None] == 20
    assert samples["oip_requests_total", "refused", None] == 1
    for name in ("request_duration_seconds", "queue_duration_seconds", "batch_rows", "compute_duration_seconds"):
        assert samples[f"oip_{name}_bucket", None, "+Inf"] == samples[f"oip_{name}_count", None, None] == 20
    assert samples["oip_batch_rows_bucket", None, "1"] == 20
    server.running.stop()


def test_full_queue_is_a_503_with_retry_after(start_server: Any, repository: Path) -> None:
    server = start_server(repository, "--max-queue-size", "1")
    request = f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.rest), timeout=10) as client:
        client.sendall(request * 39 + last)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    good, refused = answer.count(b"HTTP/1.1 200 OK"), answer.count(b"HTTP/1.1 503 Service Unavailable")
    assert good >= 1
    assert refused == answer.count(b"\r\nRetry-After: 1\r\n") == answer.count(b"the queue is full") == 40 - good > 0
    assert ask(server.rest)[0] == 200
    server.running.stop()


def test_deadline_is_a_504(oip: Any) -> None:
    body = json.loads(BODY) | {"parameters": {"timeout": 1}}
    status, content, _ = ask(oip.rest, INFER, json.dumps(body).encode())
    assert (status, json.loads(content)["error"]) == (504, "the deadline passed while the request waited")


def test_token_guards_everything_but_health(start_server: Any, repository: Path, until: Any) -> None:
    server = start_server(repository, "--token", "open sesame", wait=False)
    until(lambda: is_ready(server.rest))
    assert ask(server.rest)[0] == 401
    assert ask(server.rest, "/v2/health/ready", None)[0] == 200
    assert ask(server.rest, headers={"Authorization": "Bearer open sesame"})[0] == 200
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        with pytest.raises(grpc.RpcError) as caught:
            method(b"", timeout=10)
        assert caught.value.code().name == "UNAUTHENTICATED"
        assert method(b"", timeout=10, metadata=(("authorization", "Bearer open sesame"),)) == b"\x08\x01"
    server.running.stop()


def refusal(*options: str) -> tuple[int, str]:
    argv = [sys.executable, "-m", "serving.servers.onnxruntime", *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model-repository", "/nowhere"], "no folder /nowhere: run `make export`"),
        (["--workers", "0"], "--workers 0: must be at least 1"),
        (["--tls-cert", "x.pem"], "--tls-cert and --tls-key go together"),
    ],
)
def test_wrong_option_is_refused(options: list[str], message: str) -> None:
    status, text = refusal(*options)
    assert (status, message in text) == (2, True)
    assert "Traceback" not in text


def test_taken_port_and_missing_artifact_are_refused(oip: Any, repository: Path) -> None:
    where = ["--model-repository", str(repository)]
    status, text = refusal(*where, "--rest-port", str(oip.rest))
    assert (status, f"can't listen on 127.0.0.1:{oip.rest}: Address already in use" in text) == (2, True)
    status, text = refusal(*where, "--artifact", "nope", "--rest-port", "0", "--grpc-port", "0")
    assert (status, "can't serve nope" in text) == (2, True)
    assert "Traceback" not in text


def test_access_log_is_off_unless_asked_for(oip: Any, start_server: Any, repository: Path) -> None:
    server = start_server(repository, "--access-log")
    ask(server.rest)
    lines = [json.loads(line) for line in server.running.log.read_text().splitlines() if line.startswith("{")]
    assert any(line["target"] == INFER and line["status"] == 200 and line["ms"] > 0 for line in lines)
    assert "{" not in oip.running.log.read_text()
    server.running.stop()
