"""Every system of the servers' benchmark: our servers, the baselines, and other projects' servers.

All serve the same artifact with one thread, batching as their documentation recommends. What isn't ours runs in a
virtual environment of its own, see `loadtest.bench.venvs`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import orjson

from contract import MODEL_REPOSITORY, ROOT, Manifest, Tensors
from loadtest.bench.system import ARTIFACT, PROTOCOL, Program, System, registered
from loadtest.bench.venvs import HERE, VENVS
from serving.oip.client import GRPC_PATH
from serving.oip.client import encode as encode_oip
from serving.server import Call, Launch, Settings

BENTO_ARGV = ("bentoml", "serve", "bentoml_app:Model", "--host", "127.0.0.1", "--port", "{rest}")
VERSIONS = 8
IDLE_CONNECTIONS = 2000
ALL = ("json", "binary", "grpc")
ONE_THREAD = Settings(threads=1, workers=1)


def systems() -> dict[str, System]:
    """Every system by name, ours and the baselines first."""
    version = str(MODEL_REPOSITORY.resolve() / ARTIFACT / "1")
    return {system.name: system for system in [*_ours(), *_baselines(version), *_others(f"{version}/model.onnx")]}


def _ours() -> list[System]:
    ours = replace(registered("onnxruntime", ARTIFACT, ALL, ONE_THREAD, "ours"), wrk=("json", "binary"))
    two = registered("onnxruntime", ARTIFACT, ("binary",), Settings(threads=1, workers=2), "ours-2-workers")
    variant = replace(ours, payloads=("binary",), connections=(32,), wrk=())
    plain = Settings(threads=1, workers=1, max_batch_size=1)
    tensorflow = partial(registered, "tfserving", "tensorflow-savedmodel", ("json", "grpc"))
    return [
        ours,
        replace(variant, name="ours-1-worker", wrk=("binary",)),
        replace(two, connections=(32,), wrk=("binary",), cores=2),
        replace(variant, name=f"ours-{VERSIONS}-versions", launch=_with_versions(ours, VERSIONS)),
        replace(variant, name=f"ours-{IDLE_CONNECTIONS}-idle", idle_connections=IDLE_CONNECTIONS),
        registered("tflite", "tensorflow-tflite", ALL, ONE_THREAD),
        replace(tensorflow(plain), wrk=("json",)),
        replace(tensorflow(ONE_THREAD, "tfserving-batching"), wrk=("json",)),
    ]


def _baselines(version: str) -> list[System]:
    """The least code that does a part of a server's work."""
    ceiling, asgi = (_module(name, "rest", version, "onnx") for name in ("ceiling", "asgi_ceiling"))
    grpclib = _module("grpclib_servers", "grpc", GRPC_PATH, version, "onnx")
    echo = partial(System, payloads=("grpc",), encode=_oip_call, ready_path="", batching="none", checked=False)
    return [
        System("ceiling", ceiling, ("json", "binary"), _oip_call, wrk=("json", "binary")),
        System("uvicorn", asgi, ("binary",), _oip_call),
        echo("grpc-echo", _module("grpc_echo", "grpc", GRPC_PATH)),
        echo("grpclib-echo", _module("grpclib_servers", "grpc", GRPC_PATH)),
        System("grpclib", grpclib, ("grpc",), _oip_call, ready_path=""),
    ]


def _others(model: str) -> list[System]:
    one_ms = Settings(threads=1, workers=1, max_queue_delay_us=1000)
    lit = ("python", str(HERE / "litserve_app.py"), "{rest}", model)
    triton = ("python", str(HERE / "pytriton_app.py"), "{rest}", "{grpc}", "{metrics}", model, ARTIFACT, "{folder}")
    three = ("rest", "grpc", "metrics")
    return [
        registered("torchserve", "pytorch-torchscript", ALL, one_ms),
        System(
            "pytriton",
            _in_venv("pytriton", *triton),
            ALL,
            _oip_call,
            ready_path=f"/v2/models/{ARTIFACT}/ready",
            ports=three,
            batching="dynamic batcher, at most 32, 0 µs",
            venv="pytriton",
        ),
        System(
            "litserve",
            _in_venv("litserve", *lit),
            ("json",),
            _lit_call,
            ready_path="/health",
            batching="at most 32, 1000 µs",
            venv="litserve",
        ),
        System(
            "mlserver",
            _in_venv("mlserver", "mlserver", "start", "{folder}", MODEL=model),
            ("json", "grpc"),
            _oip_call,
            ready_path="/v2/health/ready",
            ports=three,
            batching="adaptive, at most 32, 1000 µs",
            venv="mlserver",
        ),
        System(
            "bentoml",
            _in_venv("bentoml", *BENTO_ARGV, MODEL=model, BENTOML_DO_NOT_TRACK="1"),
            ("json",),
            _bento_call,
            ready_path="/readyz",
            batching="adaptive, at most 32, 1000 ms",
            venv="bentoml",
        ),
    ]


def _module(name: str, port: str, *arguments: str) -> Program:
    """A program of `systems_under_test/` in this environment."""

    def launch(ports: Mapping[str, int], _folder: Path) -> Launch:
        module = f"loadtest.bench.systems_under_test.{name}"
        return Launch((sys.executable, "-m", module, str(ports[port]), *arguments), cwd=ROOT)

    return launch


def _in_venv(name: str, *argv: str, **env: str) -> Program:
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


def _with_versions(ours: System, count: int) -> Program:
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


def _oip_call(payload: str, inputs: Tensors) -> Call:
    manifest = Manifest.read(MODEL_REPOSITORY / ARTIFACT, "make export")
    return encode_oip(PROTOCOL[payload], ARTIFACT, manifest, inputs)


def _lit_call(payload: str, inputs: Tensors) -> Call:
    call = _oip_call(payload, inputs)
    return Call("/predict", call.body, call.headers)


def _bento_call(_payload: str, inputs: Tensors) -> Call:
    body = orjson.dumps({"image": next(iter(inputs.values()))}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Call("/predict", body, {"Content-Type": "application/json"})
