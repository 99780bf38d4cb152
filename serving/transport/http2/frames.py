"""Bytes of HTTP/2: frames, and header blocks that need no state. Opens no socket.

Sources: RFC 9113 (HTTP/2) and RFC 7541 (HPACK).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CLIENT_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 6
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 3
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11
FRAME_BYTES = 16_384
"""Largest payload of a frame that every peer has to take (RFC 9113, 6.5.2)."""
DEFAULT_WINDOW = 65_535
WINDOW_LIMIT = 2**31 - 1


class ConnectionFault(Exception):  # noqa: N818 - what the other end did
    """The other end broke the protocol: the connection ends with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def unpadded(payload: bytes) -> bytes:
    """A payload without its padding; raises ConnectionFault."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def number(value: int) -> bytes:
    """A field of four bytes: an error code, a window's increment."""
    return value.to_bytes(4, "big")


def settings(values: Mapping[int, int]) -> bytes:
    """The payload of SETTINGS."""
    return b"".join(key.to_bytes(2, "big") + number(value) for key, value in values.items())


def literal_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """A header block that changes no state in the peer: literals never indexed, without Huffman codes (RFC 7541,
    6.2.3).
    """
    block = bytearray()
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        block += b"\x10" + _string(name) + _string(value)
    return bytes(block)


def _string(text: str) -> bytes:
    data = text.encode("latin-1", "replace")
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
