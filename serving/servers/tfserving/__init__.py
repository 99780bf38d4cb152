"""TensorFlow Serving, hosting SavedModels: the genuine program, its container, or the embedded server in this folder.

`launch` writes `models.config`, `batching.config` and `monitoring.config`, the same for every engine. The embedded
engine runs `python -m serving.servers.tfserving` with the flags of the genuine program; its own description, and where
it does better on purpose, is in `__main__.py`. The genuine program has no flag for a host: engine `binary` listens on
every interface, so use it only where the machine's ports can't be reached from elsewhere.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson

from contract import MODEL_REPOSITORY, ROOT, Manifest, Tensors
from serving.process.launcher import docker_missing
from serving.server import FULL_QUEUE, KILLED_WORKER, TERMINATION, VERSION_SWAP, Call, Launch, Server, Settings
from serving.servers.tfserving.client import predict_request, predict_response, rows_of, tensors_of
from serving.servers.tfserving.configuration import write_configuration

GRPC_METHOD = "/tensorflow.serving.PredictionService/Predict"
PROGRAM = "tensorflow_model_server"
IMAGE = "tensorflow/serving:2.20.0"
DEFAULT = Settings(threads=0, workers=1, max_batch_size=1, max_queue_delay_us=0)
"""The genuine program's own defaults: no batching, as many threads as cores."""
FAULT_FLAGS = {
    VERSION_SWAP: ("--file_system_poll_wait_seconds=1",),
    FULL_QUEUE: ("--enable_batching", "--batching_parameters_file={folder}/one_row.config"),
    TERMINATION: ("--grace_seconds=0.5",),
    KILLED_WORKER: ("--workers=2",),
}
ONE_ROW = "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }"
REST_THREADS = 64
"""With batching each waiting request holds one of the genuine program's REST threads: 4 a core are too few."""


class TensorFlowServing(Server):
    """SavedModels behind TensorFlow Serving's REST and gRPC APIs."""

    name = "tfserving"
    formats = ("savedmodel",)
    ports = {"rest": 8501, "grpc": 8500}
    protocols = {"rest": "rest", "grpc": "grpc"}
    apis = {"rest": "tfserving"}  # the cases use both ports
    engines = ("binary", "docker", "embedded")
    stands_in_for = {"embedded": "tensorflow_model_server"}
    grid = (
        DEFAULT,
        Settings(threads=0, workers=1, max_batch_size=32, max_queue_delay_us=0),
        Settings(threads=1, workers=1, max_batch_size=32, max_queue_delay_us=0),
        Settings(threads=0, workers=1, max_batch_size=64, max_queue_delay_us=500),
        Settings(threads=1, workers=2, max_batch_size=32, max_queue_delay_us=0),  # workers: the embedded engine alone
    )

    def missing(self, engine: str) -> str | None:
        """See `Server.missing`; nothing is imported to find out."""
        if engine == "binary":
            return None if shutil.which(PROGRAM) else f"no `{PROGRAM}` on PATH: install the package of that name"
        if engine == "docker":
            return docker_missing()
        wanted = ("tensorflow", "tensorflow_serving", "hpack", "uvloop", "httptools", "simdjson")
        absent = [name for name in wanted if importlib.util.find_spec(name) is None]
        return f"no module {', '.join(absent)}: run `make install`" if absent else None

    def launch(
        self, engine: str, artifacts: Mapping[str, Manifest], ports: Mapping[str, int], settings: Settings, folder: Path
    ) -> Launch:
        """See `Server.launch`; every path is absolute and the same inside a container."""
        repository, folder = MODEL_REPOSITORY.resolve(), folder.resolve()
        write_configuration(folder, {name: repository / name for name in artifacts}, settings)
        flags = _flags(ports, settings, folder)
        if engine == "binary":
            return Launch((PROGRAM, *flags))
        if engine == "docker":
            published = [part for port in ports.values() for part in ("-p", f"127.0.0.1:{port}:{port}")]
            mounts = [part for path in (repository, folder) for part in ("-v", f"{path}:{path}:ro")]
            inside = ("docker", "run", "--rm", "--init", *published, *mounts, "--entrypoint", PROGRAM, IMAGE)
            return Launch((*inside, *flags))
        embedded = ("--host=127.0.0.1", f"--workers={settings.workers}")
        return Launch((sys.executable, "-m", "serving.servers.tfserving", *embedded, *flags), cwd=ROOT)

    def launch_for_fault(
        self, fault: str, artifact: str, repository: Path, ports: Mapping[str, int], folder: Path
    ) -> Launch:
        """See `Server.launch_for_fault`; the embedded engine with one thread."""
        (folder / "one_row.config").write_text(ONE_ROW)
        argv = [sys.executable, "-m", "serving.servers.tfserving", "--tensorflow_session_parallelism=1"]
        argv += [f"--model_name={artifact}", f"--model_base_path={(repository / artifact).resolve()}"]
        argv += [f"--rest_api_port={ports['rest']}", f"--port={ports['grpc']}"]
        return Launch((*argv, *(flag.format(folder=folder) for flag in FAULT_FLAGS[fault])), cwd=ROOT)

    def versions_call(self, artifact: str) -> Call:
        """See `Server.versions_call`."""
        return self.ready_call(artifact)

    def served_versions(self, body: bytes) -> set[str]:
        """See `Server.served_versions`; a version that is being unloaded still answers what it has taken."""
        states = {row["version"]: row["state"] for row in json.loads(body)["model_version_status"]}
        return {version for version, state in states.items() if state in ("AVAILABLE", "UNLOADING")}

    def live_call(self) -> Call:
        """See `Server.live_call`: a list of models is no part of the API, the refusal shows that HTTP is served."""
        return Call("/v1/models", b"")

    def ready_call(self, artifact: str) -> Call:
        """See `Server.ready_call`."""
        return Call(f"/v1/models/{artifact}", b"")

    def is_ready(self, status: int, body: bytes) -> bool:
        """Whether a version of the model is AVAILABLE: loaded, warmed up and routed to."""
        if status != 200:
            return False
        return any(version["state"] == "AVAILABLE" for version in json.loads(body)["model_version_status"])

    def encode(self, protocol: str, artifact: str, manifest: Manifest, inputs: Tensors) -> Call:
        """See `Server.encode`: the row format in JSON, raw tensors in gRPC."""
        if protocol == "grpc":
            return Call(GRPC_METHOD, predict_request(artifact, manifest.inputs, inputs))
        body = orjson.dumps({"instances": rows_of(manifest.inputs, inputs)}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Call(f"/v1/models/{artifact}:predict", body, {"Content-Type": "application/json"})

    def decode(
        self, protocol: str, manifest: Manifest, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        """See `Server.decode`."""
        if protocol == "grpc":
            return predict_response(manifest.outputs, body)
        return tensors_of(manifest.outputs, orjson.loads(body)["predictions"])


def _flags(ports: Mapping[str, int], settings: Settings, folder: Path) -> list[str]:
    """The command line that all engines share; only what differs from the genuine program's defaults."""
    flags = [
        f"--port={ports['grpc']}",
        f"--rest_api_port={ports['rest']}",
        f"--model_config_file={folder / 'models.config'}",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
    ]
    if settings.threads:
        flags += [f"--tensorflow_{kind}_op_parallelism={settings.threads}" for kind in ("intra", "inter")]
    if settings.max_batch_size > 1:
        flags += ["--enable_batching=true", f"--batching_parameters_file={folder / 'batching.config'}"]
        flags += [f"--rest_api_num_threads={REST_THREADS}"]
    return flags


SERVER = TensorFlowServing()
