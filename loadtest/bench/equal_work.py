"""A well-known mistake, made again: `python -m loadtest equal-work`.

A published comparison found one server 40 times slower than another; one got the unresized image as JSON text of
float64, the other a resized binary tensor (see `docs/equal_work.md`). Here one server hosts one graph (the mean colour
of an image, so that computing costs next to nothing) and gets the same picture in both forms and those in between:
whatever differs is payload. Writes `docs/benchmarks/equal_work.json` and the table in the page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from contract import (
    RESULTS,
    ROOT,
    Manifest,
    StageError,
    TensorSpec,
    files_below,
    shown,
    size_below,
    to_json,
    write_whole,
)
from loadtest.client.grpc import GrpcConnection
from loadtest.client.http1 import Http1Connection
from loadtest.client.requests import grpc_request, http1_request
from loadtest.client.target import READ_HEADERS, Connection
from loadtest.plan import EndpointPlan, FixedResponse, Run
from loadtest.runs.environment import environment, pinning
from loadtest.runs.generator_process import run_generator
from loadtest.scenarios import Closed
from loadtest.table import of_lines, to_markdown
from serving.oip import client as oip_client
from serving.process.launcher import free_ports, start, wait_ready
from serving.server import Call, Endpoint, Launch, find_server

FOLDER = RESULTS / "equal_work"
PUBLISHED = ROOT / "docs" / "benchmarks" / "equal_work.json"
PAGE = ROOT / "docs" / "equal_work.md"
BEGIN, END = "<!-- table: python -m loadtest equal-work -->\n", "<!-- end of table -->\n"
UNRESIZED, RESIZED = (333, 500, 3), (224, 224, 3)
TOLERANCE = 1e-4


def picture(shape: tuple[int, int, int]) -> np.ndarray:
    """A picture of `shape` as bytes, UINT8; the same one for every shape up to sampling."""
    height, width, _ = UNRESIZED
    whole = np.random.default_rng(1).integers(0, 256, UNRESIZED, np.uint8)
    rows = np.linspace(0, height - 1, shape[0]).astype(int)
    columns = np.linspace(0, width - 1, shape[1]).astype(int)
    sampled: np.ndarray = whole[rows][:, columns]
    return sampled


def payloads(manifests: Mapping[str, Manifest]) -> list[tuple[str, str, str, Call, np.ndarray]]:
    """What is sent: name, artifact, protocol, the request, and the colour expected."""
    small, large = picture(RESIZED), picture(UNRESIZED)
    small32 = {"image": (small[None] / 255.0).astype(np.float32)}

    def coded(protocol: str, artifact: str, tensors: dict[str, np.ndarray]) -> Call:
        return oip_client.encode(protocol, artifact, manifests[artifact], tensors)

    colour, whole = small.mean(axis=(0, 1)) / 255, large.mean(axis=(0, 1)) / 255
    return [
        (
            "resized, UINT8, binary",
            "bytes",
            "rest-binary",
            coded("rest-binary", "bytes", {"image": small[None]}),
            colour,
        ),
        ("resized, FP32, gRPC", "floats", "grpc", coded("grpc", "floats", small32), colour),
        ("resized, FP32, binary", "floats", "rest-binary", coded("rest-binary", "floats", small32), colour),
        ("resized, FP32 as shortest JSON text", "floats", "rest", coded("rest", "floats", small32), colour),
        ("resized, float64 as JSON text", "floats", "rest", as_float64_text(small), colour),
        ("unresized, float64 as JSON text", "floats", "rest", as_float64_text(large), whole),
    ]


def as_float64_text(image: np.ndarray) -> Call:
    """The mistake: `(image / 255.0).tolist()` through `json.dumps`."""
    data = (image[None] / 255.0).tolist()
    tensor = {"name": "image", "shape": [1, *image.shape], "datatype": "FP32", "data": data}
    headers = {"Content-Type": "application/json"}
    return Call("/v2/models/floats/infer", json.dumps({"inputs": [tensor]}).encode(), headers)


def write_repository(folder: Path) -> dict[str, Manifest]:
    """Two artifacts with the same graph, one for floats in 0…1 and one for bytes: the mean colour of an
    image of any size.
    """
    import onnx
    from onnx import TensorProto, helper

    manifests = {}
    for name, element, datatype in (("floats", TensorProto.FLOAT, "FP32"), ("bytes", TensorProto.UINT8, "UINT8")):
        nodes = [] if datatype == "FP32" else [
            helper.make_node("Cast", ["image"], ["whole"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["whole", "scale"], ["scaled"]),
        ]  # fmt: skip
        source = "image" if datatype == "FP32" else "scaled"
        nodes.append(helper.make_node("ReduceMean", [source], ["colour"], axes=[1, 2], keepdims=0))
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("image", element, ["batch", "height", "width", 3])],
            [helper.make_tensor_value_info("colour", TensorProto.FLOAT, ["batch", 3])],
            [onnx.numpy_helper.from_array(np.array(1 / 255, np.float32), "scale")],
        )
        version = folder / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, version / "model.onnx")
        specs = ((TensorSpec("image", datatype, (-1, -1, -1, 3)),), (TensorSpec("colour", "FP32", (-1, 3)),))
        place = folder / name
        manifests[name] = Manifest(name, "pytorch", "onnx", "1", *specs, files_below(place), size_below(place))
        manifests[name].write(place)
    return manifests


@contextmanager
def server(repository: Path) -> Iterator[tuple[dict[str, int], int]]:
    """Our ONNX Runtime server on that repository: its ports, and its process."""
    hosting = find_server("onnxruntime")
    ports = free_ports(hosting)
    argv = [sys.executable, "-m", "serving.servers.onnxruntime", "--model-repository", str(repository)]
    argv += ["--rest-port", str(ports["rest"]), "--grpc-port", str(ports["grpc"])]
    environ = {"MODEL_REPOSITORY": str(repository)}
    running = start(Launch(tuple(argv), environ, ROOT), log=FOLDER / "server.log", cpus=pinning()[0])
    try:
        wait_ready(running, hosting, ("floats", "bytes"), ports)
        yield ports, running.pid
    finally:
        running.stop()


def right_answer(endpoint: Endpoint, call: Call, colour: np.ndarray) -> FixedResponse:
    """Ask once and check the colour: from there on the same answer is the right one."""
    kind: type[Any] = GrpcConnection if endpoint.protocol == "grpc" else Http1Connection
    connection: Connection = kind(endpoint.host, endpoint.port)
    coded = grpc_request if endpoint.protocol == "grpc" else http1_request
    answer = connection.exchange(coded(call.path, call.headers, call.body, endpoint.address))
    connection.close()
    lines = (line.partition(":") for line in answer.head.decode("latin-1").split("\r\n")[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    kept = {name: headers[name] for name in READ_HEADERS if name in headers}
    answered = oip_client.decode(endpoint.protocol, answer.body, kept)["colour"]
    if np.abs(answered - colour).max() > TOLERANCE:
        raise StageError(f"{endpoint.name}: colour {answered}, expected {colour}: see {shown(FOLDER)}/server.log")
    return FixedResponse(call, answer.body, kept)


def measure(seconds: float) -> list[dict[str, Any]]:
    """Every payload by one user in turn; the figures in the order of `payloads`."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    manifests = write_repository(FOLDER / "repository")
    plans, rows = [], []
    with server(FOLDER / "repository") as (ports, pid):
        for number, (name, artifact, protocol, call, colour) in enumerate(payloads(manifests)):
            endpoint = Endpoint("onnxruntime", artifact, protocol, ports["grpc" if protocol == "grpc" else "rest"])
            run = Run(Closed(1, seconds), 1, 1, str(FOLDER / f"payload-{number}"))
            fixed = right_answer(endpoint, call, colour)
            plans.append(EndpointPlan(endpoint, (run,), pid, 0.5, fixed=fixed))
            rows.append((name, protocol, f"{run.path}.json"))
        run_generator(FOLDER, plans, pinning()[1], FOLDER / "repository")
    return [_row(name, protocol, json.loads(Path(path).read_bytes())) for name, protocol, path in rows]


