"""`python -m serving up`: the whole front, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from contract import MODEL_REPOSITORY, ROOT, StageError
from serving.process.launcher import check_ports_free
from serving.server import find_server

SERVER = "onnxruntime"
BOUND_S = 60


def command(*arguments: str, artifacts: Path, repository: Path = MODEL_REPOSITORY) -> tuple[list[str], dict[str, str]]:
    env = {**os.environ, "ARTIFACTS_DIR": str(artifacts), "MODEL_REPOSITORY": str(repository)}
    return [sys.executable, "-m", "serving", *arguments], env


def run(*arguments: str, artifacts: Path, repository: Path = MODEL_REPOSITORY) -> subprocess.CompletedProcess[str]:
    argv, env = command(*arguments, artifacts=artifacts, repository=repository)
    return subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=BOUND_S)


def port_offset() -> int:
    """An offset that puts the server's ports where nobody listens, below the ports of outgoing connections."""
    ports = find_server(SERVER).ports
    for offset in random.sample(range(3000, 20_000, 20), 100):
        shifted = {name: port + offset for name, port in ports.items()}
        with contextlib.suppress(StageError):
            check_ports_free(SERVER, shifted)
            return offset
    raise AssertionError("no free ports")


@pytest.fixture
def wait_for(eventually: Callable[..., Any]) -> Callable[[Path, str, subprocess.Popen[str]], None]:
    """Wait until a text is in what `serving up` wrote to stderr."""

    def wait(artifacts: Path, text: str, process: subprocess.Popen[str]) -> None:
        log = artifacts / "stderr"
        eventually(lambda: text in log.read_text() or process.poll() is not None, BOUND_S, log.read_text)
        assert text in log.read_text(), log.read_text()

    return wait


def test_killed_server_is_back_and_ctrl_c_leaves_nothing(tmp_path: Path, wait_for: Callable[..., None]) -> None:
    argv, env = command("up", SERVER, "--port-offset", str(port_offset()), artifacts=tmp_path)
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(argv, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr, text=True)
        wait_for(tmp_path, "Ctrl-C stops them all", process)
        (server,) = psutil.Process(process.pid).children()
        server.kill()
        wait_for(tmp_path, f"{SERVER} is back", process)
        smoke = run("smoke", artifacts=tmp_path)
        family = psutil.Process(process.pid).children(recursive=True)
        endpoints = orjson.loads((tmp_path / "mnist" / "endpoints.json").read_bytes())
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_S) == 0
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    assert f"{SERVER} died (status -9): starting it again in 0.5 s" in (tmp_path / "stderr").read_text()
    assert family
    assert not any(member.is_running() for member in family)
    assert not (tmp_path / "mnist" / "endpoints.json").exists()
    for port in {endpoint["port"] for endpoint in endpoints}:
        socket.create_server(("127.0.0.1", port)).close()


def test_missing_repository_names_the_command(tmp_path: Path) -> None:
    result = run("up", SERVER, artifacts=tmp_path, repository=tmp_path / "none")
    assert result.returncode == 2
    assert "no artifact with a manifest in" in result.stderr
    assert "run `make export`" in result.stderr


def test_half_written_artifact_is_refused_before_anything_starts(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(MODEL_REPOSITORY / "pytorch-onnx", repository / "pytorch-onnx")
    model = repository / "pytorch-onnx" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:1000])
    result = run("up", SERVER, artifacts=tmp_path, repository=repository)
    assert result.returncode == 2
    assert re.search(r"model\.onnx has sha256 \w{12}…, its manifest says \w{12}…: run `make export`\n$", result.stderr)


def test_nothing_running_names_the_command(tmp_path: Path) -> None:
    result = run("smoke", artifacts=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: nothing is running: start the servers with `make serve-all`\n"


@pytest.mark.parametrize("arguments", [("up", "no-such"), ("predict", "--endpoint", "a/b/c")])
def test_refusal_has_no_traceback(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = run(*arguments, artifacts=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_list_names_every_server(tmp_path: Path) -> None:
    result = run("list", artifacts=tmp_path)
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "onnxruntime",
        "tflite",
        "tfserving",
        "torchserve",
    ]
