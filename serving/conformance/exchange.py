"""One exchange with a server under test, over HTTP/1.1 or gRPC, with nothing added and nothing hidden."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON; None where it is none. NaN and Infinity are read, as TensorFlow Serving writes them."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def error(self) -> str:
        """The text under the key `error`, or nothing."""
        document = self.document
        message = document.get("error") if isinstance(document, dict) else None
        return message if isinstance(message, str) else ""

    def __str__(self) -> str:
        return f"{self.status} {self.body[:400].decode(errors='replace')}"


def ask(
    address: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Send one request on a connection of its own, a chunked body as it is; no answer at all is status 0."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        sent = dict(headers or {})
        if body is not None and "Transfer-Encoding" not in sent:
            sent.setdefault("Content-Length", str(len(body)))
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    except (OSError, http.client.HTTPException) as error:
        return Reply(0, {}, f"no answer: {error!r}".encode())
    finally:
        connection.close()


@dataclass(frozen=True)
class Called:
    """A gRPC answer: the code's name, its details, and the message, empty bytes where there was an error."""

    code: str
    details: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.code} {self.details}".strip() if self.code != "OK" else f"OK, {len(self.body)} bytes"


def call(address: str, method: str, body: bytes) -> Called:
    """Make one unary gRPC call with a serialized message."""
    import grpc

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        run = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            return Called("OK", "", run(body, timeout=TIMEOUT_S))
        except grpc.RpcError as error:
            return Called(error.code().name, error.details() or "", b"")
