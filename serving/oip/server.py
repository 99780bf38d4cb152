"""What the project knows of its own servers for the Open Inference Protocol: how to start one, how to talk to it.

Importing it imports no runtime; `serving.oip.program` is the program.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from contract import MODEL_REPOSITORY, ROOT, Manifest, Tensors
from serving.oip import client as oip_client
from serving.server import FULL_QUEUE, KILLED_WORKER, TERMINATION, VERSION_SWAP, Call, Launch, Server, Settings

MODULES = ("uvloop", "httptools", "hpack", "simdjson", "prometheus_client", "google.protobuf")
"""What every one of these servers needs beside its runtime."""
FAULT_OPTIONS = {
    VERSION_SWAP: ("--poll-s", "0.2"),
    FULL_QUEUE: ("--max-queue-size", "2", "--max-batch-size", "1"),
    TERMINATION: ("--grace-s", "0.5"),
    KILLED_WORKER: ("--workers", "2"),
}


class OipServer(Server):
    """A server in `python -m serving.servers.<name>`."""

    protocols: Mapping[str, str] = {"rest": "rest", "rest-binary": "rest", "grpc": "grpc"}
    apis: Mapping[str, str] = {"rest": "oip-rest", "grpc": "oip-grpc"}
    engines = ("embedded",)
    grid = (
        Settings(),
        Settings(max_batch_size=1),
        Settings(max_queue_delay_us=500),
        Settings(workers=2),
        Settings(threads=2),
    )

    def __init__(self, name: str, format_name: str, module: str, rest_port: int, grpc_port: int) -> None:
        """A server called `name`, for artifacts in `format_name`, run by the runtime in `module`."""
        self.name = name
        self.formats = (format_name,)
        self.ports = {"rest": rest_port, "grpc": grpc_port}
        self._module = module

    def missing(self, engine: str) -> str | None:
        """Which module isn't installed, and what brings it."""
        absent = [name for name in (self._module, *MODULES) if not _is_installed(name)]
        if not absent:
            return None
        return f"not installed: {', '.join(absent)}: run `make install`"

    def launch(
        self, engine: str, artifacts: Mapping[str, Manifest], ports: Mapping[str, int], settings: Settings, folder: Path
    ) -> Launch:
        """The command line says all; nothing is written."""
        argv = [sys.executable, "-m", f"serving.servers.{self.name}", "--model-repository", str(MODEL_REPOSITORY)]
        for artifact in artifacts:
            argv += ["--artifact", artifact]
        argv += ["--rest-port", str(ports["rest"]), "--grpc-port", str(ports["grpc"])]
        argv += ["--threads", str(settings.threads), "--workers", str(settings.workers)]
        argv += ["--max-batch-size", str(settings.max_batch_size)]
        argv += ["--max-queue-delay-us", str(settings.max_queue_delay_us)]
        return Launch(tuple(argv), cwd=ROOT)

    def launch_for_fault(
        self, fault: str, artifact: str, repository: Path, ports: Mapping[str, int], folder: Path
    ) -> Launch:
        """See `Server.launch_for_fault`."""
        argv = [sys.executable, "-m", f"serving.servers.{self.name}", "--model-repository", str(repository)]
        argv += ["--artifact", artifact, "--threads", "1"]
        argv += ["--rest-port", str(ports["rest"]), "--grpc-port", str(ports["grpc"])]
        return Launch((*argv, *FAULT_OPTIONS[fault]), cwd=ROOT)

    def ready_call(self, artifact: str) -> Call:
        """The model's own ready endpoint."""
        return Call(f"/v2/models/{artifact}/ready", b"")

    def encode(self, protocol: str, artifact: str, manifest: Manifest, inputs: Tensors) -> Call:
        """The request that sends `inputs`."""
        return oip_client.encode(protocol, artifact, manifest, inputs)

    def decode(
        self, protocol: str, manifest: Manifest, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        """The outputs in an answer."""
        return oip_client.decode(protocol, body, headers)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
