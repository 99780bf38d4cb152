"""A server with batching: its queue, limits, deadlines and metrics, and neighbours that leave each other alone."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

HERE = Path(__file__).parent
PREDICT = "/v1/models/half_plus_two:predict"
ODD = "/v1/models/odd:predict"
IMAGE = np.ones((5, 5, 1)).tolist()
METRICS = "/monitoring/prometheus/metrics"
TIMEOUT_S = 3.0
"""Of the server with batching: far above what a request takes on a busy machine."""


@pytest.fixture(scope="module")
def batched(tmp_path_factory: pytest.TempPathFactory, start: Any) -> Iterator[Any]:
    """A server with small batches, a short queue and a short timeout."""
    folder = tmp_path_factory.mktemp("batched")
    (folder / "batching").write_text(
        "max_batch_size { value: 4 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 } "
        "batch_timeout_micros { value: 0 } allowed_batch_sizes: 2 allowed_batch_sizes: 4"
    )
    (folder / "monitoring").write_text("prometheus_config { enable: true }")
    models = "".join(
        f'config {{ name: "{path.name}" base_path: "{path}" model_platform: "tensorflow" }} '
        for path in (HERE / "models/odd", HERE / "models/half_plus_two")
    )
    (folder / "models").write_text(f"model_config_list {{ {models} }}")
    running = start(
        folder,
        f"--model_config_file={folder / 'models'}",
        f"--monitoring_config_file={folder / 'monitoring'}",
        f"--batching_parameters_file={folder / 'batching'}",
        "--enable_batching",
        f"--rest_api_timeout_in_ms={TIMEOUT_S * 1000:.0f}",
        "--rest_api_enable_cors_support",
    )
    yield running
    running.process.kill()
    running.process.wait()


def test_a_full_queue_is_unavailable(batched: Any) -> None:
    answers = batched.pipelined([(PREDICT, {"instances": [1.0]})] * 40)
    assert Counter(status for status, _, _ in answers).keys() == {200, 503}
    refused = next(answer for answer in answers if answer[0] == 503)
    text = "The batch scheduling queue to which this task was submitted is full"
    assert refused[1] == {"error": f"{text}; currently 1 batches enqueued and max_enqueued_batches is 1"}
    assert refused[2]["Retry-After"] == "1"
    assert batched.post(PREDICT, {"instances": [1.0]}) == (200, {"predictions": [2.5]})


def test_a_request_larger_than_a_batch_is_refused(batched: Any) -> None:
    status, answer = batched.post(PREDICT, {"instances": [1, 2, 3, 4, 5]})
    assert (status, answer["error"]) == (400, "Task size 5 is larger than maximum input batch size 4")
    assert batched.post(PREDICT, {"instances": [1, 2, 3]})[1] == {"predictions": [2.5, 3.0, 3.5]}


def test_batching_needs_a_dimension_and_takes_an_empty_batch(batched: Any) -> None:
    text = "Batching Run() input tensors must have at least one dimension"
    assert batched.post(PREDICT, {"inputs": 1.0}) == (400, {"error": text})
    assert batched.post(PREDICT, {"inputs": []}) == (200, {"outputs": []})


def test_an_odd_neighbour_fails_alone(batched: Any) -> None:
    good, odd = (ODD, {"instances": [IMAGE]}), (ODD, {"instances": [np.ones((5, 5, 2)).tolist()]})
    statuses = [status for status, _, _ in batched.pipelined([good, odd, good, odd])]
    assert statuses == [200, 400, 200, 400]


class Gate:
    """A request to `wait` that keeps the model busy until it is opened."""

    def __init__(self, running: Any, path: Path, eventually: Callable[..., Any]) -> None:
        self._end = path.with_suffix(".end")
        body = {"signature_name": "wait", "instances": [str(path)]}
        self._thread = threading.Thread(target=running.post, args=(ODD, body))
        self._thread.start()
        eventually(path.with_suffix(".began").exists, 30)

    def open(self) -> None:
        self._end.touch()
        self._thread.join()


def waiting_request(path: Path) -> dict[str, Any]:
    """A request of the same signature that runs at once when its turn comes."""
    path.with_suffix(".end").touch()
    return {"signature_name": "wait", "instances": [str(path)]}


def tasks(running: Any) -> float:
    """The requests that the batching session has taken."""
    return samples(running, "batching_session:input_batch_size_count").get("", 0)


def test_a_request_that_waits_too_long_times_out(batched: Any, tmp_path: Path, eventually: Callable[..., Any]) -> None:
    before, answers = tasks(batched), []
    gate = Gate(batched, tmp_path / "first", eventually)
    late = threading.Thread(target=lambda: answers.append(batched.post(ODD, waiting_request(tmp_path / "late"))))
    late.start()
    eventually(lambda: tasks(batched) == before + 2, 30)
    time.sleep(TIMEOUT_S + 0.1)  # it is the limit itself that has to pass
    gate.open()
    late.join()
    assert answers == [(504, {"error": "Timed out waiting for notification"})]
    assert not (tmp_path / "late.began").exists()


def test_a_client_that_left_costs_no_run(batched: Any, tmp_path: Path, eventually: Callable[..., Any]) -> None:
    gate = Gate(batched, tmp_path / "first", eventually)
    before, body = tasks(batched), json.dumps(waiting_request(tmp_path / "left")).encode()
    raw = f"POST {ODD} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", batched.rest)) as connection:
        connection.sendall(raw)
        eventually(lambda: tasks(batched) == before + 1, 30)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset at the close
        port = connection.getsockname()[1]
    eventually(lambda: port not in client_ports(batched), 30)
    gate.open()
    assert batched.post(ODD, waiting_request(tmp_path / "next"))[0] == 200
    assert not (tmp_path / "left.began").exists()


def client_ports(running: Any) -> set[int]:
    """The ports at the other end of the server's connections."""
    connections = psutil.Process(running.process.pid).net_connections("tcp")
    return {connection.raddr.port for connection in connections if connection.raddr}