def _row(name: str, protocol: str, result: dict[str, Any]) -> dict[str, Any]:
    if result.get("failures", 1) or result["wrong_answers"]:
        raise StageError(f"{name}: {result.get('preflight_error') or result['explanations'][0]}")
    return {
        "payload": name,
        "protocol": protocol,
        "request_bytes": result["request_bytes"],
        "requests": result["requests"],
        "throughput_rps": result["throughput_rps"],
        "p50_ms": result["latency_ms"]["p50"],
        "server_cpu_s_per_1000": result["server"]["cpu_s"] / result["requests"] * 1000,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures as a Markdown table; times as slow against the resized binary tensor."""
    fair = next(row for row in rows if row["payload"] == "resized, FP32, binary")
    head = ("what is sent", "protocol", "request, MB", "requests/s, one user", "p50, ms", "times as slow")
    lines = [
        (
            row["payload"],
            row["protocol"],
            f"{row['request_bytes'] / 1e6:.2f}",
            f"{row['throughput_rps']:,.1f}",
            f"{row['p50_ms']:.2f}",
            f"{fair['throughput_rps'] / row['throughput_rps']:.1f}",
        )
        for row in rows
    ]
    return f"{to_markdown(of_lines(head, lines, words=2))}\n"


def main(words: Sequence[str]) -> int:
    """Measure, print the table, write it and the page."""
    parser = argparse.ArgumentParser(prog="python -m loadtest equal-work", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each payload")
    parser.add_argument("--output", type=Path, default=PUBLISHED)
    options = parser.parse_args(words)
    rows = measure(options.seconds)
    fields = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(*pinning()),
        "rows": rows,
    }
    write_whole(options.output, to_json(fields).encode())
    print(table(rows), end="")
    if options.output == PUBLISHED and PAGE.is_file():
        before, _, rest = PAGE.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        write_whole(PAGE, f"{before}{BEGIN}\n{table(rows)}\n{END}{after}".encode())
    return 0
