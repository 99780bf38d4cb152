"""Who takes part in the servers' benchmark, how each is started, and what it is asked.

Everybody serves the same artifact with one thread, batching as its documentation recommends. What isn't ours runs in a
virtual environment of its own, see `loadtest.bench.venvs`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import orjson

from contract import MODEL_REPOSITORY, ROOT, Manifest
from loadtest.bench.closed_loop import Plan
from loadtest.bench.venvs import HERE, VENVS
from loadtest.client.requests import http1_request
from serving.oip.client import GRPC_PATH
from serving.repository import Samples
from serving.server import Call, Launch, Settings, find_server

BENTO_ARGV = ("bentoml", "serve", "bentoml_app:Model", "--host", "127.0.0.1", "--port", "{rest}")
PROTOCOL = {"json": "rest", "binary": "rest-binary", "grpc": "grpc"}
ARTIFACT = "pytorch-onnx"
SAMPLES = 64
CONNECTIONS = (1, 8, 32)
VERSIONS = 8
IDLE_CONNECTIONS = 2000
ALL = ("json", "binary", "grpc")


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
    batching: str = "what has arrived, at most 32"
    """Its setting, for the reader."""
    venv: str | None = None
    checked: bool = True
    """Whether answers are predictions; an echo's are not."""
    connections: tuple[int, ...] = CONNECTIONS
    wrk: tuple[str, ...] = ()
    """Payloads that wrk sends as well, with 8 and 32 connections."""
    cores: int = 1
    idle_connections: int = 0
    """Kept open beside those that are measured."""


def make_plan(contender: Contender, payload: str, samples: Samples) -> Plan:
    """The requests for one sample each, and what is expected: the trained model's answer."""
    expected = next(iter(samples.expected[contender.artifact].values()))[:SAMPLES].astype(np.float32)
    expected = expected if contender.checked else expected[:0]
    calls = [contender.call(payload, samples.take([index])) for index in range(SAMPLES)]
    if payload == "grpc":
        return Plan([call.body for call in calls], expected, payload, calls[0].path)
    requests = [http1_request(call.path, call.headers, call.body, "127.0.0.1") for call in calls]
    return Plan(requests, expected, payload)


def hosted(name: str, artifact: str, payloads: tuple[str, ...], settings: Settings, label: str = "") -> Contender:
    """A server of the registry."""
    batching = f"at most {settings.max_batch_size}, {settings.max_queue_delay_us} µs"
    server = find_server(name)
    manifest = Manifest.read(MODEL_REPOSITORY / artifact, "make export")

    def launch(ports: Mapping[str, int], folder: Path) -> Launch:
        return server.launch(server.engine(), {artifact: manifest}, ports, settings, folder)

    def call(payload: str, inputs: Mapping[str, np.ndarray]) -> Call:
        return server.encode(PROTOCOL[payload], artifact, manifest, inputs)

    ready = server.ready_call(artifact).path
    return Contender(
        label or name,
        launch,
        payloads,
        call,
        artifact,
        ready,
        server.ready_port,
        server.is_ready,
        tuple(server.ports),
        batching if settings.max_batch_size > 1 else "none",
    )


def _module(name: str, port: str, *arguments: str) -> Callable[[Mapping[str, int], Path], Launch]:
    def launch(ports: Mapping[str, int], folder: Path) -> Launch:  # noqa: ARG001 - Contender.launch
        return Launch(
            (sys.executable, "-m", f"loadtest.bench.systems_under_test.{name}", str(ports[port]), *arguments), cwd=ROOT
        )

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
            for file in (HERE / "mlserver_model").glob("*.*"):
                shutil.copy(file, folder)
        path = {"PATH": f"{VENVS / name / 'bin'}:/usr/bin:/bin", **env, "OMP_NUM_THREADS": "1"}
        return Launch((str(VENVS / name / "bin" / program[0]), *program[1:]), path, HERE)

    return launch


