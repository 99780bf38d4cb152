"""At load nothing is run but recorded warm-up requests; requests are joined where the manifest proves it harmless."""

from __future__ import annotations

import json
import re
import shutil
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import Batching, Manifest, TensorSpec, files_below

MODELS = Path(__file__).parent / "models"
WARM_UP = "assets.extra/tf_serving_warmup_requests"


@pytest.mark.parametrize("flags", [(), ("--enable_batching",), ("--workers=2",)], ids=["plain", "batching", "workers"])
def test_loading_runs_no_signature(launch_embedded: Callable[..., Any], flags: tuple[str, ...]) -> None:
    running = launch_embedded("--model_name=online", f"--model_base_path={MODELS / 'online'}", *flags)
    predict, ones = "/v1/models/online:predict", np.ones((1, 2), np.float32)
    assert running.post(predict, {"instances": [[1.0, 1.0]]}) == (200, {"predictions": [[3.0]]})
    assert list(running.predict("online", x=ones).outputs["y"].float_val) == [3.0]
    if "--workers=2" not in flags:  # training, when it is asked for, is done once
        train = {"signature_name": "train", "inputs": {"x": [[1.0, 1.0]], "target": [[1.0]]}}
        assert running.post(predict, train) == (200, {"outputs": 4.0})
        assert running.post(predict, {"instances": [[1.0, 1.0]]})[1]["predictions"][0][0] == pytest.approx(2.2)


def record(request: bytes) -> bytes:
    """A TFRecord with a PredictionLog of a PredictRequest."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    log = field(6, field(1, request))
    return struct.pack("<Q", len(log)) + bytes(4) + log + bytes(4)


def test_recorded_requests_are_run_at_load(
    launch_embedded: Callable[..., Any], predict_message: Callable[..., bytes], tmp_path: Path
) -> None:
    shutil.copytree(MODELS / "online", tmp_path / "online")
    warm_up = tmp_path / "online/1" / WARM_UP
    warm_up.parent.mkdir()
    inputs = {"x": np.ones((1, 2), np.float32), "target": np.ones((1, 1), np.float32)}
    warm_up.write_bytes(record(predict_message("online", "train", **inputs)))
    running = launch_embedded("--model_name=online", f"--model_base_path={tmp_path / 'online'}")
    status, answer = running.post("/v1/models/online:predict", {"instances": [[1.0, 1.0]]})
    assert (status, answer["predictions"][0][0]) == (200, pytest.approx(2.2))  # trained by its own warm-up data


@pytest.mark.parametrize("content", ["a request that the model refuses", "no records"])
def test_a_failing_warm_up_is_a_line_in_the_log(
    launch_embedded: Callable[..., Any], predict_message: Callable[..., bytes], tmp_path: Path, content: str
) -> None:
    refused = record(predict_message("m", "product", x=np.ones(3, np.float32)))
    shutil.copytree(MODELS / "tf2", tmp_path / "tf2")
    (tmp_path / "tf2/1" / WARM_UP).parent.mkdir()
    (tmp_path / "tf2/1" / WARM_UP).write_bytes(refused if "refuses" in content else content.encode())
    running = launch_embedded("--model_name=tf2", f"--model_base_path={tmp_path / 'tf2'}")
    assert running.post("/v1/models/tf2:predict", {"instances": [[1.0]]}) == (200, {"predictions": [[2.5]]})
    assert "tf2 version 1: warm-up failed, served all the same: INVALID_ARGUMENT: " in running.log.read_text()


# joining requests


def with_manifest(base: Path, verdict: str, most_rows: int = 32) -> Path:
    """A copy of the model `share`, whose rows depend on each other, with a manifest that says `verdict`."""
    shutil.copytree(MODELS / "share", base)
    spec = TensorSpec("x", "FP32", (-1,))
    manifest = Manifest("share", "tensorflow", "savedmodel", "1", (spec,), (replace(spec, name="y"),), {}, 0)
    replace(manifest, sha256=files_below(base), batching=Batching(verdict, "by the test", most_rows)).write(base)
    return base


def ask_at_once(running: Any, clients: int = 4, each: int = 50) -> tuple[list[Any], set[int]]:
    """The wrong answers of several clients, and the batch sizes that were seen."""
    wrong: list[Any] = []
    sizes: set[int] = set()

    def ask(value: float) -> None:
        for _ in range(each):
            body = json.dumps({"instances": [value, 1.0]}).encode()
            lines = f"Host: t\r\nX-Server-Timing: 1\r\nContent-Length: {len(body)}\r\n\r\n"
            head = f"POST /v1/models/share:predict HTTP/1.1\r\n{lines}"
            response, answer = running.exchange(head.encode() + body)
            y = json.loads(answer)["predictions"]
            if not np.allclose(y, [value / (value + 1), 1 / (value + 1)]):
                wrong.append((value, y))
            sizes.add(int(re.findall(r'desc="(\d+)"', response.getheader("Server-Timing"))[0]))

    threads = [threading.Thread(target=ask, args=(float(client + 1),)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong, sizes


BATCHING = ("--enable_batching", "--batching_parameters_file={folder}/batching")


@pytest.mark.parametrize("verdict", ["refused", "unknown"])
@pytest.mark.parametrize("flags", [(), BATCHING], ids=["plain", "batching"])
def test_rows_that_are_not_proven_independent_are_never_mixed(
    launch_embedded: Callable[..., Any], tmp_path: Path, verdict: str, flags: tuple[str, ...]
) -> None:
    (tmp_path / "batching").write_text("batch_timeout_micros { value: 2000 }")
    base = with_manifest(tmp_path / "share", verdict)
    running = launch_embedded(
        "--model_name=share", f"--model_base_path={base}", *(flag.format(folder=tmp_path) for flag in flags)
    )
    assert ask_at_once(running) == ([], {2})


def test_a_manifest_of_other_files_proves_nothing(launch_embedded: Callable[..., Any], tmp_path: Path) -> None:
    base = with_manifest(tmp_path / "share", "proven")
    (base / "1/saved_model.pb").write_bytes((base / "1/saved_model.pb").read_bytes() + b"\n\0")
    (base / "manifest.json").write_text((base / "manifest.json").read_text())
    running = launch_embedded("--model_name=share", f"--model_base_path={base}")
    assert ask_at_once(running) == ([], {2})
    assert "requests run one by one: " in running.log.read_text()


def test_requests_are_joined_where_the_manifest_says_that_rows_are_independent(
    launch_embedded: Callable[..., Any], tmp_path: Path
) -> None:
    base = with_manifest(tmp_path / "share", "declared")  # by the user, wrongly: mixed answers show the joining
    (tmp_path / "batching").write_text("batch_timeout_micros { value: 20000 }")
    running = launch_embedded(
        "--model_name=share", f"--model_base_path={base}", *(flag.format(folder=tmp_path) for flag in BATCHING)
    )
    wrong, sizes = ask_at_once(running)
    assert wrong
    assert max(sizes) > 2


@pytest.mark.parametrize("flags", [(), BATCHING], ids=["plain", "batching"])
def test_no_more_rows_are_joined_than_were_proven(
    launch_embedded: Callable[..., Any], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    base = with_manifest(tmp_path / "share", "proven", most_rows=2)  # a request has two rows: none has a neighbour
    (tmp_path / "batching").write_text("batch_timeout_micros { value: 20000 }")
    running = launch_embedded(
        "--model_name=share", f"--model_base_path={base}", *(flag.format(folder=tmp_path) for flag in flags)
    )
    assert ask_at_once(running) == ([], {2})
