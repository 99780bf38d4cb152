"""TorchServe: its configuration, its archive, its codec, and its handler in the running server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import MODEL_REPOSITORY, Manifest, TensorSpec
from serving.client import PredictionError, send
from serving.protos import message
from serving.repository import read_samples
from serving.server import Call, Settings, find_server
from serving.servers.torchserve import GRPC_METHOD, render_config
from serving.servers.torchserve.archive import pack

RunningServers = Callable[[str], Any]
ARTIFACT = "pytorch-torchscript"
MANIFEST = Manifest(
    "m", "pytorch", "torchscript", "1", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 3)),), {}, 0
)
SERVER = find_server("torchserve")
X = np.array([[1, 2], [3, 4]], np.float32)


def properties(settings: Settings) -> dict[str, str]:
    text = render_config({"m": MANIFEST}, SERVER.ports, settings, Path("/store"), "127.0.0.1")
    return dict(line.split("=", 1) for line in text.splitlines())


def test_config_listens_on_loopback_only() -> None:
    config = properties(SERVER.grid[0])
    assert config["inference_address"] == "http://127.0.0.1:8080"
    assert config["management_address"] == "http://127.0.0.1:8081"
    assert config["grpc_inference_address"] == config["grpc_management_address"] == "127.0.0.1"


def test_config_refuses_remote_archives_and_model_control() -> None:
    config = properties(SERVER.grid[0])
    assert config["allowed_urls"] == "file://.*"
    assert config["enable_model_api"] == "false"


def test_config_carries_the_settings() -> None:
    model = json.loads(properties(Settings(workers=2, max_batch_size=8, max_queue_delay_us=3000))["models"])["m"]["1.0"]
    assert (model["minWorkers"], model["maxWorkers"], model["batchSize"], model["maxBatchDelay"]) == (2, 2, 8, 3)


def test_encode_sends_the_same_tensor_as_text_and_bytes() -> None:
    assert json.loads(SERVER.encode("rest", "m", MANIFEST, {"x": X}).body) == {"inputs": {"x": X.tolist()}}
    assert SERVER.encode("rest-binary", "m", MANIFEST, {"x": X}).body == X.tobytes()
    request = message("org.pytorch.serve.grpc.inference.PredictionsRequest").FromString(
        SERVER.encode("grpc", "m", MANIFEST, {"x": X}).body
    )
    assert dict(request.input) == {"data": X.tobytes()}


def test_encode_sends_a_scalar_as_a_number() -> None:
    body = SERVER.encode("rest", "m", MANIFEST, {"x": X, "rate": np.array(16000)}).body
    assert json.loads(body)["inputs"]["rate"] == 16000


def test_decode_refuses_half_a_row() -> None:
    with pytest.raises(ValueError, match="16 bytes are no whole number of rows"):
        SERVER.decode("rest-binary", MANIFEST, b"\0" * 16, {})


@pytest.mark.parametrize(("workers", "ready"), [(["READY"], True), (["LOADING"], False), ([], False)])
def test_is_ready_asks_the_workers(workers: list[str], ready: bool) -> None:
    body = json.dumps([{"minWorkers": 1, "workers": [{"status": status} for status in workers]}]).encode()
    assert SERVER.is_ready(200, body) is ready
    assert not SERVER.is_ready(404, body)


def test_pack_writes_a_whole_archive_once(tmp_path: Path) -> None:
    manifest = Manifest.read(MODEL_REPOSITORY / ARTIFACT, "make export")
    archive = pack(ARTIFACT, manifest, tmp_path)
    written = archive.stat().st_mtime_ns
    assert {"model.pt", "manifest.json", "handler.py"} <= set(zipfile.ZipFile(archive).namelist())
    assert pack(ARTIFACT, manifest, tmp_path).stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_pack_goes_by_content_not_by_time(tmp_path: Path) -> None:
    manifest = Manifest.read(MODEL_REPOSITORY / ARTIFACT, "make export")
    archive = pack(ARTIFACT, manifest, tmp_path)
    other = replace(manifest, training={"model_sha256": "of another training"})
    assert (
        json.loads(zipfile.ZipFile(pack(ARTIFACT, other, tmp_path)).read("manifest.json"))["training"] == other.training
    )
    assert archive.stat().st_mtime > (MODEL_REPOSITORY / ARTIFACT / "manifest.json").stat().st_mtime


def test_config_takes_a_batch_of_64_as_json() -> None:
    image = replace(MANIFEST, inputs=(TensorSpec("x", "FP32", (-1, 3, 224, 224)),))
    sizes = [render_config({"m": m}, SERVER.ports, Settings(), Path(), "").split() for m in (MANIFEST, image)]
    assert f"max_request_size={64 << 20}" in sizes[0]
    assert f"max_request_size={64 * 16 * 3 * 224 * 224}" in sizes[1]


BAD_BODIES = [
    (b"", "expected"),
    (b"\0" * 10, "expected a multiple of 3136 bytes"),
    (b'{"inputs": {"z": [1]}}', "no input 'image'"),
    (b'{"inputs": {"image": [[1]]}}', "has shape [1, 1], expected [-1, 28, 28, 1]"),
    (b'{"inputs": {"image": [[["a"]]]}}', "could not convert string to float"),
    (b'{"inputs": 5}', ""),
    (b"{", "Expecting property name"),
    (b"{" + b'"a":{' * 100_000, ""),
]


@pytest.mark.parametrize(("body", "reason"), BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_handler_explains_bad_input(body: bytes, reason: str, running_servers: RunningServers) -> None:
    port = running_servers("torchserve").ports["rest"]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predictions/{ARTIFACT}", body)
    request.add_header("Content-Type", "application/json" if body[:1] == b"{" else "application/octet-stream")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        assert answer.code == 400
        refusal = json.load(answer)
    assert reason in refusal["message"]
    assert refusal["error"] == refusal["message"]  # the key of the Open Inference Protocol


def test_open_inference_request_is_answered_in_kind(running_servers: RunningServers) -> None:
    samples = read_samples()
    image = samples.inputs["image"][1]
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, *image.shape], "data": image.ravel().tolist()}
    port = running_servers("torchserve").ports["rest"]
    url = f"http://127.0.0.1:{port}/v2/models/{ARTIFACT}/infer"
    request = urllib.request.Request(
        url, json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        (output,) = json.load(answer)["outputs"]
    np.testing.assert_allclose(output["data"], samples.expected[ARTIFACT]["probabilities"][1], atol=1e-5)


def test_grpc_refuses_what_is_no_tensor(running_servers: RunningServers) -> None:
    endpoint = next(e for e in running_servers("torchserve").endpoints if e.protocol == "grpc")
    request = message("org.pytorch.serve.grpc.inference.PredictionsRequest")(model_name=ARTIFACT, input={"data": b"{"})
    with pytest.raises(PredictionError, match="INVALID_ARGUMENT: expected a multiple of 3136 bytes"):
        send(endpoint, Call(GRPC_METHOD, request.SerializeToString()))
