"""TLS on both ports, with a certificate made for the test."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

OPENSSL = shutil.which("openssl")


def ask(connection: http.client.HTTPConnection) -> int:
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl binary, which makes the certificate")
def test_both_ports_speak_tls_and_nothing_else(start_server: Any, repository: Path, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert, *subject]
    subprocess.run([str(OPENSSL), *map(str, made)], check=True, capture_output=True)
    server = start_server(repository, "--tls-cert", str(cert), "--tls-key", str(key), wait=False)
    context = ssl.create_default_context(cafile=str(cert))
    ends, status = time.monotonic() + 20, 0
    while status != 200 and time.monotonic() < ends:
        try:
            status = ask(http.client.HTTPSConnection("localhost", server.rest, context=context, timeout=5))
        except OSError:
            time.sleep(0.1)
    assert status == 200
    credentials = grpc.ssl_channel_credentials(cert.read_bytes())
    with grpc.secure_channel(f"localhost:{server.grpc}", credentials) as channel:
        assert channel.unary_unary("/inference.GRPCInferenceService/ServerReady")(b"", timeout=10) == b"\x08\x01"
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(http.client.HTTPConnection("localhost", server.rest, timeout=5))
    server.running.stop()
