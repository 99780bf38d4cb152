"""Every recorded exchange with the genuine server, replayed; conformance/README.md says how to compare."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

FOLDER = Path(__file__).parent / "conformance"
REST = [json.loads(line) for line in (FOLDER / "tfserving_rest.jsonl").read_text().splitlines()]
GRPC = [json.loads(line) for line in (FOLDER / "tfserving_grpc.jsonl").read_text().splitlines()]
AFTER_RELOAD = [case for case in GRPC if case["name"].startswith("grpc_reload")]
KERNEL = re.compile(r"\{\{node|goo\.gle/debug|Incompatible shapes|assertion failed")
"""Words of a kernel or of protobuf's debug text: they may differ from here on."""
MESSAGES = {
    "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    "Classify": (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
    "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
    "MultiInference": (inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
    "GetModelMetadata": (
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
    ),
    "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, get_model_status_pb2.GetModelStatusResponse),
}


def request_bytes(case: dict[str, Any]) -> bytes:
    body = case["body"].encode() if "body" in case else base64.b64decode(case.get("body_base64", ""))
    headers = {name: re.sub(r"<a x (\d+)>", lambda m: "a" * int(m[1]), v) for name, v in case["headers"].items()}
    if body and "Transfer-Encoding" not in headers:
        headers["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{case['method']} {case['path']} HTTP/1.1\r\n{head}\r\n".encode() + body


def as_values(value: Any) -> Any:
    """JSON with its floats as float32, so that equal means equal as the model's."""
    if isinstance(value, dict):
        return {key: as_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_values(item) for item in value]
    return str(np.float32(value)) if isinstance(value, float) else value


def recorded_body(case: dict[str, Any]) -> bytes:
    if "response_body_base64" in case:
        return base64.b64decode(case["response_body_base64"])
    body: str = case["response_body"]
    return body.encode()


@pytest.mark.parametrize("case", REST, ids=[case["name"] for case in REST])
def test_rest_answers_as_recorded(embedded: Any, case: dict[str, Any]) -> None:
    response, body = embedded.exchange(request_bytes(case))
    if case["level"] == "quirk":
        assert response.status < 500 or response.status == 501
        return
    assert response.status == case["status"]
    assert response.getheader("Content-Type") == case["content_type"]
    got, wanted = json.loads(body), json.loads(recorded_body(case))
    if "error" in wanted:
        assert KERNEL.split(got["error"])[0] == KERNEL.split(wanted["error"])[0]
    else:
        assert as_values(got) == as_values(wanted)


SAME_BYTES = [
    case
    for case in REST
    if case["level"] != "quirk" and "metadata" not in case["name"] and "key order" not in case.get("note", "")
]


@pytest.mark.parametrize("case", SAME_BYTES, ids=[case["name"] for case in SAME_BYTES])
def test_rest_answers_byte_for_byte(embedded: Any, case: dict[str, Any]) -> None:
    _, body = embedded.exchange(request_bytes(case))
    wanted = recorded_body(case)
    if KERNEL.search(wanted.decode(errors="replace")) or case["name"] in ("float64_format", "err_matmul_shape"):
        return  # a kernel's words, the last digit of RapidJSON's doubles, the order of a map
    assert body == wanted


def call(embedded: Any, case: dict[str, Any]) -> tuple[str, str, Any]:
    request_type, response_type = MESSAGES[case["rpc"].rsplit("/", 1)[1]]
    text = case.get("request_text", "")
    if text.endswith("..."):  # shortened in the recording
        text = f'model_spec {{ name: "{"n" * 4000}" }}'
    request = text_format.Parse(text, request_type())
    with grpc.insecure_channel(f"127.0.0.1:{embedded.grpc}") as channel:
        method = channel.unary_unary(
            case["rpc"],
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        try:
            return "OK", "", method(request, timeout=20)
        except grpc.RpcError as error:
            return error.code().name, error.details(), None


def unpacked(response: Any) -> Any:
    """A response with the map in its Any, whose order is open, as a message of its own."""
    if not isinstance(response, get_model_metadata_pb2.GetModelMetadataResponse):
        return response
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    return response.model_spec, signatures


def check_grpc(embedded: Any, case: dict[str, Any]) -> None:
    code, message, response = call(embedded, case)
    assert (code, KERNEL.split(message)[0]) == (case["code"], KERNEL.split(case.get("message", ""))[0])
    if response is not None:
        wanted = text_format.Parse(case["response_text"], type(response)())
        assert unpacked(response) == unpacked(wanted)


DIRECT = [case for case in GRPC if case not in AFTER_RELOAD]


@pytest.mark.parametrize("case", DIRECT, ids=[case["name"] for case in DIRECT])
def test_grpc_answers_as_recorded(embedded: Any, case: dict[str, Any]) -> None:
    check_grpc(embedded, case)
