"""The values of the gRPC layer: calls, methods, and what a request's head says.

Source: `PROTOCOL-HTTP2.md` of github.com/grpc/grpc/doc.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from serving.transport.compression import CompressionError, InflatedTooLargeError, inflate
from serving.transport.grpc.status import Code, RpcError
from serving.transport.http2.frames import literal_headers
from serving.transport.limits import Limits
from serving.transport.offload import INFLATE_BYTES, LONG_BYTES, join

TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
ENCODINGS = ("identity", "gzip", "deflate")
PREFIX_BYTES = 5
"""Before each message: whether it is compressed, and its length."""


@dataclass(slots=True)
class Call:
    """One call, as its method sees it."""

    path: str
    """`/<package>.<service>/<method>`."""
    metadata: Mapping[str, str]
    """Lower-case names; of a repeated name the last value."""
    arrival_s: float
    """`time.perf_counter()` when its head had come."""
    deadline_s: float | None
    """On the same clock, None without a deadline."""
    trailing: Sequence[tuple[str, str]] = ()
    """Metadata to send after the answer."""


Answer = bytes | Awaitable[bytes]
Send = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service: `answer(message, call)` for a unary one, `stream(message, call, send)` for one that sends
    several messages; an awaitable is cancelled when the client goes away.
    """

    answer: Callable[[bytes, Call], Answer] | None = None
    stream: Callable[[bytes, Call, Send], Awaitable[None]] | None = None


ErrorFormatter = Callable[[BaseException], RpcError]
"""Turns what a method raised into its answer."""
Log = Callable[[Call, Code, int], None]
"""Told of every answered call: its status code and the bytes of its answer."""


def to_rpc_error(error: BaseException) -> RpcError:
    """INTERNAL, with the error's type alone: its text may hold what is none of the client's business."""
    return error if isinstance(error, RpcError) else RpcError(Code.INTERNAL, f"internal error ({type(error).__name__})")


@dataclass(slots=True)
class Shared:
    """What all connections of a server have in common."""

    methods: Mapping[str, Method]
    limits: Limits
    to_error: ErrorFormatter = to_rpc_error
    authorization: str | None = None
    """The one accepted value of the metadata of that name."""
    public: Collection[str] = ()
    """Beginnings of the paths that need no authorization."""
    log: Log | None = None
    connections: set[Any] = field(default_factory=set)
    buffered_bytes: int = 0
    now_s: Callable[[], float] = time.monotonic
    """The clock of all deadlines but those that clients set."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the header block of a request says."""

    path: str
    metadata: Mapping[str, str]
    timeout_s: float | None
    fault: RpcError | None = None
    """Why the call is refused whatever its message is."""
    http_status: int = 200
    """Another status is the whole answer: the request is none of gRPC."""

    def begin(self) -> Call:
        """A call that begins now."""
        now_s = time.perf_counter()
        return Call(self.path, self.metadata, now_s, None if self.timeout_s is None else now_s + self.timeout_s)


def read_head(fields: list[tuple[str, str]]) -> Head:
    """The head of a request from its decoded header fields."""
    metadata = dict(fields)
    path, method = metadata.get(":path", ""), metadata.get(":method")
    for name in [name for name in metadata if name[:1] == ":"]:
        del metadata[name]
    kind = metadata.get("content-type", "")
    if method != "POST":
        return Head(path, metadata, None, http_status=405)
    if not kind.startswith("application/grpc") or kind[16:17] not in ("", "+", ";"):
        return Head(path, metadata, None, http_status=415)
    timeout_s, fault = None, None
    if (timeout := metadata.get("grpc-timeout")) is not None:
        match = TIMEOUT.fullmatch(timeout)
        if match is None:
            fault = RpcError(Code.INVALID_ARGUMENT, f"grpc-timeout is no time: {timeout[:50]}")
        else:
            timeout_s = int(match[1]) * UNIT_S[match[2]]
    if (encoding := metadata.get("grpc-encoding", "identity")) not in ENCODINGS:
        fault = RpcError(
            Code.UNIMPLEMENTED, f"unknown grpc-encoding {encoding[:50]!r}: {', '.join(ENCODINGS)} are known"
        )
    return Head(path, metadata, timeout_s, fault)


def takes_long(parts: Sequence[bytes], size: int) -> bool:
    """Whether reading a message of `size` bytes belongs in a thread."""
    return size > LONG_BYTES or (size > INFLATE_BYTES and parts[0][:1] == b"\1")


def read_message(parts: list[bytes], metadata: Mapping[str, str], limit: int) -> bytes:
    """The one message of a unary request: a flag, its length in four bytes, its content; raises RpcError."""
    size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
    while len(parts) > 1 and len(parts[0]) < PREFIX_BYTES:
        parts[:2] = [parts[0] + parts[1]]
    prefix = parts[0][:PREFIX_BYTES] if parts else b""
    if len(prefix) < PREFIX_BYTES or int.from_bytes(prefix[1:], "big") != size - PREFIX_BYTES or prefix[0] > 1:
        raise RpcError(Code.INVALID_ARGUMENT, f"the request's {size} bytes are not one length-prefixed message")
    parts[0] = parts[0][PREFIX_BYTES:]
    content = parts[0] if len(parts) == 1 else join(parts)
    return _inflate(content, metadata.get("grpc-encoding", "identity"), limit) if prefix[0] else content


def _inflate(message: bytes, encoding: str, limit: int) -> bytes:
    """A compressed message's content; raises RpcError."""
    if encoding == "identity":
        raise RpcError(Code.INTERNAL, "a message is marked as compressed, but there is no grpc-encoding")
    try:
        return inflate(message, limit)
    except CompressionError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"the message is not one whole {encoding} stream: {error}") from None
    except InflatedTooLargeError:
        raise too_large(limit + 1, limit) from None


def too_large(size: int, limit: int) -> RpcError:
    """The refusal of a message above the limit."""
    return RpcError(Code.RESOURCE_EXHAUSTED, f"the message has at least {size} bytes, the limit is {limit}")


def trailers(code: Code, message: str = "", trailing: Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """The fields that end an answer; the message is percent-encoded."""
    fields = [("grpc-status", str(int(code)))]
    if message:
        fields.append(("grpc-message", quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")))
    return [*fields, *((name, value) for name, value in trailing if value.isprintable())]


RESPONSE_HEAD = {":status": "200", "content-type": "application/grpc", "grpc-accept-encoding": ",".join(ENCODINGS)}
HEAD_BLOCK = literal_headers(RESPONSE_HEAD)
OK_BLOCK = literal_headers(trailers(Code.OK))
