"""One embedded TF Serving on free ports, hosting the models that the genuine server's answers were recorded with."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving.protos import message

MODELS = Path(__file__).parent / "models"
ROOT = Path(__file__).parents[4]
START_TIMEOUT_S = 90
PREDICT = "/tensorflow.serving.PredictionService/Predict"
TYPES = {"f": (1, "float_val"), "i": (3, "int_val"), "O": (7, "string_val")}
"""DataType and field of TensorProto by NumPy's kind."""


@dataclass
class Embedded:
    """A running server process."""

    process: subprocess.Popen[bytes]
    rest: int
    grpc: int
    log: Path
    eventually: Callable[..., Any]

    def exchange(self, request: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Send raw bytes on a connection of their own; the response and its body."""
        method = request.split(b" ", 1)[0].decode()
        with socket.create_connection(("127.0.0.1", self.rest), timeout=20) as connection:
            connection.sendall(request)
            with http.client.HTTPResponse(connection, method=method) as response:
                response.begin()
                return response, response.read()

    def post(self, path: str, body: Any, headers: str = "") -> tuple[int, Any]:
        """Status and JSON of a POST; `body` may be bytes or anything that JSON has."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: t\r\n{headers}Content-Length: {len(raw)}\r\n\r\n"
        response, answer = self.exchange(head.encode() + raw)
        return response.status, json.loads(answer)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        response, body = self.exchange(f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        return response.status, body

    def pipelined(self, requests: list[tuple[str, Any]]) -> list[tuple[int, Any, Any]]:
        """Send requests in one go on one connection: status, JSON and headers of each answer."""
        raw = b""
        for path, body in requests:
            encoded = json.dumps(body).encode()
            raw += f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(encoded)}\r\n\r\n".encode() + encoded
        with socket.create_connection(("127.0.0.1", self.rest), timeout=60) as connection:
            connection.sendall(raw)
            with connection.makefile("rb") as stream:
                return [read_answer(stream) for _ in requests]

    def predict(self, model: str, signature: str = "", **inputs: np.ndarray) -> Any:
        """The PredictResponse over gRPC; raises grpc.RpcError."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            answer = channel.unary_unary(PREDICT)(predict_message(model, signature, **inputs), timeout=30)
        return message("tensorflow.serving.PredictResponse").FromString(answer)

    def states(self, model: str) -> dict[int, str]:
        """The state of each version of a model."""
        status, body = self.get(f"/v1/models/{model}")
        rows = json.loads(body).get("model_version_status", []) if status == 200 else []
        return {int(row["version"]): row["state"] for row in rows}

    def wait_for(self, model: str, wanted: dict[int, str]) -> None:
        """Return when the model's versions have these states."""
        self.eventually(
            lambda: self.states(model) == wanted, 60, lambda: (self.states(model), self.log.read_text()[-2000:])
        )

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def read_answer(stream: Any) -> tuple[int, Any, Any]:
    """Status, JSON and headers of the next answer of a connection."""
    status = int(stream.readline().split()[1])
    headers = http.client.parse_headers(stream)
    return status, json.loads(stream.read(int(headers["Content-Length"]))), headers


def predict_message(model: str, signature: str = "", **inputs: np.ndarray) -> bytes:
    """A PredictRequest with typed values."""
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, array in inputs.items():
        proto = request.inputs[name]
        proto.dtype, field = TYPES[array.dtype.kind]
        proto.tensor_shape.SetInParent()
        for size in array.shape:
            proto.tensor_shape.dim.add().size = size
        getattr(proto, field).extend(array.ravel().tolist())
    encoded: bytes = request.SerializeToString()
    return encoded


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on."""
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def start_embedded(eventually: Callable[..., Any], folder: Path, *flags: str) -> Embedded:
    """Start the server on free ports and wait until it answers."""
    (rest, grpc_port), log = free_ports(), folder / "log"
    argv = [sys.executable, "-m", "serving.servers.tfserving", f"--port={grpc_port}", f"--rest_api_port={rest}", *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=output)
    try:
        eventually(
            lambda: b"is ready" in log.read_bytes() or process.poll() is not None, START_TIMEOUT_S, log.read_text
        )
        assert process.poll() is None, log.read_text()
    except AssertionError:
        process.kill()
        raise
    return Embedded(process, rest, grpc_port, log, eventually)


def models_config() -> str:
    """The configuration that the recordings were made with, and the odd model."""
    labels = "".join(f'version_labels {{ key: "{k}" value: {v} }} ' for k, v in (("stable", 123), ("canary", 124)))
    extra = {"two": f"model_version_policy {{ all {{}} }} {labels}"}
    paths = [MODELS / name for name in ("half_plus_two", "two", "multi", "types", "cls", "odd", "tf2", "share")]
    rows = (
        f'config {{ name: "{path.name}" base_path: "{path}" model_platform: "tensorflow" {extra.get(path.name, "")} }}'
        for path in paths
    )
    return "model_config_list { " + " ".join(rows) + " }"


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory, start: Callable[..., Embedded]) -> Iterator[Embedded]:
    """The server of the recordings: all models, unavailable labels allowed, monitoring on."""
    folder = tmp_path_factory.mktemp("tfserving")
    (folder / "models.config").write_text(models_config())
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    running = start(
        folder,
        f"--model_config_file={folder / 'models.config'}",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
        "--allow_version_labels_for_unavailable_models",
    )
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture
def launch_embedded(tmp_path: Path, start: Callable[..., Embedded]) -> Iterator[Callable[..., Embedded]]:
    """Start a server of the test's own; whatever is left of it is killed."""
    started: list[Embedded] = []

    def launch(*flags: str) -> Embedded:
        started.append(start(tmp_path, *flags))
        return started[-1]

    yield launch
    for running in started:
        running.process.kill()
        running.process.wait()


@pytest.fixture(scope="session")
def start(eventually: Callable[..., Any]) -> Callable[..., Embedded]:
    """Start a server in a folder with flags; the caller ends it."""
    return partial(start_embedded, eventually)


@pytest.fixture(scope="session", name="predict_message")
def predict_message_fixture() -> Callable[..., bytes]:
    """Make a PredictRequest."""
    return predict_message
