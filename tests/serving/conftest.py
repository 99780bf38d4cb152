"""Real servers for the tests: each is started once, on free ports, when the first test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from contract import Manifest
from serving.process.launcher import Running, free_ports, start, wait_ready
from serving.repository import read_artifacts
from serving.server import Endpoint, find_server


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
    for one in started.values():
        one.running.stop()
