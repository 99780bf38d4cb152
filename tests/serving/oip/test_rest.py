"""The Open Inference Protocol over REST, byte by byte, against a real server."""

from __future__ import annotations

import http.client
import json
from typing import Any

import numpy as np
import pytest

from contract import DATATYPES

INFER = "/v2/models/double/infer"
X = {"name": "x_FP32", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


def call(
    oip: Any, method: str, path: str, body: bytes | dict[str, Any] = b"", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", oip.rest, timeout=10)
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    connection.request(method, path, content, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    headers_by_name = {name.lower(): value for name, value in response.getheaders()}
    is_json = headers_by_name.get("content-type") == "application/json" and answer
    return response.status, json.loads(answer) if is_json else answer, headers_by_name


def request(**changes: Any) -> dict[str, Any]:
    """An infer request for `double` whose one input has `changes`; a value of None leaves the key out."""
    return {"inputs": [{key: value for key, value in {**X, **changes}.items() if value is not None}]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/double/ready", {"name": "double", "ready": True}),
        ("/v2/models/double/versions/1/ready", {"name": "double", "ready": True}),
        (
            "/v2/models/double/versions/1",
            {
                "name": "double",
                "versions": ["1"],
                "platform": "onnx_onnxv1",
                "inputs": [{"name": "x_FP32", "datatype": "FP32", "shape": [-1, 4]}],
                "outputs": [{"name": "y_FP32", "datatype": "FP32", "shape": [-1, 4]}],
            },
        ),
    ],
)
def test_get_answers(oip: Any, path: str, expected: Any) -> None:
    assert call(oip, "GET", path)[:2] == (200, expected)


def test_server_metadata_names_the_extensions(oip: Any) -> None:
    _, answer, _ = call(oip, "GET", "/v2")
    assert answer["name"] == "onnxruntime"
    assert answer["extensions"] == ["binary_tensor_data", "model_repository"]


@pytest.mark.parametrize("path", [INFER, "/v2/models/double/versions/1/infer"])
@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6, 7, 8], [[1, 2, 3, 4], [5, 6, 7, 8]]], ids=["flat", "nested"])
def test_flat_and_nested_data_mean_the_same(oip: Any, path: str, data: Any) -> None:
    status, answer, _ = call(oip, "POST", path, request(shape=[2, 4], data=data) | {"id": "a"})
    output = {"name": "y_FP32", "datatype": "FP32", "shape": [2, 4], "data": [2, 4, 6, 8, 10, 12, 14, 16]}
    assert status == 200
    assert answer == {"model_name": "double", "model_version": "1", "id": "a", "outputs": [output]}


def test_float32_survives_the_text(oip: Any) -> None:
    values = np.float32([0.1, 1 / 3, 1e-38, 3.4e37]).tolist()
    _, answer, _ = call(oip, "POST", INFER, request(data=values))
    np.testing.assert_array_equal(np.float32(answer["outputs"][0]["data"]), 2 * np.float32(values))


def binary_request(described: dict[str, Any], tail: bytes, **options: Any) -> tuple[bytes, str]:
    tensor = {**X, "parameters": described}
    del tensor["data"]
    head = json.dumps({"inputs": [tensor], **options}).encode()
    return head + tail, str(len(head))


@pytest.mark.parametrize("repeat", [1, 2], ids=["new", "remembered"])
@pytest.mark.parametrize(
    ("options", "binary"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "y_FP32", "parameters": {"binary_data": True}}]}, True),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "y_FP32", "parameters": {"binary_data": False}}],
            },
            False,
        ),
    ],
)
def test_binary_tensors_in_and_out(oip: Any, options: dict[str, Any], binary: bool, repeat: int) -> None:
    for value in range(repeat):
        x = np.float32([value, 2, 3, 4])
        body, length = binary_request({"binary_data_size": 16}, x.tobytes(), **options)
        status, answer, headers = call(oip, "POST", INFER, body, Inference_Header_Content_Length=length)
        assert status == 200
        if binary:
            split = int(headers["inference-header-content-length"])
            assert json.loads(answer[:split])["outputs"][0]["parameters"] == {"binary_data_size": 16}
            np.testing.assert_array_equal(np.frombuffer(answer[split:], np.float32), 2 * x)
        else:
            assert answer["outputs"][0]["data"] == (2 * x).tolist()


