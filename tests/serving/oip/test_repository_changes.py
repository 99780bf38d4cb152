"""The repository of a running server changes in every way that a file system can; what is right stays served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from contract import Batching
from serving import protos

WITHIN_S = 60.0
Eventually = Callable[..., Any]
InferRequest = protos.message("inference.ModelInferRequest")


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None
    finally:
        connection.close()


def versions(port: int, model: str = "double") -> list[str]:
    status, answer = ask(port, f"/v2/models/{model}")
    return answer["versions"] if status == 200 else []


def copy_version(repository: Path, version: str) -> None:
    shutil.copytree(repository / "double/1", repository / f".new-{version}")
    (repository / f".new-{version}").rename(repository / "double" / version)


@pytest.fixture
def polling(start_server: Any, own_repository: Path) -> Iterator[Any]:
    """A server that looks at its repository ten times a second."""
    server = start_server(own_repository, "--poll-s", "0.1")
    yield server
    server.running.stop()


def test_manifest_that_is_a_folder_is_said_once_and_ends_nothing(
    polling: Any, own_repository: Path, eventually: Eventually
) -> None:
    (own_repository / "odd/manifest.json").mkdir(parents=True)
    eventually(lambda: "odd stays as it is: can't read" in polling.running.log.read_text(), WITHIN_S)
    copy_version(own_repository, "2")
    eventually(lambda: versions(polling.rest) == ["2"], WITHIN_S)
    shutil.rmtree(own_repository / "odd")
    copy_version(own_repository, "3")
    eventually(lambda: versions(polling.rest) == ["3"], WITHIN_S)
    assert polling.running.log.read_text().count("odd stays as it is") == 1


def test_files_that_come_and_go_end_nothing(polling: Any, own_repository: Path, eventually: Eventually) -> None:
    for number in range(300):
        temporary = own_repository / f"double/1/.model.onnx.{number}"
        temporary.touch()
        temporary.unlink()
    copy_version(own_repository, "2")
    eventually(lambda: versions(polling.rest) == ["2"], WITHIN_S)


def test_repository_that_cannot_be_read_changes_nothing(
    polling: Any, own_repository: Path, eventually: Eventually
) -> None:
    away = own_repository.with_name("away")
    own_repository.rename(away)
    eventually(lambda: "the repository stays as it is: can't read" in polling.running.log.read_text(), WITHIN_S)
    assert versions(polling.rest) == ["1"]
    away.rename(own_repository)
    copy_version(own_repository, "2")
    eventually(lambda: versions(polling.rest) == ["2"], WITHIN_S)


def test_model_whose_folder_is_gone_is_unloaded(polling: Any, own_repository: Path, eventually: Eventually) -> None:
    (own_repository / "double").rename(own_repository.with_name("double"))
    eventually(lambda: ask(polling.rest, "/v2/models/double")[0] == 404, WITHIN_S)
    assert ask(polling.rest, "/v2/health/ready")[0] == 200
    own_repository.with_name("double").rename(own_repository / "double")
    eventually(lambda: versions(polling.rest) == ["1"], WITHIN_S)


def divide() -> Any:
    """`q = a / b`, INT32: zeros are an error, as any warm-up with them."""
    value = helper.make_tensor_value_info
    ins = [value(name, TensorProto.INT32, ["n"]) for name in ("a", "b")]
    node = helper.make_node("Div", ["a", "b"], ["q"])
    return helper.make_graph([node], "g", ins, [value("q", TensorProto.INT32, ["n"])])


def write_onnx(write_artifact: Any, repository: Path, name: str, graph: Any) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    write_artifact(repository, name, "onnx", model.SerializeToString(), Batching())


@pytest.mark.parametrize("divisor", [0, 2])
def test_model_that_fails_on_its_warm_up_is_served(
    start_server: Any, write_artifact: Any, tmp_path: Path, divisor: int
) -> None:
    write_onnx(write_artifact, tmp_path, "div", divide())
    arrays = {"inputs/a": np.int32([6, 6]), "inputs/b": np.int32([divisor, divisor])}
    np.savez(tmp_path / "samples.npz", **{**arrays, "expected/div/q": np.int32([3, 3])})
    server = start_server(tmp_path, "--artifact", "div")
    tensors = [{"name": n, "shape": [1], "datatype": "INT32", "data": [v]} for n, v in (("a", 6), ("b", 2))]
    status, answer = ask(server.rest, "/v2/models/div/infer", json.dumps({"inputs": tensors}).encode())
    assert (status, answer["outputs"][0]["data"]) == (200, [3])
    assert ("div: the warm-up failed: " in server.running.log.read_text()) is (divisor == 0)
    server.running.stop()


def big() -> Any:
    """`y = weights[x]`, 100 MB of weights."""
    value = helper.make_tensor_value_info
    weights = numpy_helper.from_array(np.zeros(25_000_000, np.float32), "weights")
    ends = [value("x", TensorProto.INT64, [4]), value("y", TensorProto.FLOAT, [4])]
    return helper.make_graph([helper.make_node("Gather", ["weights", "x"], ["y"])], "g", ends[:1], ends[1:], [weights])


def ask_every_way(server: Any) -> None:
    """Requests of every kind, each twice: JSON, binary, raw; gRPC raw and typed."""
    x = np.int64([1, 2, 3, 4])
    tensor = {"name": "x", "shape": [4], "datatype": "INT64"}
    binary = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 32}}]}).encode()
    bodies = [
        (json.dumps({"inputs": [{**tensor, "data": x.tolist()}]}).encode(), None),
        (binary + x.tobytes(), len(binary)),
        (x.tobytes(), 0),
    ]
    connection = HTTPConnection("127.0.0.1", server.rest, timeout=30)
    typed, raw = (InferRequest(model_name="big") for _ in range(2))
    typed.inputs.add(name="x", datatype="INT64", shape=[4]).contents.int64_contents.extend(x)
    raw.inputs.add(name="x", datatype="INT64", shape=[4])
    raw.raw_input_contents.append(x.tobytes())
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for _ in range(2):
            for body, length in bodies:
                headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
                connection.request("POST", "/v2/models/big/infer", body, headers)
                response = connection.getresponse()
                assert (response.status, bool(response.read())) == (200, True)
            for message in (typed, raw):
                assert infer(message.SerializeToString(), timeout=30)
    connection.close()


def test_unloaded_model_frees_its_memory_whatever_was_asked(
    start_server: Any, write_artifact: Any, tmp_path: Path, eventually: Eventually
) -> None:
    write_onnx(write_artifact, tmp_path, "big", big())
    server = start_server(tmp_path)
    process = psutil.Process(server.running.pid)
    ask_every_way(server)
    loaded_bytes = process.memory_info().rss
    assert ask(server.rest, "/v2/repository/models/big/unload", b"")[0] == 200
    eventually(lambda: process.memory_info().rss < loaded_bytes - 80e6, WITHIN_S, lambda: process.memory_info().rss)
    server.running.stop()
