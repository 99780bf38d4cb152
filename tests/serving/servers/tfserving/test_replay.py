"""Every recorded exchange with the genuine server, replayed as serving/conformance/recorded/README.md says."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.conformance.cases import tfserving_recorded as recorded

FOLDER = Path(recorded.__file__).parents[1] / "recorded"
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


def error_text(text: str) -> str:
    """An error text without a kernel's words, a parser's words, and the layout of a value that it shows."""
    if text.startswith("JSON Parse error: ") and "empty" not in text:
        return "JSON Parse error: "
    text = re.sub(r"JSON Value: .* Type:", "JSON Value: Type:", KERNEL.split(text)[0], flags=re.DOTALL)
    return re.sub(r"\s+", "", text)[:200]


def recorded_body(case: dict[str, Any]) -> bytes:
    if "response_body_base64" in case:
        return base64.b64decode(case["response_body_base64"])
    body: str = case["response_body"]
    return body.encode()


@pytest.mark.parametrize("case", REST, ids=[case["name"] for case in REST])
def test_rest_answers_as_recorded(embedded: Any, case: dict[str, Any]) -> None:
    response, body = embedded.exchange(request_bytes(case))
    assert response.status == case["status"]
    if case["level"] == "quirk":  # a body not worth copying, or none
        assert response.getheader("Content-Length") == str(len(body)) or case["method"] == "HEAD"
        return
    assert response.getheader("Content-Type") == case["content_type"]
    got, wanted = json.loads(body), json.loads(recorded_body(case))
    if "error" in wanted:
        assert error_text(got["error"]) == error_text(wanted["error"])
    else:
        assert recorded.same_value(got, wanted)


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
