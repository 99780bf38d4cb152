"""Bytes of HTTP/1.1 and HTTP/2 requests, built once before the clock runs. Pure functions; opens no socket.

Sources: RFC 9112 (HTTP/1.1) and gRPC's `PROTOCOL-HTTP2.md`; HTTP/2's own bytes are those of
`serving.transport.http2.frames`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from serving.transport.http2.frames import FRAME_BYTES, literal_headers


class Answer(NamedTuple):
    """What came back: the status (HTTP's, or gRPC's), the head (HTTP/1.1 head, or gRPC's message), the
    body or message.
    """

    status: int
    head: bytes
    body: bytes


class BrokenAnswerError(Exception):
    """The bytes that came back are no answer."""


class UnprocessedError(BrokenAnswerError):
    """The server says that it has not looked at the request: sending it again can't do it twice (RFC 9113, 8.7)."""


def http1_request(path: str, headers: Mapping[str, str], body: bytes, host: str) -> bytes:
    """The bytes of one POST with Content-Length on a connection that stays open."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def grpc_request(path: str, metadata: Mapping[str, str], message: bytes, authority: str) -> tuple[bytes, list[bytes]]:
    """The header block of one unary call, and its message as DATA payloads (length-prefixed, cut to frames)."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": authority}
    fields |= {"te": "trailers", "content-type": "application/grpc", **metadata}
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return literal_headers(fields), [body[i : i + FRAME_BYTES] for i in range(0, len(body), FRAME_BYTES)]
