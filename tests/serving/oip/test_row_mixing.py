"""Models whose rows depend on each other: no request ever sees another one's rows, however many come at once."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from contract import ROOT, Batching, Manifest
from serving.oip import client as oip_client

BUILDER = Path(__file__).with_name("make_mixing_models.py")
REQUESTS = 12
"""Of each client to each model."""


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(0))
    return powers / powers.sum(0)


ANSWERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": softmax,
    "nonzero": lambda x: np.argwhere(x > 0),
    "cumsum": lambda x: np.cumsum(x, 0),
    "centred": lambda x: x - x.mean(0),
    "sorted": lambda x: np.sort(x, 0)[::-1],
    "top1": lambda x: x.max(0, keepdims=True),
    "reversed": lambda x: x[::-1],
    "scaled": lambda x: x / np.abs(x).max(0),
    "gram": lambda x: x @ (x.T @ x),
    "numbered": lambda x: x + np.arange(len(x), dtype=np.float32)[:, None],
    "filtered": lambda x: x[x[:, 0] > 0],
}
node = helper.make_node
NODES = {
    "softmax": [node("Softmax", ["x"], ["y"], axis=0)],
    "nonzero": [node("Greater", ["x", "zero"], ["p"]), node("NonZero", ["p"], ["t"]), node("Transpose", ["t"], ["y"])],
    "cumsum": [node("CumSum", ["x", "axis"], ["y"])],
    "centred": [node("ReduceMean", ["x", "axes"], ["m"]), node("Sub", ["x", "m"], ["y"])],
    "sorted": [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "axes"], ["k"]),
        node("TopK", ["x", "k"], ["y", "i"], axis=0),
    ],
    "top1": [node("ReduceMax", ["x", "axes"], ["y"])],
    "reversed": [node("Slice", ["x", "last", "before", "axes", "last"], ["y"])],
    "scaled": [node("Abs", ["x"], ["a"]), node("ReduceMax", ["a", "axes"], ["m"]), node("Div", ["x", "m"], ["y"])],
    "gram": [node("Transpose", ["x"], ["t"]), node("MatMul", ["t", "x"], ["g"]), node("MatMul", ["x", "g"], ["y"])],
    "numbered": [
        node("Sub", ["x", "x"], ["z"]),
        node("Add", ["z", "one"], ["o"]),
        node("CumSum", ["o", "axis"], ["n"], exclusive=1),
        node("Add", ["x", "n"], ["y"]),
    ],
    "filtered": [
        node("Gather", ["x", "axis"], ["f"], axis=1),
        node("Greater", ["f", "zero"], ["p"]),
        node("Compress", ["x", "p"], ["y"], axis=0),
    ],
}
CONSTANTS = {
    "zero": np.float32(0),
    "one": np.float32(1),
    "axis": np.int64(0),
    "axes": np.int64([0]),
    "last": np.int64([-1]),
    "before": np.int64([-(2**31)]),
}


def onnx_model(name: str) -> bytes:
    y = helper.make_tensor_value_info(
        "y",
        TensorProto.INT64 if name == "nonzero" else TensorProto.FLOAT,
        {"nonzero": ["k", 2], "filtered": ["k", 3], "top1": [1, 3]}.get(name, ["n", 3]),
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    used = {constant for each in NODES[name] for constant in each.input}
    weights = [numpy_helper.from_array(np.array(v), key) for key, v in CONSTANTS.items() if key in used]
    graph = helper.make_graph(NODES[name], "g", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.ModelProto.SerializeToString(model)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Each model as a file of each format."""
    folder = tmp_path_factory.mktemp("tflite")
    subprocess.run((sys.executable, BUILDER, folder), check=True, capture_output=True, cwd=ROOT)
    tflite = {name: (folder / f"{name}.tflite").read_bytes() for name in ANSWERS}
    return {"onnx": {name: onnx_model(name) for name in ANSWERS}, "tflite": tflite}


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def served(
    request: Any,
    contents: dict[str, dict[str, bytes]],
    write_artifact: Any,
    start_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Any, dict[str, Manifest]]]:
    """A server with all models, whose manifests, as older ones, say nothing about batching."""
    repository = tmp_path_factory.mktemp(request.param)
    for name, content in contents[request.param].items():
        write_artifact(repository, name, request.param, content, Batching())
    server = start_server(repository, name={"onnx": "onnxruntime", "tflite": "tflite"}[request.param])
    yield server, {name: Manifest.read(repository / name, "") for name in ANSWERS}
    server.running.stop()


class Client(threading.Thread):
    """Sends its own numbers to every model, and counts what comes back."""

    def __init__(self, ports: Any, manifests: dict[str, Manifest], protocol: str, seed: int) -> None:
        super().__init__()
        self._ports, self._manifests, self._protocol = ports, manifests, protocol
        self._random = np.random.default_rng(seed)
        self.right = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._ports.grpc}") as channel:
            self._rest = http.client.HTTPConnection("127.0.0.1", self._ports.rest, timeout=60)
            self._grpc = channel.unary_unary(oip_client.GRPC_PATH)
            for _ in range(REQUESTS):
                for name in ANSWERS:
                    self._ask(name)
            self._rest.close()

    def _ask(self, name: str) -> None:
        x = self._random.normal(size=(self._random.integers(1, 5), 3)).astype(np.float32)
        manifest = self._manifests[name]
        if manifest.format == "tflite":
            x[0] = np.abs(x[0])  # LiteRT can't hand out an output without elements
        call = oip_client.encode(self._protocol, name, manifest, {manifest.inputs[0].name: x})
        answer = self._grpc(call.body, timeout=60) if self._protocol == "grpc" else self._post(call)
        (y,) = oip_client.decode(self._protocol, answer, {}).values()
        expected = ANSWERS[name](x)
        if y.shape == expected.shape and np.allclose(y, expected, rtol=1e-4, atol=1e-5):
            self.right += 1
        else:
            self.wrong.append(f"{name}({x.tolist()}) = {y.tolist()}")

    def _post(self, call: Any) -> bytes:
        self._rest.request("POST", call.path, call.body, dict(call.headers))
        response = self._rest.getresponse()
        content = response.read()
        assert response.status == 200, content
        return content


@pytest.mark.parametrize("count", [1, 2, 6, 32])
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_requests_that_come_together_never_mix(served: Any, protocol: str, count: int) -> None:
    ports, manifests = served
    clients = [Client(ports, manifests, protocol, seed) for seed in range(count)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(120)
    assert [wrong for client in clients for wrong in client.wrong] == []
    assert sum(client.right for client in clients) == count * REQUESTS * len(ANSWERS)