def test_raw_request_is_one_row_and_gets_binary(oip: Any) -> None:
    x = np.float32([1, 2, 3, 4])
    status, answer, headers = call(oip, "POST", INFER, x.tobytes(), Inference_Header_Content_Length="0")
    assert status == 200
    assert answer[int(headers["inference-header-content-length"]) :] == (2 * x).tobytes()


def test_timing_is_told_on_request(oip: Any) -> None:
    body = request() | {"parameters": {"server_timing": True}}
    _, answer, headers = call(oip, "POST", INFER, body, X_Server_Timing="1")
    assert set(answer["parameters"]) == {"queue_us", "compute_us", "batch_rows"}
    assert headers["server-timing"].startswith("queue;dur=")
    assert "server-timing" not in call(oip, "POST", INFER, request())[2]


BAD_BODIES: dict[str, tuple[Any, int, str]] = {
    "empty": (b"", 400, "the request is not JSON"),
    "truncated": (b'{"inputs":', 400, "the request is not JSON"),
    "trailing": (json.dumps(request()).encode() + b"x", 400, "the request is not JSON"),
    "deep": (b"[" * 100_000, 400, "the request is not JSON"),
    "no utf-8": (b'{"id":"\xff"}', 400, "the request is not JSON"),
    "NaN": (b'{"inputs":[NaN]}', 400, "the request is not JSON"),
    "huge integer": (b'{"inputs":[99999999999999999999999]}', 400, "the request is not JSON"),
    "a list": (b"[1]", 400, "must be a JSON object"),
    "no inputs": ({}, 400, "must have `inputs`"),
    "input no object": ({"inputs": [1]}, 400, "must be an object"),
    "no name": (request(name=None), 400, "must have a `name`"),
    "no datatype": (request(datatype=None), 400, "must have a `datatype`"),
    "no shape": (request(shape=None), 400, "must have a `shape`"),
    "negative shape": (request(shape=[-1, 4]), 400, "a list of whole numbers"),
    "fractional shape": (request(shape=[1.0, 4]), 400, "a list of whole numbers"),
    "no data": (request(data=None), 400, "must have `data`"),
    "data no list": (request(data="abc"), 400, "must have `data`, a list"),
    "too few": (request(data=[1, 2, 3]), 400, r"shape [1,4] needs 4 elements, flat or nested, got 3"),
    "ragged": (request(shape=[2, 4], data=[[1, 2, 3], [4, 5, 6, 7, 8]]), 400, "got rows of other lengths"),
    "nested too deep": (request(data=[[[1, 2, 3, 4]]]), 400, "needs 4 elements"),
    "text for number": (request(data=[1, 2, 3, "4"]), 400, "must be a number that FP32 holds"),
    "bool for number": (request(data=[1, 2, 3, True]), 400, "must be a number that FP32 holds"),
    "overflow": (request(data=[1, 2, 3, 1e39]), 400, "must be a number that FP32 holds"),
    "no rows": (request(shape=[0, 4], data=[]), 400, "at least one is expected"),
    "unknown datatype": (request(datatype="FP31"), 400, "which is no datatype (there are BOOL"),
    "id no string": (request() | {"id": 1}, 400, "`id` must be a string"),
    "parameters no object": (request() | {"parameters": 1}, 400, "`parameters` must be an object"),
    "outputs no list": (request() | {"outputs": 1}, 400, "`outputs` must be a list"),
    "timeout no number": (request() | {"parameters": {"timeout": "x"}}, 400, "number of microseconds"),
    "flag no bool": (request() | {"parameters": {"binary_data_output": 1}}, 400, "must be true or false"),
}