def test_cors_headers(batched: Any) -> None:
    response, _ = batched.exchange(f"GET {METRICS}x HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    assert response.getheader("Access-Control-Allow-Origin") is None
    response, _ = batched.exchange(b"GET /v1/models/odd HTTP/1.1\r\nHost: t\r\n\r\n")
    assert response.getheader("Access-Control-Allow-Origin") == "*"


def rows_of(running: Any, name: str) -> list[tuple[dict[str, str], float]]:
    """Labels and values of a metric's samples."""
    families = text_string_to_metric_families(running.get(METRICS)[1].decode())
    names = {f":tensorflow:serving:{name}", f":tensorflow:serving:{name}_total"}  # the parser's name of a counter
    return [(sample.labels, sample.value) for family in families for sample in family.samples if sample.name in names]


def samples(running: Any, name: str, **labels: str) -> dict[str, float]:
    """The values of the samples with all of `labels`, by their bound or under the empty name."""
    return {row.get("le", ""): value for row, value in rows_of(running, name) if labels.items() <= row.items()}


def test_metrics_have_the_genuine_names_and_buckets(batched: Any) -> None:
    batched.post(ODD, {"instances": [IMAGE]})
    batched.post("/v1/models/nope:predict", {"instances": [IMAGE]})
    assert samples(batched, "request_count", model_name="odd", status="OK")[""] >= 1
    assert samples(batched, "request_count", model_name="nope", status="NOT_FOUND") == {"": 1}
    buckets = samples(batched, "request_latency_bucket", model_name="odd", API="predict", entrypoint="REST")
    assert len(buckets) == 34
    assert list(buckets)[:3] == ["10", "18", "32.4"]
    assert sorted(buckets.values()) == list(buckets.values())
    assert buckets["+Inf"] == samples(batched, "request_latency_count", model_name="odd", API="predict")[""]
    for name in ("queuing_latency", "input_batch_size", "processed_batch_size"):
        assert samples(batched, f"batching_session:{name}_count")[""] >= 1
    assert samples(batched, "batching_session:padding_size_sum", execution_batch_size="2")[""] >= 1


def counted(running: Any, model: str) -> Counter[str]:
    """Requests of a model by status, as the metrics have them."""
    rows = rows_of(running, "request_count")
    return Counter({row["status"]: int(value) for row, value in rows if row["model_name"] == model})


def test_refusals_are_counted_as_the_genuine_server_does(batched: Any) -> None:
    before, nameless = counted(batched, "odd"), counted(batched, "")
    assert batched.get("/v1/models/odd/versions/9")[0] == 404
    assert batched.post(ODD, b"{")[0] == 400
    assert batched.get("/v1/models/")[0] == 400
    with grpc.insecure_channel(f"127.0.0.1:{batched.grpc}") as channel:
        for method in ("Predict", "GetModelMetadata"):  # the latter is not counted
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")(b"\n\x05\n\x03odd", timeout=10)
    assert counted(batched, "odd") - before == {"NOT_FOUND": 1, "INVALID_ARGUMENT": 2}
    assert counted(batched, "") - nameless == {"INVALID_ARGUMENT": 1}
