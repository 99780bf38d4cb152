"""What the recordings don't show: limits, neighbours, deadlines, metrics, and what is better here on purpose."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

HERE = Path(__file__).parent
PREDICT = "/v1/models/half_plus_two:predict"
ODD = "/v1/models/odd:predict"
IMAGE = np.ones((5, 5, 1)).tolist()
METRICS = "/monitoring/prometheus/metrics"


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
        "--rest_api_timeout_in_ms=400",
        "--rest_api_enable_cors_support",
    )
    yield running
    running.process.kill()
    running.process.wait()


def pipelined(running: Any, requests: list[tuple[str, Any]]) -> list[tuple[int, Any, Any]]:
    """Send requests in one go on one connection: status, JSON and headers of each answer."""
    raw = b""
    for path, body in requests:
        encoded = json.dumps(body).encode()
        raw += f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(encoded)}\r\n\r\n".encode() + encoded
    with socket.create_connection(("127.0.0.1", running.rest), timeout=20) as connection:
        connection.sendall(raw)
        with connection.makefile("rb") as stream:
            return [read_answer(stream) for _ in requests]


def read_answer(stream: Any) -> tuple[int, Any, Any]:
    status = int(stream.readline().split()[1])
    headers = http.client.parse_headers(stream)
    return status, json.loads(stream.read(int(headers["Content-Length"]))), headers


def test_a_full_queue_is_unavailable(batched: Any) -> None:
    answers = pipelined(batched, [(PREDICT, {"instances": [1.0]})] * 40)
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
    statuses = [status for status, _, _ in pipelined(batched, [good, odd, good, odd])]
    assert statuses == [200, 400, 200, 400]


SHAPES = [(), (25,), (5, 5), (1, 1, 5, 5, 1), (1, 0, 5, 1), (1, 5, 5, 0), (1, 5, 5, 2), (0, 5, 5, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_ends_the_process(embedded: Any, shape: tuple[int, ...]) -> None:
    status, _ = embedded.post(ODD, {"inputs": np.ones(shape).tolist()})
    assert status in (200, 400)
    assert embedded.post(ODD, {"instances": [IMAGE]}) == (200, {"predictions": [324.0]})


def test_a_wrong_rank_is_refused_in_the_kernel_s_words(embedded: Any) -> None:
    status, answer = embedded.post(ODD, {"inputs": np.ones((1, 25)).tolist()})
    assert status == 400
    assert answer["error"].startswith("convolution input must be 4-dimensional: [1,25]\n\t [[")


def test_rows_that_depend_on_each_other_run_alone(embedded: Any) -> None:
    request = (ODD, {"signature_name": "total", "instances": [2.0]})
    assert [answer["predictions"] for _, answer, _ in pipelined(embedded, [request] * 12)] == [[1.0]] * 12


def spin(turns: int) -> dict[str, Any]:
    """A request that takes some ten microseconds a turn."""
    return {"signature_name": "spin", "instances": [turns]}


def spin_for(batched: Any, seconds: float) -> dict[str, Any]:
    """A request that keeps this machine's model busy for about so long."""
    batched.post(ODD, spin(20_000))  # the first gives the signature a thread
    began_s = time.perf_counter()
    batched.post(ODD, spin(20_000))
    return spin(int(20_000 * seconds / (time.perf_counter() - began_s)))


def test_a_request_that_waits_too_long_times_out(batched: Any) -> None:
    first = threading.Thread(target=batched.post, args=(ODD, spin_for(batched, 1.5)))
    first.start()
    time.sleep(0.15)
    status, answer = batched.post(ODD, spin(1))
    first.join()
    assert (status, answer) == (504, {"error": "Timed out waiting for notification"})


def test_a_client_that_left_costs_no_run(batched: Any) -> None:
    def runs() -> int:
        found = re.search(rb"wrapped_run_count\{\} (\d+)", batched.get(METRICS)[1])
        return int(found[1]) if found else 0

    body = json.dumps(spin_for(batched, 0.5)).encode()
    before = runs()
    raw = f"POST {ODD} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    for _ in range(4):
        with socket.create_connection(("127.0.0.1", batched.rest)) as connection:
            connection.sendall(raw)
            time.sleep(0.03)
            # a reset: a client that only sends no more may still want its answer
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ends_s = time.monotonic() + 20
    while batched.post(ODD, spin(1))[0] != 200:  # behind them all; it may itself wait too long at first
        assert time.monotonic() < ends_s
    assert runs() - before <= 2


def test_cors_headers(batched: Any) -> None:
    response, _ = batched.exchange(f"GET {METRICS}x HTTP/1.1\r\n\r\n".encode())
    assert response.getheader("Access-Control-Allow-Origin") is None
    response, _ = batched.exchange(b"GET /v1/models/odd HTTP/1.1\r\n\r\n")
    assert response.getheader("Access-Control-Allow-Origin") == "*"