@pytest.mark.parametrize("mistake", BAD_BODIES)
def test_bad_body_is_refused_by_name(oip: Any, mistake: str) -> None:
    body, status, message = BAD_BODIES[mistake]
    answered, answer, _ = call(oip, "POST", INFER, body)
    assert (answered, list(answer)) == (status, ["error"])
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("size", "tail", "length", "message"),
    [
        (16, b"\0" * 12, None, "binary_data_size says 16 bytes, 12 are left"),
        (16, b"\0" * 20, None, "unexpected additional input data: 4 bytes"),
        (12, b"\0" * 12, None, "has 12 bytes of data: FP32 [1,4] needs 16"),
        ("16", b"\0" * 16, None, "must be a number of bytes, got: '16'"),
        (16, b"\0" * 16, "99999", "must be in the range"),
        (16, b"\0" * 16, "-1", "must be a number of bytes, got: '-1'"),
        (16, b"\0" * 16, "x", "must be a number of bytes, got: 'x'"),
        (16, b"\0" * 16, "0", "bytes of data: FP32 [1,4] needs 16"),
    ],
)
def test_bad_binary_data_is_refused(oip: Any, size: Any, tail: bytes, length: str | None, message: str) -> None:
    body, right = binary_request({"binary_data_size": size}, tail)
    status, answer, _ = call(oip, "POST", INFER, body, Inference_Header_Content_Length=length or right)
    assert status == 400
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v3", {}, 404),
        ("GET", "/v2/models/nope", {}, 404),
        ("GET", "/v2/models/nope/ready", {}, 404),
        ("GET", "/v2/models/double/versions/x", {}, 404),
        ("GET", "/v2/models/..%2F..%2Fetc%2Fpasswd", {}, 404),
        ("POST", "/v2/repository/models/..%2F..%2Fetc/load", {}, 404),
        ("GET", INFER, {}, 405),
        ("POST", "/v2/health/live", {}, 405),
        ("POST", INFER, {"Content_Type": "multipart/form-data; boundary=x"}, 415),
        ("POST", INFER, {"Content_Encoding": "br"}, 415),
        ("POST", INFER, {"Content_Encoding": "gzip"}, 400),
    ],
)
def test_wrong_address_is_a_proper_status(
    oip: Any, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answered, answer, _ = call(oip, method, path, b"{}" if method == "POST" else b"", **headers)
    assert answered == status
    assert answer["error"]


def test_answer_that_json_cannot_hold_is_refused_not_faked(oip: Any) -> None:
    body, length = binary_request({"binary_data_size": 16}, np.float32([np.nan, 1, 2, 3]).tobytes())
    status, answer, _ = call(oip, "POST", INFER, body, Inference_Header_Content_Length=length)
    assert (status, "ask for it as binary data" in answer["error"]) == (400, True)


def test_integers_are_strict_and_in_range(oip: Any) -> None:
    def every(**changes: Any) -> dict[str, Any]:
        special = {"BOOL": [True, False], "BYTES": ["a", "é"]}
        data = {name: special.get(name, [1, 0]) for name in DATATYPES} | changes
        return {"inputs": [{"name": f"x_{n}", "shape": [1, 2], "datatype": n, "data": data[n]} for n in DATATYPES]}

    path = "/v2/models/every/infer"
    limits = {"UINT64": [2**64 - 1, 0], "INT64": [-(2**63), 2**63 - 1], "UINT8": [255, 0], "INT8": [-128, 127]}
    status, answer, _ = call(oip, "POST", path, every(**limits))
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert status == 200
    assert {name: outputs[f"y_{name}"] for name in limits} == limits
    assert outputs["y_BYTES"] == ["a", "é"]
    for wrong in ({"UINT8": [256, 0]}, {"INT8": [-129, 0]}, {"INT32": [1.5, 0]}, {"UINT64": [-1, 0]}, {"BOOL": [1, 0]}):
        assert call(oip, "POST", path, every(**wrong))[0] == 400


def test_model_without_batch_dimension_answers(oip: Any) -> None:
    body = {"inputs": [{"name": "x_FP32", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}]}
    status, answer, _ = call(oip, "POST", "/v2/models/fixed/infer", body)
    assert (status, answer["outputs"][0]["shape"]) == (200, [2, 3])
