"""Processes: started in a group of their own, pinned, awaited, and ended with all that they started."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract import StageError
from serving.process import launcher
from serving.server import Launch, find_server

SLEEP = "import time; time.sleep(60)"
PARENT = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}']); print('up', flush=True); {SLEEP}"
)


WaitForLine = Callable[[launcher.Running], None]


def started(tmp_path: Path, code: str, **options: object) -> launcher.Running:
    return launcher.start(Launch((sys.executable, "-c", code)), log=tmp_path / "log", **options)  # type: ignore[arg-type]


@pytest.fixture
def wait_for_line(eventually: Callable[..., Any]) -> WaitForLine:
    """Wait until a process has written something."""

    def wait(running: launcher.Running) -> None:
        eventually(lambda: running.log.read_text() or running.exit_status is not None, within_s=30)
        assert running.exit_status is None

    return wait


def test_stop_ends_the_whole_family(tmp_path: Path, wait_for_line: WaitForLine) -> None:
    running = started(tmp_path, PARENT)
    wait_for_line(running)
    family = psutil.Process(running.pid).children(recursive=True)
    running.stop()
    assert family
    assert not any(member.is_running() for member in family)
    assert running.exit_status == -signal.SIGTERM


def test_stop_kills_what_ignores_sigterm(tmp_path: Path, wait_for_line: WaitForLine) -> None:
    running = started(tmp_path, f"import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); {SLEEP}")
    wait_for_line(running)
    running.stop(timeout_s=0.2)
    assert running.exit_status == -signal.SIGKILL


def test_stop_ends_children_of_a_killed_leader(tmp_path: Path, wait_for_line: WaitForLine) -> None:
    running = started(tmp_path, PARENT)
    wait_for_line(running)
    children = psutil.Process(running.pid).children()
    os.kill(running.pid, signal.SIGKILL)
    running.process.wait()
    running.stop()
    psutil.wait_procs(children, timeout=5)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_start_pins_the_child_alone(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    cpu = min(before)
    running = started(tmp_path, SLEEP, cpus=[cpu])
    assert os.sched_getaffinity(running.pid) == {cpu}
    assert os.sched_getaffinity(0) == before
    running.stop()


def test_start_names_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="could not start /no/such/program: No such file or directory"):
        launcher.start(Launch(("/no/such/program",)), log=tmp_path / "log")


def test_wait_ready_shows_the_log_of_a_dead_server(tmp_path: Path) -> None:
    running = started(tmp_path, "raise SystemExit('no model here')")
    server = find_server("torchserve")
    with pytest.raises(StageError, match=r"torchserve ended with status 1 before it was ready:\n  \| no model here"):
        launcher.wait_ready(running, server, ["m"], launcher.free_ports(server), timeout_s=20)


def test_wait_ready_gives_up(tmp_path: Path) -> None:
    running = started(tmp_path, SLEEP)
    server = find_server("torchserve")
    with pytest.raises(StageError, match="was not ready after 0 s"):
        launcher.wait_ready(running, server, ["m"], launcher.free_ports(server), timeout_s=0.1)
    running.stop()


def test_taken_port_is_named_with_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = (
            rf"tflite: port {port} \(rest\) is taken by \S+ \(process {os.getpid()}\): stop it, or shift all ports"
        )
        with pytest.raises(StageError, match=message):
            launcher.check_ports_free("tflite", {"rest": port})
