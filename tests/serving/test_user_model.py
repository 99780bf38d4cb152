"""A model with tensors of every awkward kind goes the whole way: imported, served, asked over each protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.client import PredictionError, check, predict
from serving.process.launcher import free_ports, start, wait_ready
from serving.repository import read_artifacts, read_samples
from serving.server import Endpoint, find_server

pytest.importorskip("onnxruntime", reason="needs the extra onnxruntime")
SAMPLES = {
    "text": np.array([["zürich"], ["10"], ["日本"], [""]]),
    "flag": np.array([[True], [False], [True], [False]]),
    "number": 2**53 + np.arange(4)[:, None],
    "price": np.float32([[250_000], [np.inf], [1e-3], [-7]]),
    "state": np.arange(8, dtype=np.float32).reshape(4, 2, 1, 1),
    "rate": np.arange(4, dtype=np.float16),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A workspace with one ONNX model that hands each input through."""
    from onnx import TensorProto, helper, save

    from export.import_model import ImportRequest, import_model

    folder = tmp_path_factory.mktemp("model")
    kinds = {"text": (TensorProto.STRING, ["n", 1]), "flag": (TensorProto.BOOL, ["n", 1]),
             "number": (TensorProto.INT64, ["n", 1]), "price": (TensorProto.FLOAT, [1, 1]),
             "state": (TensorProto.FLOAT, [2, "n", 1]), "rate": (TensorProto.FLOAT16, [])}  # fmt: skip
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds]
    ins = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
    outs = [helper.make_tensor_value_info(f"{name}_out", *kind) for name, kind in kinds.items()]
    graph = helper.make_graph(nodes, "same", ins, outs)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(folder / "m.onnx"))
    arrays = {f"inputs/{name}": array for name, array in SAMPLES.items()}
    arrays |= {f"expected/{name}_out": array for name, array in SAMPLES.items()}
    np.savez(folder / "samples.npz", **arrays)
    import_model(ImportRequest(folder / "m.onnx", "odd", folder / "samples.npz", "custom", folder / "repository"))
    return folder / "repository"


@pytest.fixture(scope="module")
def endpoints(repository, tmp_path_factory) -> Iterator[dict[str, Endpoint]]:
    """The protocols of a server that hosts it."""
    server, artifacts = find_server("onnxruntime"), read_artifacts(repository)
    ports = free_ports(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.oip.server.MODEL_REPOSITORY", repository)
        launch = server.launch("embedded", artifacts, ports, server.grid[0], tmp_path_factory.mktemp("run"))
    process = start(launch, log=tmp_path_factory.mktemp("log") / "log")
    try:
        wait_ready(process, server, artifacts, ports)
        yield {endpoint.protocol: endpoint for endpoint in server.endpoints(artifacts, ports, "embedded")}
    finally:
        process.stop()


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("protocol", ["rest", "rest-binary", "grpc"])
def test_every_sample_is_answered_right(protocol, row, endpoints, repository):
    samples, manifest = read_samples(repository), read_artifacts(repository)["odd"]
    if protocol == "rest" and row == 1:
        with pytest.raises(PredictionError, match="'price': every element of `data` must be a number"):
            check(endpoints[protocol], manifest, samples, [row])
    else:
        check(endpoints[protocol], manifest, samples, [row])


def test_wrong_answer_is_named(endpoints, repository):
    samples, manifest = read_samples(repository), read_artifacts(repository)["odd"]
    answer = predict(endpoints["grpc"], manifest, samples.take([0])).outputs
    assert samples.fault(answer, "odd", [2]) == "output 'number_out' is off by 2 (at most 0 is right)"
