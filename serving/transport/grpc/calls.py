"""The calls of one connection: begun by their heads, fed with data, answered as far as the client's windows allow."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable

from serving.transport.grpc.call import PREFIX_BYTES, Head, Method, Shared, read_message, takes_long, too_large
from serving.transport.grpc.status import Code, RpcError
from serving.transport.grpc.stream import Stream
from serving.transport.http2 import frames as h2
from serving.transport.http2.frames import ConnectionFault, frame, number
from serving.transport.limits import Pace
from serving.transport.offload import INFLATE_BYTES, run_long

WINDOW_BYTES = 1 << 20
"""What a client may send ahead on one stream; a stream of a larger message gets more as it comes."""


class Calls:
    """What is under way on one connection."""

    def __init__(self, shared: Shared, write: Callable[[bytes], None]) -> None:
        self.shared = shared
        self.streams: dict[int, Stream] = {}
        self.first_window = h2.DEFAULT_WINDOW
        """What the client takes ahead on a new stream."""
        self.window = h2.DEFAULT_WINDOW
        """Bytes that the client still takes on the whole connection."""
        self.transfers = 0
        """Pieces of requests and answers in this second."""
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._is_blocked = self._is_scheduled = False

    # requests

    def open(self, stream_number: int, head: Head, whole: bool) -> None:
        """Begin a call, or refuse it by its head."""
        shared = self.shared
        self.transfers += 1
        if len(self.streams) >= shared.limits.streams:
            self._write(frame(h2.RST_STREAM, 0, stream_number, number(h2.REFUSED_STREAM)))
            return
        stream = Stream(self, stream_number, head.begin(), self.first_window, WINDOW_BYTES)
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
        else:
            stream.opened_s = shared.now_s()

    def _is_authorized(self, head: Head) -> bool:
        sent, wanted = head.metadata.get("authorization", ""), self.shared.authorization or ""
        return head.path.startswith(tuple(self.shared.public)) or hmac.compare_digest(sent.encode(), wanted.encode())

    def feed(self, stream: Stream, payload: bytes, spent: int) -> None:
        """Take a piece of a request that cost `spent` bytes of its window."""
        limits, shared = self.shared.limits, self.shared
        self.transfers += 1
        stream.credit -= spent
        stream.parts.append(payload)
        stream.size += len(payload)
        shared.buffered_bytes += len(payload)
        if stream.size > limits.body_bytes + PREFIX_BYTES:
            self.refuse(stream, too_large(stream.size - PREFIX_BYTES, limits.body_bytes))
        elif shared.buffered_bytes > limits.buffered_bytes:
            words = f"requests and answers in memory have more than {limits.buffered_bytes} bytes: try again later"
            self.refuse(stream, RpcError(Code.UNAVAILABLE, words))
        elif stream.credit < 0:
            self.refuse(stream, RpcError(Code.INTERNAL, "more data than the stream's window allows"))

    def let_more_come(self, stream: Stream, came_bytes: int) -> None:
        """Widen the window of a request that isn't whole yet, and its time."""
        if stream.pace is None:
            stream.pace = Pace(self.shared.limits, stream.opened_s)
        stream.pace.move(came_bytes, self.shared.now_s())
        if stream.credit < WINDOW_BYTES // 2 and stream.number in self.streams:
            more, stream.credit = WINDOW_BYTES - stream.credit, WINDOW_BYTES
            self._write(frame(h2.WINDOW_UPDATE, 0, stream.number, number(more)))

    def complete(self, stream: Stream) -> None:
        """Call the method: the request is whole."""
        stream.whole = True
        parts, stream.parts = stream.parts, []
        method, metadata = self.shared.methods[stream.call.path], stream.call.metadata
        answer: bytes | Awaitable[bytes | None]
        try:
            if stream.size > INFLATE_BYTES and takes_long(parts, stream.size):
                answer = self._read_and_answer(stream, method, parts)
            else:
                message = read_message(parts, metadata, self.shared.limits.body_bytes)
                answer = self._answer(stream, method, message)
        except Exception as error:  # whatever a method raises becomes an answer
            self.refuse(stream, error)
            return
        if isinstance(answer, bytes):
            self.finish(stream, answer)
        else:
            stream.future = answer if isinstance(answer, asyncio.Future) else asyncio.ensure_future(answer)
            stream.future.add_done_callback(stream)

    def _answer(self, stream: Stream, method: Method, message: bytes) -> bytes | Awaitable[bytes | None]:
        if method.answer is not None:
            return method.answer(message, stream.call)
        assert method.stream is not None
        return method.stream(message, stream.call, lambda part: self._send_message(stream, part))

    async def _read_and_answer(self, stream: Stream, method: Method, parts: list[bytes]) -> bytes | None:
        """Join and inflate in a thread, then answer."""
        metadata, limit = stream.call.metadata, self.shared.limits.body_bytes
        message = await run_long(read_message, parts, metadata, limit)
        answer = self._answer(stream, method, message)
        return answer if isinstance(answer, bytes) else await answer

    # answers

    def finish(self, stream: Stream, message: bytes | None) -> None:
        """Answer with a last message, None where all were sent."""
        if self.streams.get(stream.number) is not stream:
            return  # the client has gone
        size = 0 if message is None else len(message) + PREFIX_BYTES
        if self.shared.log is not None:
            self.shared.log(stream.call, Code.OK, size)
        room = min(self.window, stream.window, h2.FRAME_BYTES)
        if message is not None and size <= room and not stream.started and not stream.outbox_bytes:
            self.window -= size
            self.transfers += 1
            self._forget(stream)
            self._write(stream.in_one(message, stream.end()))
            return
        stream.trailer = stream.end()
        self._send_message(stream, message)

    def _send_message(self, stream: Stream, message: bytes | None) -> None:
        """Send one message of several, or the last."""
        if self.streams.get(stream.number) is not stream:
            return
        if not stream.outbox_bytes:
            stream.pace = Pace(self.shared.limits, self.shared.now_s())
        if message is not None:
            stream.put(message)
            stream.size += len(message)
            self.shared.buffered_bytes += len(message)
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
        self._write(last)

    def send(self, stream: Stream) -> None:
        """Send a piece of what waits, as far as the windows allow; the rest when the loop has served the others."""
        if self._is_blocked:
            return
        before = stream.outbox_bytes
        data = stream.pieces(self.window)
        sent = before - stream.outbox_bytes
        self.window -= sent
        self.transfers += 1
        if stream.pace is not None:
            stream.pace.move(sent, self.shared.now_s())
        is_done = not stream.outbox_bytes and stream.trailer is not None
        if is_done:
            self._forget(stream)
        self._write(data)
        if not is_done and stream.outbox_bytes and sent:
            self.streams[stream.number] = self.streams.pop(stream.number)  # behind the others
            if not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call_soon(self._send_on)

    def _send_on(self) -> None:
        self._is_scheduled = False
        self.send_waiting()

    def send_waiting(self) -> None:
        """Send what waited for wider windows or for the transport: a piece of each stream."""
        for stream in list(self.streams.values()):
            if stream.outbox_bytes and self.window > 0 and stream.window > 0 and stream.number in self.streams:
                self.send(stream)

    def block(self) -> None:
        """Send no more: the client does not read."""
        self._is_blocked = True

    def unblock(self) -> None:
        """Go on; the time of what waits begins anew, for its client could not take it."""
        self._is_blocked = False
        for stream in self.streams.values():
            if stream.outbox_bytes:
                stream.pace = Pace(self.shared.limits, self.shared.now_s())
        self.send_waiting()

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
            if stream.outbox_bytes:
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

    def check_timeouts(self, now_s: float) -> None:
        """End the calls that come or are read too slowly, or whose deadline on `time.perf_counter` has passed."""
        clock_s = time.perf_counter()
        for stream in list(self.streams.values()):
            deadline_s, pace = stream.call.deadline_s, stream.pace
            slowest_s = pace.deadline_s if pace is not None else stream.opened_s + self.shared.limits.silence_timeout_s
            if not stream.whole:
                if slowest_s < now_s and not self._is_blocked:
                    self._expire(stream, "the request did not come to its end in time")
            elif stream.outbox_bytes:
                if slowest_s < now_s and not self._is_blocked:  # nobody reads the answer
                    self.drop(stream)
                    self._write(frame(h2.RST_STREAM, 0, stream.number, number(h2.CANCEL)))
            elif deadline_s is not None and deadline_s < clock_s:
                self._expire(stream, "the deadline has passed")

    def _expire(self, stream: Stream, reason: str) -> None:
        future = stream.future
        self.refuse(stream, RpcError(Code.DEADLINE_EXCEEDED, reason))
        if future is not None:
            future.cancel()
