"""Who takes part in the servers' benchmark, how each is started, and what it is asked.

Everybody serves the same artifact with one thread. What isn't ours runs in a virtual environment of its own below
`artifacts/bench/`, made on first use from the pinned requirements here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from contract import ARTIFACTS, MODEL_REPOSITORY, ROOT, Manifest, StageError
from export.format import find_format
from loadtest.bench_load import Plan
from loadtest.wire import http1_request
from serving.launcher import start
from serving.oip_client import GRPC_PATH
from serving.repository import Samples
from serving.server import Call, Launch, Settings, find_server

HERE = Path(__file__).parent / "contenders"
VENVS = ARTIFACTS / "bench"
REQUIREMENTS = {
    "litserve": ("litserve==0.2.19", "onnxruntime==1.32.0"),
    "mlserver": ("mlserver==1.7.1", "onnxruntime==1.32.0"),
    "bentoml": ("bentoml==1.4.39", "onnxruntime==1.32.0"),
}
BENTO_ARGV = ("bentoml", "serve", "bentoml_app:Model", "--host", "127.0.0.1", "--port", "{rest}")
PROTOCOL = {"json": "rest", "binary": "rest-binary", "grpc": "grpc"}
ARTIFACT = "pytorch-onnx"
SAMPLES = 64


@dataclass(frozen=True)
class Contender:
    """Somebody to measure."""

    name: str
    launch: Callable[[Mapping[str, int], Path], Launch]
    """From ports (`rest`, `grpc`, …) and a folder to write into."""
    payloads: tuple[str, ...]
    call: Callable[[str, Mapping[str, np.ndarray]], Call]
    """From payload and one sample to a request."""
    artifact: str = ARTIFACT
    ready_path: str = "/"
    """Asked with GET; empty where an open gRPC port is all there is to see."""
    ready_port: str = "rest"
    is_ready: Callable[[int, bytes], bool] = lambda status, _: status == 200
    ports: tuple[str, ...] = ("rest", "grpc")
    venv: str | None = None
    checked: bool = field(default=True)
    """Whether answers are predictions; an echo's are not."""


def make_plan(contender: Contender, payload: str, samples: Samples) -> Plan:
    """The requests for one sample each, and what is expected: the trained model's answer."""
    expected = next(iter(samples.expected[contender.artifact].values()))[:SAMPLES].astype(np.float32)
    calls = [contender.call(payload, samples.take([index])) for index in range(SAMPLES)]
    if payload == "grpc":
        return Plan([call.body for call in calls], expected, payload, GRPC_PATH)
    requests = [http1_request(call.path, call.headers, call.body, "127.0.0.1") for call in calls]
    return Plan(requests, expected, payload)


def hosted(name: str, artifact: str, payloads: tuple[str, ...], settings: Settings, label: str = "") -> Contender:
    """A server of the registry."""
    server = find_server(name)
    manifest = Manifest.read(MODEL_REPOSITORY / artifact, "make export")

    def launch(ports: Mapping[str, int], folder: Path) -> Launch:
        return server.launch(server.engine(), {artifact: manifest}, ports, settings, folder)

    def call(payload: str, inputs: Mapping[str, np.ndarray]) -> Call:
        return server.encode(PROTOCOL[payload], artifact, manifest, inputs)

    ready = server.ready_call(artifact).path
    return Contender(
        label or name, launch, payloads, call, artifact, ready, server.ready_port, server.is_ready, tuple(server.ports)
    )


def _module(name: str, port: str, *arguments: str) -> Callable[[Mapping[str, int], Path], Launch]:
    def launch(ports: Mapping[str, int], folder: Path) -> Launch:  # noqa: ARG001 - Contender.launch
        return Launch((sys.executable, "-m", f"loadtest.contenders.{name}", str(ports[port]), *arguments), cwd=ROOT)

    return launch


def _oip_call(payload: str, inputs: Mapping[str, np.ndarray]) -> Call:
    manifest = Manifest.read(MODEL_REPOSITORY / ARTIFACT, "make export")
    return find_server("onnxruntime").encode(PROTOCOL[payload], ARTIFACT, manifest, inputs)


def _lit_call(payload: str, inputs: Mapping[str, np.ndarray]) -> Call:
    call = _oip_call(payload, inputs)
    return Call("/predict", call.body, call.headers)


