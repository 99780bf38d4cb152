"""Versions of a running server: found, swapped without a lost request, refused, removed; and its end by SIGTERM."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ONE = Path(__file__).parent / "models/half_plus_two/00000123"
PREDICT = "/v1/models/m:predict"


def add_version(base: Path, number: int, source: Path = ONE) -> None:
    """Copy a version beside the others and rename it into place."""
    shutil.copytree(source, base / f"tmp{number}")
    (base / f"tmp{number}").rename(base / str(number))


class Clients:
    """Threads that ask without pause until told to stop, and count what they get."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.seen: Counter[Any] = Counter()
        self._stop = threading.Event()
        self._port = port
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Counter[Any]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.seen

    def _ask(self) -> None:
        body = b'{"instances": [1.0, 2.0, 5.0]}'
        request = f"POST {PREDICT} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as connection:
            while not self._stop.is_set():
                connection.sendall(request)
                with http.client.HTTPResponse(connection, method="POST") as response:
                    response.begin()
                    answer = json.loads(response.read())
                self.seen[response.status, str(answer.get("predictions", answer))] += 1
                if response.getheader("Connection") == "close":
                    return


def test_life_of_versions(launch_embedded: Callable[..., Any], tmp_path: Path) -> None:
    base = tmp_path / "m"
    base.mkdir()
    (base / "notanumber").mkdir()
    add_version(base, 1)
    running = launch_embedded(
        "--model_name=m", f"--model_base_path={base}", "--max_num_load_retries=1", "--load_retry_interval_micros=100000"
    )
    assert running.states("m") == {1: "AVAILABLE"}

    clients = Clients(running.rest)
    add_version(base, 2)
    running.wait_for("m", {2: "AVAILABLE", 1: "END"})

    (base / "3").mkdir()  # broken: nothing in it
    running.wait_for("m", {3: "END", 2: "AVAILABLE", 1: "END"})
    status, body = running.get("/v1/models/m/versions/3")
    failure = json.loads(body)["model_version_status"][0]["status"]
    assert (status, failure["error_code"]) == (200, "NOT_FOUND")
    assert "Could not find SavedModel" in failure["error_message"]
    assert running.post("/v1/models/m/versions/3:predict", {"instances": [1.0]})[0] == 404

    add_version(base, 4)  # the broken one holds up nothing
    running.wait_for("m", {4: "AVAILABLE", 3: "END", 2: "END", 1: "END"})
    shutil.rmtree(base / "4")
    shutil.rmtree(base / "3")  # back to what is still on disk
    running.wait_for("m", {4: "END", 3: "END", 2: "AVAILABLE", 1: "END"})

    seen = clients.stop()
    assert set(seen) == {(200, "[2.5, 3.0, 4.5]")}, seen
    assert sum(seen.values()) > 100

    shutil.rmtree(base / "2")
    shutil.rmtree(base / "1")
    running.wait_for("m", {4: "END", 3: "END", 2: "END", 1: "END"})
    status, answer = running.post(PREDICT, {"instances": [1.0]})
    assert (status, answer) == (404, {"error": "Servable not found for request: Latest(m)"})


def test_sigterm_answers_what_is_in_flight_and_exits_zero(
    launch_embedded: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = launch_embedded("--model_name=m", f"--model_base_path={ONE.parent}")
    clients = Clients(running.rest)
    eventually(lambda: sum(clients.seen.values()) >= 50, 60)
    assert running.stop() == 0
    assert set(clients.stop()) == {(200, "[2.5, 3.0, 4.5]")}


def test_a_model_that_cannot_load_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "m/1").mkdir(parents=True)
    argv = [sys.executable, "-m", "serving.servers.tfserving", "--port=1", "--model_name=m", "--max_num_load_retries=0"]
    start = subprocess.run(
        [*argv, f"--model_base_path={tmp_path / 'm'}", "--port=0", "--grpc_socket_path=" + str(tmp_path / "socket")],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=Path(__file__).parents[4],
    )
    assert start.returncode == 255
    wanted = "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 1}"
    assert start.stdout.startswith(wanted)


def test_workers_share_the_port_and_the_metrics_and_end_together(
    launch_embedded: Callable[..., Any], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "monitoring").write_text("prometheus_config { enable: true }")
    running = launch_embedded(
        "--model_name=m", f"--model_base_path={ONE.parent}", "--workers=2",
        f"--monitoring_config_file={tmp_path / 'monitoring'}",
    )  # fmt: skip
    for _ in range(40):
        assert running.post(PREDICT, {"instances": [1.0]})[0] == 200
    for _ in range(10):  # each page, whichever worker writes it, counts the requests of both
        assert b'request_count{model_name="m",status="OK"} 40.0\n' in running.get("/monitoring/prometheus/metrics")[1]
    clients = Clients(running.rest)
    eventually(lambda: sum(clients.seen.values()) >= 50, 60)
    assert running.stop() == 0
    assert set(clients.stop()) == {(200, "[2.5, 3.0, 4.5]")}


def config_of(path: Path, **base_paths: Path) -> None:
    """Write a --model_config_file."""
    rows = (f'config {{ name: "{n}" base_path: "{p}" model_platform: "tensorflow" }}' for n, p in base_paths.items())
    path.write_text(f"model_config_list {{ {' '.join(rows)} }}")


def test_a_base_path_that_vanishes_is_said_once_and_stops_nobody_else(
    launch_embedded: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    gone, stays, config = tmp_path / "gone", tmp_path / "stays", tmp_path / "models.config"
    for base in (gone, stays):
        base.mkdir()
        add_version(base, 1)
    config_of(config, gone=gone, stays=stays)
    running = launch_embedded(f"--model_config_file={config}")
    gone.rename(tmp_path / "elsewhere")
    eventually(lambda: "can't look for versions of gone" in running.log.read_text(), 30)
    for number in (2, 3):  # each a look at the folders
        add_version(stays, number)
        running.wait_for("stays", dict.fromkeys(range(1, number), "END") | {number: "AVAILABLE"})
    assert running.log.read_text().count("can't look for versions of gone") == 1
    assert running.states("gone") == {1: "AVAILABLE"}


def test_a_configuration_that_can_not_be_read_changes_nothing_and_the_next_one_counts(
    launch_embedded: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    config = tmp_path / "models.config"
    config_of(config, first=ONE.parent)
    running = launch_embedded(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1")
    config.write_bytes(b"\xff\xfe")
    eventually(lambda: "the models stay as they are: can't read --model_config_file" in running.log.read_text(), 30)
    assert running.states("first") == {123: "AVAILABLE"}
    config_of(config, first=ONE.parent, second=ONE.parent)
    running.wait_for("second", {123: "AVAILABLE"})


def test_workers_end_with_their_supervisor_even_before_they_are_ready(
    launch_embedded: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = launch_embedded("--model_name=m", f"--model_base_path={ONE.parent}", "--workers=2")
    workers = psutil.Process(running.process.pid).children(recursive=True)
    running.process.kill()  # one worker is ready by now, the other may still import TensorFlow
    assert len(workers) >= 2
    eventually(lambda: not any(worker.is_running() for worker in workers), 60)
