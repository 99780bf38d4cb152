"""What the genuine program has no flag for: the latency split on request, token, TLS, access log, a leave in order."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.protos import message

PREDICT = "/v1/models/half_plus_two:predict"
BASE = f"--model_base_path={Path(__file__).parent / 'models/half_plus_two'}"
CALL = "/tensorflow.serving.PredictionService/Predict"
SPLIT = re.compile(r'queue;dur=[0-9.]+, compute;dur=[0-9.]+, batch;desc="([0-9]+)"')
OPENSSL = shutil.which("openssl")


def predict_message() -> bytes:
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = "half_plus_two"
    proto = request.inputs["x"]
    proto.dtype = 1
    proto.tensor_shape.dim.add().size = 2
    proto.float_val.extend([1.0, 2.0])
    encoded: bytes = request.SerializeToString()
    return encoded


MESSAGE = predict_message()


def post(server: Any, path: str, body: dict[str, Any], **headers: str) -> Any:
    raw = json.dumps(body).encode()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    response, _ = server.exchange(
        f"POST {path} HTTP/1.1\r\nHost: t\r\n{lines}Content-Length: {len(raw)}\r\n\r\n".encode() + raw
    )
    return response


@pytest.mark.parametrize(
    ("path", "body", "rows"),
    [
        (PREDICT, {"instances": [1.0, 2.0, 5.0]}, "3"),
        ("/v1/models/cls:classify", {"examples": [{"x": [1.0, 2.0]}, {"x": [3.0, 0.5]}]}, "2"),
        ("/v1/models/cls:regress", {"signature_name": "reg", "examples": [{"x": [1.0, 2.5]}]}, "1"),
    ],
)
def test_rest_tells_where_the_time_went_when_asked(embedded: Any, path: str, body: Any, rows: str) -> None:
    assert post(embedded, path, body).getheader("Server-Timing") is None
    found = SPLIT.fullmatch(post(embedded, path, body, X_Server_Timing="1").getheader("Server-Timing"))
    assert found is not None
    assert found[1] == rows


def test_grpc_tells_where_the_time_went_when_asked(embedded: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{embedded.grpc}") as channel:
        predict = channel.unary_unary(CALL)
        _, silent = predict.with_call(MESSAGE, timeout=10)
        _, told = predict.with_call(MESSAGE, timeout=10, metadata=(("x-server-timing", "1"),))
    assert dict(silent.trailing_metadata()) == {}
    assert SPLIT.fullmatch(dict(told.trailing_metadata())["server-timing"])


def test_token_guards_both_ports(launch_embedded: Any) -> None:
    server = launch_embedded(BASE, "--model_name=half_plus_two", "--token=open sesame")
    body = {"instances": [1.0]}
    refused = post(server, PREDICT, body)
    assert (refused.status, refused.getheader("WWW-Authenticate")) == (401, "Bearer")
    assert post(server, PREDICT, body, Authorization="Bearer open sesame").status == 200
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(CALL)(MESSAGE, timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        channel.unary_unary(CALL)(MESSAGE, timeout=10, metadata=(("authorization", "Bearer open sesame"),))


@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl binary, which makes the certificate")
def test_both_ports_speak_tls(launch_embedded: Any, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert, *subject]
    subprocess.run([str(OPENSSL), *map(str, made)], check=True, capture_output=True)
    server = launch_embedded(BASE, "--model_name=half_plus_two", f"--tls_cert={cert}", f"--tls_key={key}")
    context = ssl.create_default_context(cafile=str(cert))
    connection = http.client.HTTPSConnection("localhost", server.rest, context=context, timeout=10)
    connection.request("POST", PREDICT, b'{"instances": [1.0]}')
    assert json.loads(connection.getresponse().read()) == {"predictions": [2.5]}
    connection.close()
    with grpc.secure_channel(f"localhost:{server.grpc}", grpc.ssl_channel_credentials(cert.read_bytes())) as channel:
        answer = channel.unary_unary(CALL)(MESSAGE, timeout=10)
    assert message("tensorflow.serving.PredictResponse").FromString(answer).outputs["y"].float_val == [2.5, 3.0]


def test_access_log_is_off_unless_asked_for(embedded: Any, launch_embedded: Any, eventually: Any) -> None:
    server = launch_embedded(BASE, "--model_name=half_plus_two", "--access_log")
    post(server, PREDICT, {"instances": [1.0]})
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        channel.unary_unary(CALL)(MESSAGE, timeout=10)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(CALL)(b"", timeout=10)
    eventually(lambda: server.log.read_text().count("\n{") == 3, 30)  # a line is written behind its answer
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    assert [(line.get("status"), line.get("code")) for line in lines] == [
        (200, None), (None, "OK"), (None, "INVALID_ARGUMENT"),
    ]  # fmt: skip
    assert [line.get("target", line["method"]) for line in lines] == [PREDICT, CALL, CALL]
    assert all(line["ms"] > 0 for line in lines)
    assert not any(line.startswith("{") for line in embedded.log.read_text().splitlines())


def test_a_leaving_server_is_not_ready_and_still_answers(launch_embedded: Any, eventually: Any) -> None:
    server = launch_embedded(
        BASE, "--model_name=half_plus_two", "--enable_grpc_healthcheck_service", "--grace_seconds=15"
    )
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=10) == b"\x08\x01"
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: check(b"", timeout=10) == b"\x08\x02", 10)
        assert server.states("half_plus_two") == {123: "UNLOADING"}
        assert server.post(PREDICT, {"instances": [1.0]}) == (200, {"predictions": [2.5]})
        channel.unary_unary(CALL)(MESSAGE, timeout=10)
    assert server.process.wait(60) == 0


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--tls_cert=x.pem", "--tls_cert and --tls_key go together"),
        ("--grace_seconds=soon", "--grace_seconds=soon must be a number"),
    ],
)
def test_wrong_options_are_refused_by_name(flag: str, problem: str) -> None:
    from contract import StageError
    from serving.servers.tfserving.flags import parse_flags

    with pytest.raises(StageError, match=problem):
        parse_flags([BASE, flag])
