"""The calls of one connection: begun by their heads, fed with data, answered as far as the client's windows allow."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable

from serving.transport.grpc.call import Head, Shared, read_message, too_large
from serving.transport.grpc.status import Code, RpcError
from serving.transport.grpc.stream import Stream
from serving.transport.http2 import frames as h2
from serving.transport.http2.frames import ConnectionFault, frame, number

WINDOW_BYTES = 1 << 20
"""What a client may send ahead on one stream; a stream of a larger message gets more as it comes."""


class Calls:
    """What is under way on one connection."""

    def __init__(self, shared: Shared, transport: asyncio.Transport) -> None:
        self.shared = shared
        self.streams: dict[int, Stream] = {}
        self.first_window = h2.DEFAULT_WINDOW
        """What the client takes ahead on a new stream."""
        self.window = h2.DEFAULT_WINDOW
        """Bytes that the client still takes on the whole connection."""
        self._transport = transport

    # requests

    def open(self, stream_number: int, head: Head, whole: bool, limit_s: float) -> None:
        """Begin a call, or refuse it by its head."""
        shared = self.shared
        if len(self.streams) >= shared.limits.streams:
            self._transport.write(frame(h2.RST_STREAM, 0, stream_number, number(h2.REFUSED_STREAM)))
            return
        stream = Stream(self, stream_number, head.begin(), self.first_window, WINDOW_BYTES, limit_s)
        self.streams[stream_number] = stream
        stream.whole = whole
        if head.http_status != 200:
            block = h2.literal_headers({":status": str(head.http_status)})
            self._close(stream, frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream_number, block))
        elif head.fault is not None:
            self.refuse(stream, head.fault)
        elif head.path not in shared.methods:
            self.refuse(stream, RpcError(Code.UNIMPLEMENTED, "Method not found!"))
        elif shared.authorization is not None and not self._is_authorized(head):
            self.refuse(stream, RpcError(Code.UNAUTHENTICATED, "this server needs `authorization: Bearer <token>`"))
        elif whole:
            self.complete(stream)

    def _is_authorized(self, head: Head) -> bool:
        given, wanted = head.metadata.get("authorization", ""), self.shared.authorization or ""
        return head.path.startswith(tuple(self.shared.public)) or hmac.compare_digest(given.encode(), wanted.encode())

    def feed(self, stream: Stream, payload: bytes, spent: int) -> None:
        """Take a piece of a request that cost `spent` bytes of its window."""
        limits, shared = self.shared.limits, self.shared
        stream.credit -= spent
        stream.parts.append(payload)
        stream.size += len(payload)
        shared.buffered_bytes += len(payload)
        if stream.size > limits.body_bytes + 5:
            self.refuse(stream, too_large(stream.size - 5, limits.body_bytes))
        elif shared.buffered_bytes > limits.buffered_bytes:
            words = f"waiting requests have more than {limits.buffered_bytes} bytes: try again later"
            self.refuse(stream, RpcError(Code.UNAVAILABLE, words))
        elif stream.credit < 0:
            self.refuse(stream, RpcError(Code.INTERNAL, "more data than the stream's window allows"))

    def let_more_come(self, stream: Stream) -> None:
        """Widen the window of a request that isn't whole yet."""
        if stream.credit < WINDOW_BYTES // 2 and stream.number in self.streams:
            more, stream.credit = WINDOW_BYTES - stream.credit, WINDOW_BYTES
            self._transport.write(frame(h2.WINDOW_UPDATE, 0, stream.number, number(more)))

    def complete(self, stream: Stream) -> None:
        """Call the method: the request is whole."""
        stream.whole = True
        parts, call = stream.parts, stream.call
        method = self.shared.methods[call.path]
        try:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            message = read_message(body, call.metadata, self.shared.limits.body_bytes)
            answer: bytes | Awaitable[bytes | None]
            if method.answer is not None:
                answer = method.answer(message, call)
            else:
                assert method.stream is not None
                answer = method.stream(message, call, lambda part: self._put(stream, part))
        except Exception as error:  # whatever a method raises becomes an answer
            self.refuse(stream, error)
            return
        if isinstance(answer, bytes):
            self.finish(stream, answer)
        else:
            stream.future = asyncio.ensure_future(answer)
            stream.future.add_done_callback(stream)

    # answers

    def finish(self, stream: Stream, message: bytes | None) -> None:
        """Answer with a last message, None where all were sent."""
        if self.streams.get(stream.number) is not stream:
            return  # the client has gone
        size = 0 if message is None else len(message) + 5
        if self.shared.log is not None:
            self.shared.log(stream.call, Code.OK, size)
        room = min(self.window, stream.window, h2.FRAME_BYTES)
        if message is not None and size <= room and not stream.started and not stream.outbox:
            self.window -= size
            self._transport.write(stream.in_one(message, stream.end()))
            self._forget(stream)
            return
        stream.trailer = stream.end()
        if message is not None:
            stream.outbox += b"\0" + len(message).to_bytes(4, "big") + message
        self.send(stream)

    def _put(self, stream: Stream, message: bytes) -> None:
        """Send one message of several."""
        stream.outbox += b"\0" + len(message).to_bytes(4, "big") + message
        self.send(stream)

    def refuse(self, stream: Stream, error: BaseException) -> None:
        """Answer with an error."""
        if self.streams.get(stream.number) is not stream:
            return
        failure = self.shared.to_error(error)
        if self.shared.log is not None:
            self.shared.log(stream.call, failure.code, 0)
        self._close(stream, stream.error(failure))

    def _close(self, stream: Stream, last: bytes) -> None:
        """Send the last frame; a client that still sends is asked to stop (RFC 9113, 8.1)."""
        if not stream.whole:
            last += frame(h2.RST_STREAM, 0, stream.number, number(h2.NO_ERROR))
        self._forget(stream)
        self._transport.write(last)

    def send(self, stream: Stream) -> None:
        """Send what waits, as far as the windows allow."""
        before = len(stream.outbox)
        self._transport.write(stream.pieces(self.window))
        self.window -= before - len(stream.outbox)
        stream.limit_s = asyncio.get_running_loop().time() + self.shared.limits.body_timeout_s
        if not stream.outbox and stream.trailer is not None:
            self._forget(stream)

    def send_waiting(self) -> None:
        """Send what waited for a wider window."""
        for stream in list(self.streams.values()):
            if stream.outbox:
                self.send(stream)

    def take_window(self, stream_number: int, payload: bytes) -> None:
        """Take WINDOW_UPDATE, and send what waited for it; raises ConnectionFault."""
        if len(payload) != 4:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a window's increment of {len(payload)} bytes")
        more = int.from_bytes(payload, "big") & h2.WINDOW_LIMIT
        if not more:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a window that is widened by nothing")
        if not stream_number:
            self.window += more
            if self.window > h2.WINDOW_LIMIT:
                raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "the connection's window leaves its bounds")
            self.send_waiting()
        elif (stream := self.streams.get(stream_number)) is not None:
            stream.window += more
            if stream.window > h2.WINDOW_LIMIT:
                raise ConnectionFault(h2.FLOW_CONTROL_ERROR, f"the window of stream {stream_number} leaves its bounds")
            if stream.outbox:
                self.send(stream)

    def widen(self, more: int) -> None:
        """Give every stream more or less window: the client has changed its settings."""
        for stream in self.streams.values():
            stream.window += more
        self.first_window += more

    # the end

    def _forget(self, stream: Stream) -> None:
        del self.streams[stream.number]
        self.shared.buffered_bytes -= stream.size
        stream.size = 0

    def drop(self, stream: Stream) -> None:
        """Forget a call whose client has gone; what was under way for it is cancelled."""
        self._forget(stream)
        if stream.future is not None:
            stream.future.cancel()

    def drop_all(self) -> None:
        """Forget every call."""
        for stream in list(self.streams.values()):
            self.drop(stream)

    def expire(self, now_s: float, clock_s: float) -> None:
        """End the calls that took too long to come or to be read, or whose deadline on `time.perf_counter` passed."""
        for stream in list(self.streams.values()):
            deadline_s = stream.call.deadline_s
            if not stream.whole:
                if stream.limit_s < now_s:
                    self._expire(stream, "the request did not come to its end in time")
            elif stream.outbox:
                if stream.limit_s < now_s:  # nobody reads the answer
                    self.drop(stream)
                    self._transport.write(frame(h2.RST_STREAM, 0, stream.number, number(h2.CANCEL)))
            elif deadline_s is not None and deadline_s < clock_s:
                self._expire(stream, "the deadline has passed")

    def _expire(self, stream: Stream, reason: str) -> None:
        future = stream.future
        self.refuse(stream, RpcError(Code.DEADLINE_EXCEEDED, reason))
        if future is not None:
            future.cancel()
