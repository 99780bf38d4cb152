"""A model repository made for the protocol's tests, and one real server on it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from contract import ROOT, Batching, Manifest, files_below, size_below
from export.format import find_format
from serving.process.launcher import Running, free_ports, start, wait_ready
from serving.server import Launch, find_server

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
DECLARED = Batching("declared", "the tests' models are elementwise")


def write_model(
    repository: Path,
    name: str,
    graph: onnx.GraphProto,
    version: str = "1",
    *,
    content: bytes | None = None,
    batching: Batching = DECLARED,
) -> None:
    """Write a version of an ONNX artifact, its manifest last."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    write_artifact(repository, name, "onnx", content or model.SerializeToString(), batching, version, content is None)


def write_artifact(
    repository: Path,
    name: str,
    format_name: str,
    content: bytes,
    batching: Batching,
    version: str = "1",
    loads: bool = True,
) -> None:
    """Write a version of an artifact that is one file, and its manifest where it loads."""
    folder = repository / name / version
    folder.mkdir(parents=True)
    (folder / f"model.{format_name}").write_bytes(content)
    if loads:
        loaded = find_format(format_name).load(folder)
        top = folder.parent
        files, size = files_below(top), size_below(top)
        specs = loaded.inputs, loaded.outputs
        Manifest(name, "pytorch", format_name, version, *specs, files, size, batching=batching).write(top)


@pytest.fixture(scope="session", name="write_artifact")
def write_artifact_fixture() -> Callable[..., None]:
    """`write_artifact`, for tests that bring models of their own."""
    return write_artifact


def elementwise(operator: str, datatypes: list[str], dims: list[int | str], **constants: np.ndarray) -> onnx.GraphProto:
    """A graph of one operator applied to each input `x_<datatype>`, with outputs `y_<datatype>`."""
    nodes = [helper.make_node(operator, [f"x_{d}", *constants], [f"y_{d}"]) for d in datatypes]
    ins = [helper.make_tensor_value_info(f"x_{d}", ONNX_TYPES[d], dims) for d in datatypes]
    outs = [helper.make_tensor_value_info(f"y_{d}", ONNX_TYPES[d], dims) for d in datatypes]
    weights = [onnx.numpy_helper.from_array(array, key) for key, array in constants.items()]
    return helper.make_graph(nodes, "g", ins, outs, weights)


def multiply(factor: float) -> onnx.GraphProto:
    """`y = factor · x`, FP32 [-1,4]."""
    return elementwise("Mul", ["FP32"], ["batch", 4], factor=np.array([factor], np.float32))


def add() -> onnx.GraphProto:
    """Two inputs, two outputs: their sum and their difference, FP32 [-1,4]."""
    value = helper.make_tensor_value_info
    ins = [value(n, TensorProto.FLOAT, ["batch", 4]) for n in ("left", "right")]
    outs = [value(n, TensorProto.FLOAT, ["batch", 4]) for n in ("sum", "difference")]
    pairs = (("Add", "sum"), ("Sub", "difference"))
    nodes = [helper.make_node(operator, ["left", "right"], [output]) for operator, output in pairs]
    return helper.make_graph(nodes, "g", ins, outs)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models: `every` (identity of all datatypes), `double`, `add`, `fixed` (no free batch), `scalars`, `nothing`."""
    folder = tmp_path_factory.mktemp("repository")
    write_model(folder, "every", elementwise("Identity", list(ONNX_TYPES), ["batch", 2]))
    write_model(folder, "double", multiply(2))
    write_model(folder, "add", add())
    write_model(folder, "fixed", elementwise("Identity", ["FP32"], [2, 3]))
    write_model(folder, "scalars", elementwise("Identity", list(ONNX_TYPES), []))
    write_model(folder, "nothing", elementwise("Identity", ["FP32"], ["batch", 0]))
    return folder


@dataclass
class OipProcess:
    """A running server."""

    running: Running
    rest: int
    grpc: int


Start = Callable[..., OipProcess]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server on a repository with more options; all are stopped at the end."""
    started: list[Running] = []

    def begin(repository: Path, *options: str, wait: bool = True, name: str = "onnxruntime") -> OipProcess:
        server = find_server(name)
        ports = free_ports(server)
        argv = [sys.executable, "-W", "error", "-m", f"serving.servers.{name}", "--threads", "1"]
        argv += ["--model-repository", str(repository), "--rest-port", str(ports["rest"])]
        argv += ["--grpc-port", str(ports["grpc"]), *options]
        log = tmp_path_factory.mktemp("server") / "log"
        running = start(Launch(tuple(argv), cwd=ROOT), log=log)
        started.append(running)
        if wait:
            wait_ready(running, server, [path.parent.name for path in repository.glob("*/manifest.json")], ports)
        return OipProcess(running, ports["rest"], ports["grpc"])

    yield begin
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def oip(start_server: Start, repository: Path) -> OipProcess:
    """One server on the shared repository."""
    return start_server(repository)


@pytest.fixture
def own_repository(repository: Path, tmp_path: Path) -> Path:
    """A repository that the test may change, with `double` alone."""
    shutil.copytree(repository / "double", tmp_path / "models" / "double")
    os.utime(tmp_path / "models")
    return tmp_path / "models"
