"""Every recorded exchange with the genuine server, replayed; conformance/README.md says how to compare."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "conformance"
REST = [json.loads(line) for line in (FOLDER / "tfserving_rest.jsonl").read_text().splitlines()]
GRPC = [json.loads(line) for line in (FOLDER / "tfserving_grpc.jsonl").read_text().splitlines()]
KERNEL = re.compile(r"\{\{node|goo\.gle/debug|Incompatible shapes|assertion failed")
"""Words of a kernel or of protobuf's debug text: they may differ from here on."""


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
    with np.errstate(over="ignore"):
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


@pytest.fixture(scope="session")
def grpc_answers(embedded: Any) -> dict[str, dict[str, Any]]:
    """The answer to each recorded call, asked by a process of its own: the official messages import TensorFlow."""
    argv = [sys.executable, str(Path(__file__).with_name("grpc_replay.py")), str(embedded.grpc)]
    replay = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert replay.returncode == 0, replay.stderr[-2000:]
    return {answer["name"]: answer for answer in map(json.loads, replay.stdout.splitlines())}


@pytest.mark.parametrize("case", GRPC, ids=[case["name"] for case in GRPC])
def test_grpc_answers_as_recorded(grpc_answers: dict[str, dict[str, Any]], case: dict[str, Any]) -> None:
    answer = grpc_answers[case["name"]]
    wanted = KERNEL.split(case.get("message", ""))[0]
    assert (answer["code"], KERNEL.split(answer["message"])[0]) == (case["code"], wanted)
    assert answer["equal"], answer["text"]
