"""The interface to the rest of the project: engines, command lines, configuration files, encoding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contract import Manifest, StageError, TensorSpec
from serving.protos import message
from serving.server import Settings, find_server
from serving.servers.tfserving.config_files import read_batching, read_metrics_path
from serving.servers.tfserving.configuration import write_configuration

SERVER = find_server("tfserving")
ROOT = Path(__file__).parents[4]
MANIFEST = Manifest(
    "tensorflow-savedmodel", "tensorflow", "savedmodel", "1",
    (TensorSpec("image", "FP32", (-1, 2, 2)),), (TensorSpec("y", "FP32", (-1, 2)),), {}, 0,
)  # fmt: skip
PORTS = {"rest": 1234, "grpc": 1235}
BATCHED = Settings(threads=2, workers=1, max_batch_size=16, max_queue_delay_us=250)


def test_engine_binary_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert SERVER.missing("binary") == "no `tensorflow_model_server` on PATH: install the package of that name"
    assert SERVER.missing("embedded") is None
    assert SERVER.engine("embedded") == "embedded"


@pytest.mark.parametrize("engine", SERVER.engines)
def test_every_engine_gets_the_same_files_and_flags(engine: str, tmp_path: Path) -> None:
    launch = SERVER.launch(engine, {MANIFEST.name: MANIFEST}, PORTS, BATCHED, tmp_path)
    flags = [argument for argument in launch.argv if argument.startswith("--")]
    assert {"--port=1235", "--rest_api_port=1234", "--enable_batching=true"} <= set(flags)
    assert f"--model_config_file={tmp_path / 'models.config'}" in flags
    if engine == "docker":
        assert "127.0.0.1:1234:1234" in launch.argv
    if engine == "embedded":
        assert "--host=127.0.0.1" in flags


def test_default_settings_are_the_genuine_defaults(tmp_path: Path) -> None:
    launch = SERVER.launch("binary", {MANIFEST.name: MANIFEST}, PORTS, SERVER.grid[0], tmp_path)
    assert [argument.split("=")[0] for argument in launch.argv[1:]] == [
        "--port", "--rest_api_port", "--model_config_file", "--monitoring_config_file",
    ]  # fmt: skip


def test_models_config_is_a_model_server_config(tmp_path: Path) -> None:
    write_configuration(tmp_path, {"a": Path("/models/a b"), 'b"': Path("/models/b")}, BATCHED)
    code = (
        "import sys; from google.protobuf import text_format; "
        "from tensorflow_serving.config import model_server_config_pb2 as m; "
        "c = text_format.Parse(open(sys.argv[1]).read(), m.ModelServerConfig()); "
        "print([(x.name, x.base_path, x.model_platform) for x in c.model_config_list.config])"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "models.config")]
    parsed = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=90).stdout
    assert parsed.strip() == str([("a", "/models/a b", "tensorflow"), ('b"', "/models/b", "tensorflow")])


def test_batching_and_monitoring_files_are_read_back(tmp_path: Path) -> None:
    write_configuration(tmp_path, {"a": Path("/models/a")}, BATCHED)
    batching = read_batching(str(tmp_path / "batching.config"))
    assert (batching.max_batch_size, batching.batch_timeout_micros, batching.num_batch_threads) == (16, 250, 2)
    assert read_metrics_path(str(tmp_path / "monitoring.config")) == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_batch_sise { value: 4 }", "is no BatchingParameters"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: 2", "must be the largest batch, 4"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: 4 allowed_batch_sizes: 2", "must increase"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be at least 1"),
    ],
)
def test_wrong_batching_parameters_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "batching").write_text(text)
    with pytest.raises(StageError, match=problem):
        read_batching(str(tmp_path / "batching"))


def test_ready_means_a_version_is_available() -> None:
    row = b'{"model_version_status": [{"version": "1", "state": "%s", "status": {}}]}'
    assert SERVER.is_ready(200, row % b"AVAILABLE")
    assert not SERVER.is_ready(200, row % b"LOADING")
    assert not SERVER.is_ready(404, b'{"error": "Could not find any versions of model a"}')


def test_rest_encodes_rows_and_decodes_predictions() -> None:
    image = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    call = SERVER.encode("rest", "m", MANIFEST, {"image": image})
    assert (call.path, call.body[:30]) == ("/v1/models/m:predict", b'{"instances":[[[0.0,1.0],[2.0,')
    outputs = SERVER.decode("rest", MANIFEST, b'{"predictions": [[1.0, 2], [3.0, 4]]}', {})
    assert np.array_equal(outputs["y"], [[1, 2], [3, 4]])


def test_rest_rows_of_several_inputs_are_objects() -> None:
    specs = (TensorSpec("a", "FP32", (-1,)), TensorSpec("s", "BYTES", (-1,)))
    manifest = Manifest("m", "tensorflow", "savedmodel", "1", specs, specs, {}, 0)
    inputs = {"a": np.ones(2, np.float32), "s": np.array([b"x", b"\xff"], object)}
    body = SERVER.encode("rest", "m", manifest, inputs).body
    assert body == b'{"instances":[{"a":1.0,"s":{"b64":"eA=="}},{"a":1.0,"s":{"b64":"/w=="}}]}'
    outputs = SERVER.decode("rest", manifest, body.replace(b"instances", b"predictions"), {})
    assert outputs["s"].tolist() == [b"x", b"\xff"]


def test_grpc_encodes_tensor_content_and_decodes_typed_values() -> None:
    image = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    call = SERVER.encode("grpc", "m", MANIFEST, {"image": image})
    request = message("tensorflow.serving.PredictRequest").FromString(call.body)
    assert request.inputs["image"].tensor_content == image.tobytes()
    response = message("tensorflow.serving.PredictResponse")()
    response.outputs["y"].dtype = 1
    for size in (1, 2):
        response.outputs["y"].tensor_shape.dim.add().size = size
    response.outputs["y"].float_val.extend([0.5, 1.5])
    outputs = SERVER.decode("grpc", MANIFEST, response.SerializeToString(), {})
    assert np.array_equal(outputs["y"], [[0.5, 1.5]])
    with pytest.raises(ValueError, match="no PredictResponse"):
        SERVER.decode("grpc", MANIFEST, b"\xff\xff", {})