def test_metrics_have_the_genuine_names(batched: Any) -> None:
    batched.post(ODD, {"instances": [IMAGE]})
    batched.post("/v1/models/nope:predict", {"instances": [IMAGE]})
    status, page = batched.get(METRICS)
    text = page.decode()
    assert status == 200
    assert "# TYPE :tensorflow:serving:request_latency histogram\n" in text
    assert re.search(r':tensorflow:serving:request_count\{model_name="odd",status="OK"\} [1-9]', text)
    assert ':tensorflow:serving:request_count{model_name="nope",status="NOT_FOUND"} 1\n' in text
    latency = ':tensorflow:serving:request_latency_bucket{model_name="odd",API="predict",entrypoint="REST",le='
    buckets = [int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(latency)]
    assert len(buckets) == 34
    assert buckets == sorted(buckets)
    assert f'{latency}"18"}}' in text
    assert f'{latency}"+Inf"}} {buckets[-1]}\n' in text
    assert ":tensorflow:serving:batching_session:queuing_latency_count{} " in text
    assert ":tensorflow:serving:batching_session:input_batch_size_count{} " in text
    assert re.search(r'batching_session:padding_size_sum\{execution_batch_size="2"\} [1-9]', text)


def counted(running: Any, model: str) -> Counter[str]:
    """Requests of a model by status, as the metrics have them."""
    pattern = rb'request_count\{model_name="%s",status="(\w+)"\} (\d+)' % model.encode()
    return Counter({status.decode(): int(count) for status, count in re.findall(pattern, running.get(METRICS)[1])})


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


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(b'{"instances":[1.0]}'), 200),
        ("gzip", gzip.compress(b'{"instances":[1.0]}')[:-3], 400),
        ("gzip", gzip.compress(b'{"inst') + gzip.compress(b'ances":[1.0]}'), 400),
        ("gzip", b'{"instances":[1.0]}', 400),
        ("zstd", b'{"instances":[1.0]}', 200),
    ],
)
def test_gzip_bodies(embedded: Any, encoding: str, body: bytes, status: int) -> None:
    got, answer = embedded.post(PREDICT, body, f"Content-Encoding: {encoding}\r\n")
    assert got == status
    if status == 400:
        assert answer == {"error": "JSON Parse error: The document is empty"}


def test_large_bodies_are_read_beside_others(embedded: Any) -> None:
    values = list(range(200_000))
    status, answer = embedded.post(PREDICT, {"instances": values})
    assert (status, answer["predictions"][-1]) == (200, 100001.5)


def test_a_mistake_in_the_text_comes_before_an_unknown_model(embedded: Any) -> None:
    path = "/v1/models/nope:predict"
    status, answer = embedded.post(path, b'{"instances": [1.e]}')
    assert status == 400
    assert answer["error"].startswith("JSON Parse error: ")
    assert embedded.post(path, b'{"instances": [1]}')[0] == 404


def test_large_mistakes_are_found_beside_others(embedded: Any) -> None:
    body = b'{"instances": [' + b"NaN, " * 20_000 + b"1]}"
    status, answer = embedded.post(PREDICT, body.replace(b"1]}", b"true]}"))
    assert status == 400
    assert "element: 20000 of 'instances' list" in answer["error"]


def test_head_keeps_the_connection_in_step(embedded: Any) -> None:
    raw = b"HEAD /v1/models/half_plus_two HTTP/1.1\r\n\r\nGET /v1/models/half_plus_two HTTP/1.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", embedded.rest), timeout=10) as connection:
        connection.sendall(raw)
        with connection.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 400")
            http.client.parse_headers(stream)
            assert read_answer(stream)[0] == 200


@pytest.mark.parametrize(
    ("digits", "status"), [("9" * 5000, 400), ("0" * 5000 + "123", 200), (str(2**63), 400), (str(2**63 - 1), 404)]
)
def test_a_version_of_any_length_is_read_or_refused(embedded: Any, digits: str, status: int) -> None:
    got, body = embedded.get(f"/v1/models/half_plus_two/versions/{digits}")
    assert got == status
    if status == 400:
        assert json.loads(body)["error"] == f"Failed to convert version: {digits} to numeric."


@pytest.mark.parametrize("target", ["/v1/models/%zz", "/v1/models/\x7f"])
def test_what_is_no_uri_gets_a_page_and_a_close(embedded: Any, target: str) -> None:
    response, body = embedded.exchange(f"GET {target} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    assert (response.status, response.getheader("Connection")) == (400, "close")
    assert body.startswith(b"<HTML>")