def _bento_call(payload: str, inputs: Mapping[str, np.ndarray]) -> Call:  # noqa: ARG001 - Contender.call
    body = orjson.dumps({"image": next(iter(inputs.values()))}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Call("/predict", body, {"Content-Type": "application/json"})


def _in_venv(name: str, *argv: str, **env: str) -> Callable[[Mapping[str, int], Path], Launch]:
    def launch(ports: Mapping[str, int], folder: Path) -> Launch:
        numbers = {f"{{{key}}}": str(port) for key, port in ports.items()}
        program = [numbers.get(word, word.replace("{folder}", str(folder))) for word in argv]
        if name == "mlserver":
            settings = {"host": "127.0.0.1", "http_port": ports["rest"], "grpc_port": ports["grpc"]}
            settings |= {"metrics_port": ports["metrics"], "parallel_workers": 0}
            (folder / "settings.json").write_bytes(orjson.dumps(settings))
            for file in (HERE / "mlserver_model").iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
        path = {"PATH": f"{VENVS / name / 'bin'}:/usr/bin:/bin", **env, "OMP_NUM_THREADS": "1"}
        return Launch((str(VENVS / name / "bin" / program[0]), *program[1:]), path, HERE)

    return launch


def contenders() -> dict[str, Contender]:
    """Everybody, ours and the yardsticks first."""
    one = Settings(threads=1, workers=1)
    version = MODEL_REPOSITORY / ARTIFACT / "1"
    model = str(version / "model.onnx")
    everybody = [
        hosted("onnxruntime", ARTIFACT, ("json", "binary", "grpc"), one, "ours"),
        Contender("ceiling", _module("ceiling", "rest", str(version), "onnx"), ("json", "binary"), _oip_call),
        Contender("uvicorn", _module("asgi_ceiling", "rest", str(version), "onnx"), ("binary",), _oip_call),
        Contender(
            "grpc-echo", _module("grpc_echo", "grpc", GRPC_PATH), ("grpc",), _oip_call, ready_path="", checked=False
        ),
        hosted("tflite", "tensorflow-tflite", ("json", "binary", "grpc"), one),
        hosted("tfserving", "tensorflow-savedmodel", ("json",), one),
        hosted("torchserve", "pytorch-torchscript", ("json",), one),
        Contender(
            "litserve",
            _in_venv("litserve", "python", str(HERE / "litserve_app.py"), "{rest}", model),
            ("json",),
            _lit_call,
            ready_path="/health",
            venv="litserve",
        ),
        Contender(
            "mlserver",
            _in_venv("mlserver", "mlserver", "start", "{folder}", MODEL=model),
            ("json",),
            _oip_call,
            ready_path="/v2/health/ready",
            ports=("rest", "grpc", "metrics"),
            venv="mlserver",
        ),
        Contender(
            "bentoml",
            _in_venv("bentoml", *BENTO_ARGV, MODEL=model, BENTOML_DO_NOT_TRACK="1"),
            ("json",),
            _bento_call,
            ready_path="/readyz",
            venv="bentoml",
        ),
    ]
    return {contender.name: contender for contender in everybody}


def prepare(contender: Contender) -> None:
    """Make the virtual environment of a contender that needs one; raises StageError where that fails."""
    if contender.venv is None or (VENVS / contender.venv / "made").is_file():
        return
    folder = VENVS / contender.venv
    print(f"installing {' '.join(REQUIREMENTS[contender.venv])} into {folder}", file=sys.stderr)
    steps = (
        (sys.executable, "-m", "venv", str(folder)),
        (str(folder / "bin/pip"), "install", "-q", *REQUIREMENTS[contender.venv]),
    )
    for step in steps:
        running = start(Launch(step), log=VENVS / f"{contender.venv}.log")
        if running.process.wait():
            raise StageError(f"{contender.name} could not be installed:\n{running.last_lines()}")
    (folder / "made").touch()


def in_process(batch_sizes: tuple[int, ...], samples: Samples, seconds: float) -> dict[str, float]:
    """Samples per second of the runtime alone, without any server, by batch size."""
    loaded = find_format("onnx").load(MODEL_REPOSITORY / ARTIFACT / "1", 1)
    rates: dict[str, float] = {}
    for rows in batch_sizes:
        batch = samples.take(list(range(rows)))
        loaded.run(batch)
        runs, began_s = 0, time.perf_counter()
        while time.perf_counter() - began_s < seconds:
            loaded.run(batch)
            runs += 1
        rates[str(rows)] = rows * runs / (time.perf_counter() - began_s)
    return rates
