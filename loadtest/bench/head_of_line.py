"""How long everybody else waits for one long request or slow model: the slowest health check under each load.

Makes two models, starts each of our own servers on them, and asks for the server's health every 20 ms over REST and
gRPC, from a process of its own, while another connection sends the load. Prints one row a server and load.

    python -m loadtest.bench.head_of_line [--servers onnxruntime tflite tfserving] [--mebibytes 60]
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract import ROOT, Manifest, TensorSpec
from loadtest.table import Column, Row, Table, row, to_text
from serving import protos
from serving.process.launcher import free_ports, start, wait_ready
from serving.server import TERMINATION, Call, Server, find_server

SERVERS = ("onnxruntime", "tflite", "tfserving")
COLUMNS = ("server", "load", "REST health ms", "gRPC health ms", "load took s")
INTERVAL_S = 0.02
QUIET_S = 1.0
SLOW_ROWS = 1500
ROW_BYTES = 16
JSON_ROW_BYTES = 42
"""Four numbers as a client writes them, and their commas and brackets."""
BODY_BYTES = 64 * 2**20
HEALTH = "/grpc.health.v1.Health/Check"
OIP_PATH = "/inference.GRPCInferenceService/ModelInfer"
TFSERVING_PATH = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True)
class Load:
    """One request, sent `repeats` times one after the other."""

    name: str
    artifact: str
    protocol: str
    rows: int
    is_typed: bool = False
    repeats: int = 2


def loads(mebibytes: int, format_name: str) -> list[Load]:
    """What is sent to a server of artifacts in this format."""
    size = mebibytes * 2**20
    first, slow = f"first-{format_name}", f"slow-{format_name}"
    return [
        Load(f"JSON, {mebibytes} MiB", first, "rest", size // JSON_ROW_BYTES),
        Load(f"binary, {mebibytes} MiB", first, "rest-binary", size // ROW_BYTES),
        Load(f"gRPC raw, {mebibytes} MiB", first, "grpc", size // ROW_BYTES),
        Load(f"gRPC typed, {mebibytes} MiB", first, "grpc", size // ROW_BYTES, is_typed=True),
        Load("a model that takes seconds, REST", slow, "rest", SLOW_ROWS),
        Load("a model that takes seconds, gRPC", slow, "grpc", SLOW_ROWS),
    ]


def encode(server: Server, load: Load, manifest: Manifest) -> Call:
    """The request of a load."""
    x = np.random.default_rng(0).random((load.rows, 4), np.float32)
    spec = manifest.inputs[0]
    if load.is_typed:
        return Call("", _typed(server, load.artifact, spec, x))
    return server.encode(load.protocol, load.artifact, manifest, {spec.name: x})


def _typed(server: Server, artifact: str, spec: TensorSpec, x: np.ndarray) -> bytes:
    """A gRPC request whose numbers are in the typed field."""
    values = x.ravel().tolist()
    if server.name == "tfserving":
        request = protos.message("tensorflow.serving.PredictRequest")()
        request.model_spec.name = artifact
        tensor = request.inputs[spec.name]
        tensor.dtype = 1
        for size in x.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.extend(values)
    else:
        request = protos.message("inference.ModelInferRequest")(model_name=artifact)
        request.inputs.add(name=spec.name, datatype="FP32", shape=x.shape).contents.fp32_contents.extend(values)
    return bytes(request.SerializeToString())


def send(server: Server, load: Load, call: Call, ports: dict[str, int]) -> float:
    """Send a request and read its answer; the seconds."""
    began_s = time.perf_counter()
    if load.protocol == "grpc":
        import grpc

        path = TFSERVING_PATH if server.name == "tfserving" else OIP_PATH
        sizes = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        with grpc.insecure_channel(f"127.0.0.1:{ports['grpc']}", options=sizes) as channel:
            channel.unary_unary(path)(call.body, timeout=120)
    else:
        with closing(http.client.HTTPConnection("127.0.0.1", ports["rest"], timeout=120)) as connection:
            connection.request("POST", call.path, call.body, dict(call.headers))
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise RuntimeError(f"{server.name} answered {response.status}: {content[:300]!r}")
    return time.perf_counter() - began_s


@contextmanager
def watching(server: Server, ports: dict[str, int]) -> Iterator[subprocess.Popen[str]]:
    """A process that asks for the server's health all the time; see `watch`."""
    argv = (
        sys.executable,
        "-m",
        __spec__.name,
        "watch",
        str(ports["rest"]),
        str(ports["grpc"]),
        server.live_call().path,
    )
    process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def slowest(watcher: subprocess.Popen[str]) -> list[str]:
    """The slowest checks since the last question, in milliseconds: REST, gRPC."""
    assert watcher.stdin is not None
    assert watcher.stdout is not None
    watcher.stdin.write("\n")
    watcher.stdin.flush()
    return watcher.stdout.readline().split()


