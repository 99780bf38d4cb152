"""One HTTP/1.1 connection: requests in, answers out in their order, within limits.

Nothing is spent on an idle connection but its socket and one comparison a second: no task, no timer of its own.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from collections.abc import Awaitable
from typing import Any, cast

from serving.transport.http1.exchange import Exchange, Shared
from serving.transport.http1.head_cache import END
from serving.transport.http1.messages import Request, Response
from serving.transport.http1.request_reader import Received, RefusedRequest, RequestReader
from serving.transport.limits import LINGER_S, NEVER, Pace
from serving.transport.offload import join, run_long
from serving.transport.unread import UnreadAnswer

ALLOWED = "GET, HEAD, POST, OPTIONS"
FEED_BYTES = 4096
"""So much is parsed at a time, but of a body, which is taken as it comes."""
ALONE_BYTES = 1 << 16
"""So much is parsed at a time where it holds the end of one head alone: one request and pieces of its neighbours."""
BURST_REQUESTS = 64
"""After so many requests that came at once the event loop serves the other connections."""


class Connection(asyncio.Protocol):
    """The protocol of one accepted socket."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.closed = False
        """Nothing more is answered."""
        self.deadline_s = NEVER
        self.unread: UnreadAnswer | None = None
        """What waits for a client that reads slower than it is answered."""
        self._reader = RequestReader(shared.limits, shared.heads, self._take, self._send_continue)
        self._backlog = b""  # what has come and is not parsed yet
        self._counted = 0  # bytes of the unfinished body in shared.buffered_bytes
        self._pace: Pace | None = None  # of the unfinished body
        self._pending: deque[Exchange] = deque()
        self._taken = 0  # requests since the beginning
        self._loop = asyncio.get_running_loop()
        self._ended = self._refused = self._lingering = self._paused = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.shared.connections.add(self)
        self.deadline_s = self.shared.now_s() + self.shared.limits.header_timeout_s
        if len(self.shared.connections) > self.shared.limits.connections:
            self._refuse(503, f"more than {self.shared.limits.connections} connections: try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.shared.connections.discard(self)
        self._drop_body()
        self._forget_unread()
        self._drop_pending()

    def eof_received(self) -> bool:
        """Answer what has come: a client that sends no more may still read (RFC 9112, 9.6). True keeps the socket."""
        if self._reader.reading and not self._ended:
            self._refuse(400, "the request ended before its end")
        self._ended = True
        return bool(self._pending or self.unread) and not self._lingering and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._transport.pause_reading()
        self.unread = UnreadAnswer(self._transport, self.shared.limits, self.shared.now_s())
        self.shared.buffered_bytes += self.unread.buffered_bytes

    def resume_writing(self) -> None:
        self._forget_unread()
        self._wait_for_request()
        if self._ended and not self._pending and not self._lingering:
            self._transport.close()
        elif not self._paused:
            self._read_on()

    def _read_on(self) -> None:
        """Read again; the time of a body that is being read begins anew, for its client may not have sent meanwhile."""
        if self._reader.reading:
            self._pace = None
            self.deadline_s = self.shared.now_s() + self.shared.limits.silence_timeout_s
        if self._backlog:
            self._loop.call_soon(self._read_backlog)
        else:
            self._transport.resume_reading()

    def _forget_unread(self) -> None:
        if self.unread is not None:
            self.shared.buffered_bytes -= self.unread.buffered_bytes
            self.unread = None

    # requests

    def data_received(self, data: bytes) -> None:
        size = len(data)
        is_short = size <= FEED_BYTES or (size <= ALONE_BYTES and data.count(END) == 1)
        if is_short and not (self._backlog or self._ended):
            return self._feed(data)
        self._backlog += data
        return self._read_backlog()

    def _read_backlog(self) -> None:
        """Parse what has come, a piece at a time, at most BURST_REQUESTS before the loop serves others."""
        ends, is_late = self._taken + BURST_REQUESTS, not self._transport.is_reading()
        while self._backlog and not self._ended:
            if self._paused or self.unread is not None:
                return
            if self._taken >= ends:
                self._transport.pause_reading()
                self._loop.call_soon(self._read_backlog)
                return
            data, size = self._backlog, None if self._reader.in_body else FEED_BYTES
            self._backlog = b"" if size is None else data[size:]
            self._feed(data[:size])
        self._backlog = b""  # nothing after a request that closes, or one that was refused, is looked at
        if is_late and not (self._paused or self.unread is not None or self.closed):
            self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        reader = self._reader
        began = not reader.reading
        try:
            reader.feed(data)
            if reader.reading:
                self._bound_body(began, len(data))
        except RefusedRequest as refused:
            if not self._ended:
                self._refuse(refused.status, str(refused))
        if len(self._pending) >= self.shared.limits.pipelined and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _bound_body(self, began: bool, came_bytes: int) -> None:
        """Bound the bytes and the time of a request that isn't whole yet; raises RefusedRequest."""
        now_s, limits, reader = self.shared.now_s(), self.shared.limits, self._reader
        if reader.in_headers:
            if began:
                self.deadline_s = now_s + limits.header_timeout_s
            return
        if self._pace is None:
            self._pace = Pace(limits, now_s)
        self._pace.move(came_bytes, now_s)
        self.deadline_s = self._pace.deadline_s
        self._count(reader.body_bytes)

    def _count(self, body_bytes: int) -> None:
        """Bound the bytes of all clients together; raises RefusedRequest."""
        shared = self.shared
        shared.buffered_bytes += body_bytes - self._counted
        self._counted = body_bytes
        if body_bytes and shared.buffered_bytes > shared.limits.buffered_bytes:
            reason = f"requests and answers in memory have more than {shared.limits.buffered_bytes} bytes"
            raise RefusedRequest(503, f"{reason}: try again later")

    def _send_continue(self) -> None:
        if not self._pending:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take(self, received: Received) -> None:
        """Answer a whole request, now or when its handler has one."""
        if self._ended:
            return
        self._taken += 1
        request, keep_alive, version, size, parts = received
        if size:
            self._count(size)
        exchange = Exchange(self, request, keep_alive, version)
        exchange.buffered_bytes, self._counted = self._counted, 0
        self._pace, self.deadline_s = None, NEVER
        self._ended = not keep_alive
        self._pending.append(exchange)
        answer: Response | Awaitable[Response]
        try:
            answer = self._join_and_answer(received) if parts else self._answer(request)
        except Exception as error:  # whatever a handler raises becomes an answer
            answer = self.shared.errors.failure(error, request)
        if isinstance(answer, Response):
            exchange.complete(answer)
            self.flush()
        else:
            exchange.future = answer if isinstance(answer, asyncio.Future) else asyncio.ensure_future(answer)
            exchange.future.add_done_callback(cast("Any", exchange))

    def _answer(self, request: Request) -> Response | Awaitable[Response]:
        shared = self.shared
        if shared.authorization is not None and not self._is_authorized(request):
            refusal = shared.errors.refusal(401, "this server needs `Authorization: Bearer <token>`", request)
            refusal.headers = (*refusal.headers, ("WWW-Authenticate", "Bearer"))
            return refusal
        if request.target == "*":  # OPTIONS of the server as a whole: RFC 9110, 9.3.7
            return Response(204, headers=(("Allow", ALLOWED),))
        return shared.handler(request)

    async def _join_and_answer(self, received: Received) -> Response:
        """Join a large body in a thread, which takes up to some 30 ms, then answer."""
        received.request.body = await run_long(join, received.parts)
        answer = self._answer(received.request)
        return answer if isinstance(answer, Response) else await answer

    def _is_authorized(self, request: Request) -> bool:
        sent = request.headers.get("authorization", "").encode("latin-1")
        return request.target in self.shared.public or hmac.compare_digest(sent, self.shared.authorization or b"")

    # answers

    def flush(self) -> None:
        """Write every answer whose turn it is."""
        pending, write = self._pending, self._transport.write
        while pending and (payload := pending[0].payload) is not None:
            for piece in payload:
                write(piece)
                if self.unread is not None:
                    self.unread.add(len(piece))
                    self.shared.buffered_bytes += len(piece)
            if not pending.popleft().keep_alive:
                self._finish()
                return
        if self._paused and len(pending) < self.shared.limits.pipelined:
            self._paused = False
            if self.unread is None:
                self._read_on()
        if not pending and self._ended:
            self._finish()  # the client had sent its last request
        self._wait_for_request()

    def _wait_for_request(self) -> None:
        """Set the deadline of what comes next, unless something is under way."""
        if not self._pending and not self._reader.reading and not self._lingering:
            self.deadline_s = self.shared.now_s() + self.shared.limits.idle_timeout_s

    def _refuse(self, status: int, reason: str) -> None:
        """Answer with an error after what is pending, and close."""
        self._ended = self._refused = True
        self._drop_body()
        exchange = Exchange(self, None, False, "1.1")
        self._pending.append(exchange)
        exchange.complete(self.shared.errors.refusal(status, reason, None))
        self.flush()

    # the end

    def _drop_body(self) -> None:
        self.shared.buffered_bytes -= self._counted
        self._counted = 0
        self._reader.drop_body()

    def _drop_pending(self) -> None:
        for exchange in self._pending:
            self.shared.buffered_bytes -= exchange.buffered_bytes
            if exchange.future is not None:
                exchange.future.cancel()
        self._pending.clear()

    def _finish(self) -> None:
        """Close after the last answer; a refused client is listened to a while, or a reset would eat the answer."""
        self._ended = self.closed = True
        self._drop_pending()
        if self._refused and self._transport.can_write_eof():
            self._lingering = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self.deadline_s = self.shared.now_s() + LINGER_S
        else:
            self._transport.close()

    def is_last(self, exchange: Exchange) -> bool:
        """Whether nothing behind this exchange is being read or answered."""
        return not self._reader.reading and self._pending[-1] is exchange

    def check_timeouts(self, now_s: float) -> None:
        """End what takes too long."""
        if self.unread is not None:
            if self.unread.is_too_slow(now_s):
                self._transport.abort()
        elif self.deadline_s >= now_s or self._paused:
            return  # a paused client may not send: its time begins when it may
        elif self._lingering or self._transport.get_write_buffer_size():
            self._transport.abort()
        elif self._reader.reading and not self._ended:
            self._refuse(408, "the request did not come to its end in time")
        else:
            self._transport.close()

    def close_if_idle(self) -> None:
        """Close unless a request is being read or answered."""
        if self._lingering or not (self._reader.reading or self._pending):
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
