"""Clients that others wrote, against real servers: each sends a prediction that has one right answer.

A client that isn't on this machine is named by the test that is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from contract import ARTIFACTS
from serving.repository import read_samples

HERE = Path(__file__).parent
WITHIN_S = 120
NODE_PACKAGES = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")
NODE_FOLDER = ARTIFACTS / "clients" / "node"


class Subject:
    """One endpoint, a request to it, and whether an answer is right."""

    def __init__(self, running: Any, protocol: str) -> None:
        self.server = running.server
        self.endpoint = next(e for e in running.endpoints if e.protocol == protocol)
        self.manifest = running.artifacts[self.endpoint.artifact]
        self._samples = read_samples()
        self.call = self.server.encode(protocol, self.endpoint.artifact, self.manifest, self._samples.take([0]))
        self.address = self.endpoint.address
        self.url = f"http://{self.address}{self.call.path}"
        self.headers = {"content-type": "application/json"} | {n.lower(): v for n, v in self.call.headers.items()}

    def is_right(self, body: bytes, headers: Mapping[str, str] | None = None) -> bool:
        """Whether an answer is the expected one; else the test fails with the reason."""
        outputs = self.server.decode(self.endpoint.protocol, self.manifest, body, headers or {})
        fault = self._samples.fault(outputs, self.endpoint.artifact, [0])
        assert fault == "", fault
        return True


@pytest.fixture(params=["onnxruntime", "tfserving"])
def rest(request: pytest.FixtureRequest, running_servers: Callable[[str], Any]) -> Subject:
    """JSON over REST, of each server of ours."""
    return Subject(running_servers(request.param), "rest")


@pytest.fixture(params=["onnxruntime", "tfserving"])
def grpc_subject(request: pytest.FixtureRequest, running_servers: Callable[[str], Any]) -> Subject:
    """gRPC, of each server of ours."""
    return Subject(running_servers(request.param), "grpc")


@pytest.fixture
def body_file(rest: Subject, tmp_path: Path) -> Path:
    """The body of the request as a file."""
    (tmp_path / "body").write_bytes(rest.call.body)
    return tmp_path / "body"


@pytest.fixture(scope="session")
def program() -> Callable[..., bytes]:
    """Run a client's program and get its output; skipped by name where it isn't there."""

    def run(name: str, *arguments: object, **environment: str) -> bytes:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"no {name} on this machine")
        command = [path, *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, timeout=WITHIN_S, env=os.environ | environment)
        assert result.returncode == 0, (result.stdout[-2000:], result.stderr[-2000:])
        return result.stdout

    return run


@pytest.fixture(scope="session")
def node_modules(program: Callable[..., bytes]) -> Path:
    """A folder with grpc-js of a pinned version, installed once."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            pytest.skip(f"no {name} on this machine: grpc-js is not tried")
    modules = NODE_FOLDER / "node_modules"
    if not (modules / "@grpc" / "grpc-js").is_dir() or not (modules / "@grpc" / "proto-loader").is_dir():
        NODE_FOLDER.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(NODE_FOLDER), *NODE_PACKAGES]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if result.returncode:
            pytest.skip(f"npm can't install grpc-js here: {result.stderr[-300:]}")
    return modules