def watch(rest_port: int, grpc_port: int, path: str) -> None:
    """Ask for health over both protocols until stdin ends; for each line there write the slowest checks to stdout."""
    import select

    import grpc

    worst_s = [0.0, 0.0]
    rest = http.client.HTTPConnection("127.0.0.1", rest_port, timeout=120)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        check = channel.unary_unary(HEALTH)
        while True:
            for place in (0, 1):
                began_s = time.perf_counter()
                if place:
                    check.future(b"", timeout=120).exception()  # a server without the service answers that it has none
                else:
                    rest.request("GET", path)
                    rest.getresponse().read()
                worst_s[place] = max(worst_s[place], time.perf_counter() - began_s)
            if select.select([sys.stdin], [], [], INTERVAL_S)[0]:
                if not sys.stdin.readline():
                    return
                print(*(f"{seconds * 1e3:.0f}" for seconds in worst_s), flush=True)
                worst_s = [0.0, 0.0]


def measure(server: Server, repository: Path, mebibytes: int, folder: Path) -> Iterator[Row]:
    """The rows of one server."""
    for load in loads(mebibytes, server.formats[0]):
        if load.protocol not in server.protocols:
            continue
        manifest = Manifest.read(repository / load.artifact, "make export")
        ports = free_ports(server)
        launch = server.launch_for_fault(TERMINATION, load.artifact, repository, ports, folder)
        assert launch is not None, f"{server.name} has no embedded program"
        running = start(launch, log=folder / f"{server.name}.log")
        try:
            wait_ready(running, server, [load.artifact], ports)
            call = encode(server, load, manifest)
            if len(call.body) > BODY_BYTES:
                raise RuntimeError(f"{load.name}: {len(call.body)} bytes are more than the server takes")
            with watching(server, ports) as watcher:
                time.sleep(QUIET_S)  # both connections are open, and the first check is behind us
                slowest(watcher)
                took_s = [send(server, load, call, ports) for _ in range(load.repeats)]
                time.sleep(5 * INTERVAL_S)
                yield row(server.name, load.name, *slowest(watcher), f"{max(took_s):.2f}")
        finally:
            running.stop()


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    arguments: Any = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["watch"]:
        watch(int(arguments[1]), int(arguments[2]), arguments[3])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--mebibytes", type=int, default=60, help="of a long request; the servers take 64")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        repository = folder / "repository"
        subprocess.run((sys.executable, "-m", "loadtest.bench.long_models", repository), cwd=ROOT, check=True)
        rows: list[Row] = []
        for name in options.servers:
            for measured in measure(find_server(name), repository, options.mebibytes, folder):
                print(*(cell.text for cell in measured.cells), sep=" | ", file=sys.stderr)
                rows.append(measured)
    columns = tuple(Column(name, numeric=place > 1) for place, name in enumerate(COLUMNS))
    print(to_text(Table("head-of-line", "Slowest health check under each load", columns, tuple(rows))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
