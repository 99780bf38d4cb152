"""Holds for the whole suite: the frameworks never share a process; a test waits for a condition, never for a time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from contract import ROOT, Manifest
from serving.process.launcher import Running, free_ports, start, wait_ready
from serving.repository import read_artifacts
from serving.server import Endpoint, find_server

POLL_S = 0.01
Value = TypeVar("Value")


def eventually(condition: Callable[[], Value], within_s: float, otherwise: Callable[[], object] = str) -> Value:
    """Ask for `condition` until it is true, and return it; after `within_s` seconds fail and show `otherwise`.

    `within_s` only bounds a test that hangs: it is generous, for no test may depend on the speed of a machine.
    """
    ends_s = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < ends_s, f"still {value!r} after {within_s:g} s {otherwise()}"
        time.sleep(POLL_S)
    return value


async def eventually_async(
    condition: Callable[[], Value], within_s: float, otherwise: Callable[[], object] = str
) -> Value:
    """`eventually` for a test that runs in an event loop, which goes on meanwhile."""
    ends_s = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < ends_s, f"still {value!r} after {within_s:g} s {otherwise()}"
        await asyncio.sleep(POLL_S)
    return value


@pytest.fixture(scope="session", name="eventually")
def _eventually() -> Callable[..., Any]:
    """Hand `eventually` to tests: there is no importing of a conftest."""
    return eventually


@pytest.fixture(scope="session", name="eventually_async")
def _eventually_async() -> Callable[..., Awaitable[Any]]:
    """Hand `eventually_async` to tests."""
    return eventually_async


@pytest.fixture(scope="session", autouse=True)
def frameworks_stay_apart() -> Iterator[None]:
    """Fail at the end of the session if tests imported both frameworks here: they belong in processes of their own."""
    yield
    assert not {"tensorflow", "torch"} <= set(sys.modules), (
        "tensorflow and torch were both imported by the test process"
    )


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run a module or a script in a process of its own and return what it printed: stderr where it ends with `code`."""

    def run(*arguments: str | Path, code: int = 0, **variables: str | Path) -> str:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **{name: str(value) for name, value in variables.items()}}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


class RunningServer:
    """A started server with its ports and artifacts."""

    def __init__(self, name: str, folder_factory: pytest.TempPathFactory) -> None:
        self.server = find_server(name)
        self.engine = self.server.engine()
        self.ports = free_ports(self.server)
        repository = read_artifacts()
        self.artifacts: dict[str, Manifest] = {n: m for n, m in repository.items() if m.format in self.server.formats}
        folder = folder_factory.mktemp(name)
        launch = self.server.launch(self.engine, self.artifacts, self.ports, self.server.grid[0], folder)
        self.running: Running = start(launch, log=folder / "log")
        try:
            wait_ready(self.running, self.server, self.artifacts, self.ports)
        except BaseException:
            self.running.stop()
            raise

    @property
    def endpoints(self) -> list[Endpoint]:
        return self.server.endpoints(self.artifacts, self.ports, self.engine)


@pytest.fixture(scope="session")
def running_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RunningServer]]:
    """Start a server by name, or hand out the one that runs already; all are stopped after the last test."""
    started: dict[str, RunningServer] = {}

    def running(name: str) -> RunningServer:
        if name not in started:
            started[name] = RunningServer(name, tmp_path_factory)
        return started[name]

    yield running
    for server in started.values():
        server.running.stop()
