"""One call on an HTTP/2 stream, from its head to its answer, and the bytes of that answer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from serving.transport.grpc.call import HEAD_BLOCK, OK_BLOCK, Call, trailers
from serving.transport.grpc.status import Code, RpcError
from serving.transport.http2.frames import DATA, END_HEADERS, END_STREAM, FRAME_BYTES, HEADERS, frame, literal_headers
from serving.transport.limits import NEVER, Pace

_HEAD = len(HEAD_BLOCK).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS))
_DATA = bytes((DATA, 0))
_LAST = bytes((HEADERS, END_HEADERS | END_STREAM))
SEND_BYTES = 1 << 18
"""The most that a stream sends at a time: then it is another's turn."""


class StreamOwner(Protocol):
    """The connection that a stream belongs to."""

    def finish(self, stream: Stream, message: bytes | None) -> None:
        """Answer with a last message, None where all were sent."""

    def refuse(self, stream: Stream, error: BaseException) -> None:
        """Answer with an error."""


class Stream:
    """A call under way; called when its future is done."""

    __slots__ = (
        "call", "credit", "future", "number", "opened_s", "outbox", "outbox_bytes", "owner", "pace", "parts", "size",
        "started", "trailer", "whole", "window",
    )  # fmt: skip

    def __init__(self, owner: StreamOwner, number: int, call: Call, window: int, credit: int) -> None:
        self.owner = owner
        self.number = number
        self.call = call
        self.window = window
        """Bytes that the client still takes."""
        self.credit = credit
        """Bytes that the client may still send."""
        self.opened_s = NEVER
        """When the request began to come."""
        self.pace: Pace | None = None
        """Of the request while it comes in several pieces, of the answer while it waits for the client's windows."""
        self.parts: list[bytes] = []
        self.size = 0
        """Bytes of the request and of the answer that are in memory."""
        self.whole = False
        """The client has sent everything."""
        self.future: asyncio.Future[Any] | None = None
        self.started = False
        """The head of the answer is out."""
        self.outbox: deque[memoryview] = deque()
        """Messages that wait for the windows."""
        self.outbox_bytes = 0
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

    def put(self, message: bytes) -> None:
        """Have a message wait, with its prefix."""
        self.outbox.append(memoryview(b"\0" + len(message).to_bytes(4, "big")))
        if message:
            self.outbox.append(memoryview(message))
        self.outbox_bytes += len(message) + 5

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
        """Frames of what waits, at most `window` bytes and SEND_BYTES of it; the trailers once nothing is left."""
        out: list[bytes | memoryview] = [] if self.started else [self.head()]
        room = min(window, self.window, SEND_BYTES)
        while self.outbox_bytes and room > 0:
            size = min(self.outbox_bytes, room, FRAME_BYTES)
            out.append(size.to_bytes(3, "big") + _DATA + self.number.to_bytes(4, "big"))
            out += self._take(size)
            room -= size
            self.window -= size
        if not self.outbox_bytes and self.trailer is not None:
            out.append(frame(HEADERS, END_HEADERS | END_STREAM, self.number, self.trailer))
        return b"".join(out)

    def _take(self, size: int) -> list[bytes | memoryview]:
        """The first bytes of the outbox."""
        taken: list[bytes | memoryview] = []
        self.outbox_bytes -= size
        while size:
            piece = self.outbox.popleft()
            if len(piece) > size:
                self.outbox.appendleft(piece[size:])
                piece = piece[:size]
            taken.append(piece)
            size -= len(piece)
        return taken
