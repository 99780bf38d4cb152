"""Bytes of HTTP/1.1 and HTTP/2 requests, built once before the clock runs. Pure functions; opens no socket.

Sources: RFC 9112 (HTTP/1.1), RFC 9113 (HTTP/2), RFC 7541 (HPACK), and gRPC's `PROTOCOL-HTTP2.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

CLIENT_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
FRAME_BYTES = 16_384
"""Largest payload of a frame that every peer has to take (RFC 9113, 6.5.2)."""


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


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal_headers(headers: Mapping[str, str]) -> bytes:
    """A header block that changes no state in the peer: literals never indexed, without Huffman codes (RFC 7541,
    6.2.3).
    """
    block = bytearray()
    for name, value in headers.items():
        block += b"\x10" + _string(name) + _string(value)
    return bytes(block)


def grpc_request(path: str, metadata: Mapping[str, str], message: bytes, authority: str) -> tuple[bytes, list[bytes]]:
    """The header block of one unary call, and its message as DATA payloads (length-prefixed, cut to frames)."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": authority}
    fields |= {"te": "trailers", "content-type": "application/grpc", **metadata}
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return literal_headers(fields), [body[i : i + FRAME_BYTES] for i in range(0, len(body), FRAME_BYTES)]


def _string(text: str) -> bytes:
    data = text.encode("latin-1")
    return _integer(len(data)) + data


def _integer(value: int) -> bytes:
    """A length with a prefix of seven bits, the Huffman bit off (RFC 7541, 5.1)."""
    if value < 127:
        return bytes((value,))
    rest, out = value - 127, bytearray((127,))
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    out.append(rest)
    return bytes(out)
