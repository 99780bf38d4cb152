"""What the load test's tests share: null servers, a plan carried out by the real generator, a small repository."""

from __future__ import annotations

import json
import runpy
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import Manifest, TensorSpec, files_below, size_below
from loadtest.analysis.schema import Report
from loadtest.plan import EndpointPlan, FixedResponse, Run
from loadtest.runs.calibration import null_server
from loadtest.runs.generator_process import run_generator
from loadtest.scenarios import Burst, Closed, Open, Scenario
from serving.server import Call, Endpoint

ANSWER = b'{"outputs": "0123456789"}'
STALL_MS = 500
STALLING = ("--stall-after", "150", "--stall-ms", str(STALL_MS))  # beyond the one request of the pre-flight
PLANS: dict[str, tuple[str, tuple[str, ...], tuple[Scenario, ...]]] = {
    "rest": ("rest", (), (Closed(1, 0.3), Closed(8, 0.3), Open(200, 0.5), Open(200, 0.5, "constant"), Burst(400, 0.5))),
    "grpc": ("grpc", (), (Closed(1, 0.3), Closed(8, 0.3), Open(200, 0.5))),
    "stalls in an open loop": ("rest", STALLING, (Open(200, 1.5, "constant"),)),
    "stalls in an open loop over grpc": ("grpc", STALLING, (Open(200, 1.5, "constant"),)),
    "stalls in a naive loop": ("rest", STALLING, (Closed(1, 1.0),)),
    "capped": ("rest", STALLING, (Open(400, 1.0, "constant", in_flight_cap=20),)),
    "turns wrong": ("rest", ("--fault", "wrong", "--fault-after", "11"), (Closed(1, 0.2),)),
    "breaks off": ("rest", ("--fault", "close", "--fault-after", "11"), (Closed(1, 0.3),)),
    "breaks off over grpc": ("grpc", ("--fault", "close", "--fault-after", "11"), (Closed(1, 0.3),)),
    "dies": ("rest", ("--fault", "exit", "--fault-after", "11"), (Closed(1, 0.3), Closed(8, 0.2), Open(200, 0.2))),
    "is wrong from the start": ("rest", ("--fault", "wrong"), (Closed(1, 0.2),)),
}


def fixed(protocol: str) -> FixedResponse:
    """A request of a real one's size, and the null server's answer."""
    path = "/inference.GRPCInferenceService/ModelInfer" if protocol == "grpc" else "/v2/models/null/infer"
    return FixedResponse(Call(path, b"\0" * 3136), ANSWER)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The results of every plan above, made by one generator process; each has its raw rows' path under `raw`."""
    folder = tmp_path_factory.mktemp("plans")
    plans, paths = [], {}
    with ExitStack() as stack:
        for number, (name, (protocol, options, scenarios)) in enumerate(PLANS.items()):
            process, port = stack.enter_context(null_server(folder / str(number), protocol, ANSWER, None, options))
            paths[name] = [folder / str(number) / f"run-{i}" for i in range(len(scenarios))]
            runs = tuple(Run(s, 1, 7, str(p)) for s, p in zip(scenarios, paths[name], strict=True))
            endpoint = Endpoint("null", str(number), protocol, port)
            plans.append(
                EndpointPlan(endpoint, runs, process.pid, context={"comparison": "test"}, fixed=fixed(protocol))
            )
        assert run_generator(folder, plans, None) is False  # one is wrong from the start
    found = {}
    for name, stems in paths.items():
        found[name] = [json.loads(stem.with_suffix(".json").read_bytes()) for stem in stems]
        for result, stem in zip(found[name], stems, strict=True):
            result["raw"] = stem.with_suffix(".npz")
    return found


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with one ONNX model that is not MNIST: two numbers in, their softmax out."""
    onnx = pytest.importorskip("onnx", reason="needs the extra export")
    from onnx import TensorProto as T
    from onnx import helper

    repository = tmp_path_factory.mktemp("repository")
    folder = repository / "pytorch-onnx"
    (folder / "1").mkdir(parents=True)
    tensors = [helper.make_tensor_value_info(name, T.FLOAT, ["batch", 2]) for name in ("x", "y")]
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    graph = helper.make_graph([node], "softmax", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "1" / "model.onnx")
    x = np.random.default_rng(1).random((80, 2), dtype=np.float32)
    exponents = np.exp(x)
    y = exponents / exponents.sum(axis=1, keepdims=True)
    np.savez(repository / "samples.npz", **{"inputs/x": x, "expected/pytorch-onnx/y": y})
    specs = tuple((TensorSpec(name, "FP32", (-1, 2)),) for name in ("x", "y"))
    manifest = Manifest("pytorch-onnx", "pytorch", "onnx", "1", *specs, files_below(folder), size_below(folder))
    manifest.write(folder)
    return repository


@pytest.fixture(scope="session")
def report() -> Report:
    """The invented comparison."""
    made: Report = runpy.run_path(str(Path(__file__).with_name("example_report.py")))["build_report"]()
    return made


@pytest.fixture(scope="session")
def few(report: Report) -> Report:
    """Two endpoints, without rankings: enough where a page is rendered again and again."""
    return replace(report, endpoints=report.endpoints[:2], rankings=(), questions=(), overheads=())
