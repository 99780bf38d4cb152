"""One call on an HTTP/2 stream, from its head to its answer, and the bytes of that answer."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from serving.transport.grpc.call import HEAD_BLOCK, OK_BLOCK, Call, trailers
from serving.transport.grpc.status import Code, RpcError
from serving.transport.http2.frames import DATA, END_HEADERS, END_STREAM, FRAME_BYTES, HEADERS, frame, literal_headers

_HEAD = len(HEAD_BLOCK).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS))
_DATA = bytes((DATA, 0))
_LAST = bytes((HEADERS, END_HEADERS | END_STREAM))


class StreamOwner(Protocol):
    """The connection that a stream belongs to."""

    def finish(self, stream: Stream, message: bytes | None) -> None:
        """Answer with a last message, None where all were sent."""

    def refuse(self, stream: Stream, error: BaseException) -> None:
        """Answer with an error."""


class Stream:
    """A call under way; called when its future is done."""

    __slots__ = (
        "call",
        "credit",
        "future",
        "limit_s",
        "number",
        "outbox",
        "owner",
        "parts",
        "size",
        "started",
        "trailer",
        "whole",
        "window",
    )  # fmt: skip

    def __init__(self, owner: StreamOwner, number: int, call: Call, window: int, credit: int, limit_s: float) -> None:
        self.owner = owner
        self.number = number
        self.call = call
        self.window = window
        """Bytes that the client still takes."""
        self.credit = credit
        """Bytes that the client may still send."""
        self.limit_s = limit_s
        """The loop's time by which the request has to be whole, or its answer be taken."""
        self.parts: list[bytes] = []
        self.size = 0
        self.whole = False
        """The client has sent everything."""
        self.future: asyncio.Future[Any] | None = None
        self.started = False
        """The head of the answer is out."""
        self.outbox = bytearray()
        """Messages that wait for the windows."""
        self.trailer: bytes | None = None
        """What ends the answer once the outbox is empty."""

    def __call__(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            self.owner.refuse(self, RpcError(Code.CANCELLED, "the call was cancelled by the server"))
        elif (error := future.exception()) is not None:
            self.owner.refuse(self, error)
        else:
            self.owner.finish(self, future.result())

    def end(self) -> bytes:
        """The trailers of a call that went well."""
        trailing = self.call.trailing
        return literal_headers(trailers(Code.OK, "", trailing)) if trailing else OK_BLOCK

    def head(self) -> bytes:
        """The frame before the first message."""
        self.started = True
        return _HEAD + self.number.to_bytes(4, "big") + HEAD_BLOCK

    def in_one(self, message: bytes, trailer: bytes) -> bytes:
        """A whole answer: its head, a message that fits one frame with its prefix, its trailers."""
        number, size = self.number.to_bytes(4, "big"), len(message)
        return b"".join(
            (
                _HEAD, number, HEAD_BLOCK,
                (size + 5).to_bytes(3, "big"), _DATA, number, b"\0", size.to_bytes(4, "big"), message,
                len(trailer).to_bytes(3, "big"), _LAST, number, trailer,
            )
        )  # fmt: skip

    def error(self, error: RpcError) -> bytes:
        """The frame that ends the answer with an error; before any message it is the whole answer."""
        fields = trailers(error.code, str(error), self.call.trailing)
        block = literal_headers(fields)
        return frame(HEADERS, END_HEADERS | END_STREAM, self.number, block if self.started else HEAD_BLOCK + block)

    def pieces(self, window: int) -> bytes:
        """Frames of what waits, at most `window` bytes of it; with the trailers once nothing is left."""
        out = [] if self.started else [self.head()]
        window = min(window, self.window)
        while self.outbox and window > 0:
            size = min(len(self.outbox), window, FRAME_BYTES)
            out.append(frame(DATA, 0, self.number, bytes(self.outbox[:size])))
            del self.outbox[:size]
            window -= size
            self.window -= size
        if not self.outbox and self.trailer is not None:
            out.append(frame(HEADERS, END_HEADERS | END_STREAM, self.number, self.trailer))
        return b"".join(out)