def _with_versions(ours: Contender, count: int) -> Callable[[Mapping[str, int], Path], Launch]:
    """Ours over a repository that has the artifact `count` times, all of them served."""

    def launch(ports: Mapping[str, int], folder: Path) -> Launch:
        repository, source = folder / "repository", MODEL_REPOSITORY.resolve() / ARTIFACT
        for version in range(1, count + 1):
            shutil.copytree(source / "1", repository / ARTIFACT / str(version))
        shutil.copy(source / "manifest.json", repository / ARTIFACT)
        plain = ours.launch(ports, folder)
        argv = [str(repository) if word == str(MODEL_REPOSITORY) else word for word in plain.argv]
        return replace(plain, argv=(*argv, "--versions", "0"))

    return launch


def contenders() -> dict[str, Contender]:
    """Everybody, ours and the yardsticks first."""
    version = str(MODEL_REPOSITORY.resolve() / ARTIFACT / "1")
    by_name = [*_ours(version), *_others(f"{version}/model.onnx")]
    return {contender.name: contender for contender in by_name}


def _ours(version: str) -> list[Contender]:
    one = Settings(threads=1, workers=1)
    ours = replace(hosted("onnxruntime", ARTIFACT, ALL, one, "ours"), wrk=("json", "binary"))
    two = hosted("onnxruntime", ARTIFACT, ("binary",), Settings(threads=1, workers=2), "ours-2-workers")
    variant = replace(ours, payloads=("binary",), connections=(32,), wrk=())
    echo = _module("grpc_echo", "grpc", GRPC_PATH)
    bare, asgi = (_module(name, "rest", version, "onnx") for name in ("ceiling", "asgi_ceiling"))
    plain = Settings(threads=1, workers=1, max_batch_size=1)
    tensorflow = partial(hosted, "tfserving", "tensorflow-savedmodel", ("json", "grpc"))
    return [
        ours,
        Contender("ceiling", bare, ("json", "binary"), _oip_call, wrk=("json", "binary")),
        Contender("uvicorn", asgi, ("binary",), _oip_call),
        Contender("grpc-echo", echo, ("grpc",), _oip_call, ready_path="", batching="none", checked=False),
        replace(variant, name="ours-1-worker", wrk=("binary",)),
        replace(two, connections=(32,), wrk=("binary",), cores=2),
        replace(variant, name=f"ours-{VERSIONS}-versions", launch=_with_versions(ours, VERSIONS)),
        replace(variant, name=f"ours-{IDLE_CONNECTIONS}-idle", idle_connections=IDLE_CONNECTIONS),
        hosted("tflite", "tensorflow-tflite", ALL, one),
        replace(tensorflow(plain), wrk=("json",)),
        replace(tensorflow(one, "tfserving-batching"), wrk=("json",)),
    ]


def _others(model: str) -> list[Contender]:
    thousand = Settings(threads=1, workers=1, max_queue_delay_us=1000)
    lit = ("python", str(HERE / "litserve_app.py"), "{rest}", model)
    triton = ("python", str(HERE / "pytriton_app.py"), "{rest}", "{grpc}", "{metrics}", model, ARTIFACT, "{folder}")
    three = ("rest", "grpc", "metrics")
    return [
        hosted("torchserve", "pytorch-torchscript", ALL, thousand),
        Contender(
            "pytriton",
            _in_venv("pytriton", *triton),
            ALL,
            _oip_call,
            ready_path=f"/v2/models/{ARTIFACT}/ready",
            ports=three,
            batching="dynamic batcher, at most 32, 0 µs",
            venv="pytriton",
        ),
        Contender(
            "litserve",
            _in_venv("litserve", *lit),
            ("json",),
            _lit_call,
            ready_path="/health",
            batching="at most 32, 1000 µs",
            venv="litserve",
        ),
        Contender(
            "mlserver",
            _in_venv("mlserver", "mlserver", "start", "{folder}", MODEL=model),
            ("json", "grpc"),
            _oip_call,
            ready_path="/v2/health/ready",
            ports=three,
            batching="adaptive, at most 32, 1000 µs",
            venv="mlserver",
        ),
        Contender(
            "bentoml",
            _in_venv("bentoml", *BENTO_ARGV, MODEL=model, BENTOML_DO_NOT_TRACK="1"),
            ("json",),
            _bento_call,
            ready_path="/readyz",
            batching="adaptive, at most 32, 1000 ms",
            venv="bentoml",
        ),
    ]
