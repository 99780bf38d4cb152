"""One HTTP/1.1 connection: bytes to requests, responses to bytes, in order, within limits.

Nothing is spent on an idle connection but its socket and one comparison a second: no task, no timer of its own.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import deque
from collections.abc import Awaitable
from typing import Any, cast

import httptools

from serving.transport.http1.exchange import Exchange, Shared
from serving.transport.http1.head_cache import NAMES, remember_name
from serving.transport.http1.messages import Request, Response
from serving.transport.limits import LINGER_S, NEVER

CHUNK_FRAMING_BYTES = 32
"""Allowed for the size line of each chunk."""


class Connection(asyncio.Protocol):
    """The protocol of one accepted socket."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.closed = False
        self.deadline = NEVER
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._pending: deque[Exchange] = deque()
        self._reading = self._in_headers = self._ended = self._refused = self._lingering = self._paused = False
        self._fresh = False  # the message began in the bytes being fed
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = self._head_bytes = self._overhead_bytes = 0
        self._whole = b""  # what is being fed, where it began with a request

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.shared.connections.add(self)
        self.deadline = self._loop.time() + self.shared.limits.header_timeout_s
        if len(self.shared.connections) > self.shared.limits.connections:
            self._refuse(503, f"more than {self.shared.limits.connections} connections: try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.shared.connections.discard(self)
        self._drop_body()
        for exchange in self._pending:
            self.shared.buffered_bytes -= exchange.buffered_bytes
            if exchange.future is not None:
                exchange.future.cancel()
        self._pending.clear()

    def eof_received(self) -> None:
        """Close: a client that sends no more is taken as gone."""

    def pause_writing(self) -> None:
        self._transport.pause_reading()
        self.deadline = self._loop.time() + self.shared.limits.body_timeout_s

    def resume_writing(self) -> None:
        self.deadline = NEVER
        if not self._pending:
            self._rest()
        if not self._paused:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return  # nothing after a request that closes, or one that was refused, is looked at
        if self._reading:
            self._whole = b""
        elif self.shared.buffered_bytes < self.shared.limits.buffered_bytes and (
            request := self.shared.heads.read(data)
        ):
            self.shared.buffered_bytes += len(request.body)
            self._take(request, True, "1.1", len(request.body))
            self._bound_pending()
            return
        else:
            self._whole = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._ended:
                self._refuse(400, f"malformed HTTP request: {error}")
        if self._reading and not self._ended:
            self._check_partial(len(data))
        self._bound_pending()

    def _bound_pending(self) -> None:
        if len(self._pending) >= self.shared.limits.pipelined and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    # httptools

    def on_message_begin(self) -> None:
        self._reading = self._in_headers = self._fresh = True
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_bytes = self._head_bytes = self._overhead_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._in_headers:  # trailers are counted and dropped
            self._headers[NAMES.get(name) or remember_name(name)] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._ended:
            return
        limits = self.shared.limits
        self.deadline = self._loop.time() + limits.body_timeout_s
        length = self._headers.get("content-length")
        if self._head_bytes + len(self._url) > limits.header_bytes:
            self._refuse(431, f"request line and headers have more than {limits.header_bytes} bytes")
        elif length is not None and int(length) > limits.body_bytes:
            self._refuse(413, f"the body has {length} bytes, the limit is {limits.body_bytes}")
        elif self._parser.get_http_version() not in ("1.1", "1.0"):
            self._refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        elif "expect" in self._headers:
            self._answer_expectation()

    def on_chunk_header(self) -> None:
        self._overhead_bytes -= CHUNK_FRAMING_BYTES

    def on_body(self, body: bytes) -> None:
        if self._ended:
            return
        shared, size = self.shared, len(body)
        self._body_bytes += size
        self._overhead_bytes -= size
        shared.buffered_bytes += size
        if self._body_bytes > shared.limits.body_bytes:
            self._refuse(413, f"the body has more than {shared.limits.body_bytes} bytes")
        elif shared.buffered_bytes > shared.limits.buffered_bytes:
            self._refuse(503, f"waiting requests have more than {shared.limits.buffered_bytes} bytes: try again later")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._reading = False
        if self._ended:
            return
        parser, body = self._parser, self._body
        request = Request(
            parser.get_method().decode("ascii"),
            self._url.decode("latin-1"),
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            time.perf_counter(),
        )
        keep_alive, version = parser.should_keep_alive(), parser.get_http_version()
        if self._whole and keep_alive and version == "1.1":
            self.shared.heads.learn(self._whole, request)
        size, self._body_bytes, self._whole = self._body_bytes, 0, b""
        self._take(request, keep_alive, version, size)

    # the answers

    def _take(self, request: Request, keep_alive: bool, version: str, size: int) -> None:
        """Answer a whole request, now or when its handler has one."""
        shared = self.shared
        self.deadline = NEVER
        self._ended = not keep_alive
        exchange = Exchange(self, request, keep_alive, version)
        exchange.buffered_bytes = size
        self._pending.append(exchange)
        try:
            answer: Response | Awaitable[Response]
            if shared.authorization is not None and not self._is_authorized(request):
                answer = shared.errors.refusal(401, "this server needs `Authorization: Bearer <token>`", request)
                answer.headers = (*answer.headers, ("WWW-Authenticate", "Bearer"))
            else:
                answer = shared.handler(request)
        except Exception as error:  # whatever a handler raises becomes an answer
            answer = shared.errors.failure(error, request)
        if isinstance(answer, Response):
            exchange.complete(answer)
            self.flush()
        else:
            exchange.future = asyncio.ensure_future(answer)
            exchange.future.add_done_callback(cast("Any", exchange))

    def flush(self) -> None:
        """Write every answer whose turn it is."""
        pending = self._pending
        while pending and (payload := pending[0].payload) is not None:
            self._transport.write(payload)
            if not pending.popleft().keep_alive:
                self._finish()
                return
        if self._paused and len(pending) < self.shared.limits.pipelined:
            self._paused = False
            self._transport.resume_reading()
        if not pending and not self._reading:
            self._rest()

    def _is_authorized(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").encode("latin-1")
        wanted = self.shared.authorization or b""
        return request.target in self.shared.public or hmac.compare_digest(given, wanted)

    def _rest(self) -> None:
        """Wait for the next request."""
        self.deadline = self._loop.time() + self.shared.limits.idle_timeout_s

    def _answer_expectation(self) -> None:
        if self._headers["expect"].lower() != "100-continue":
            self._refuse(417, "the only expectation that is met is 100-continue")
        elif not self._pending and self._parser.get_http_version() == "1.1":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1 after a request that asked for another protocol; the request itself was answered."""
        if not self._ended:
            self._parser = httptools.HttpRequestParser(self)
            if rest:
                self.data_received(rest)

    def _check_partial(self, fed_bytes: int) -> None:
        """Bound the bytes and the time of a request that isn't complete yet."""
        limits = self.shared.limits
        if self._fresh:  # these bytes may hold the end of the request before, too
            self._fresh = False
            if self._in_headers:
                self.deadline = self._loop.time() + limits.header_timeout_s
            return
        self._overhead_bytes += fed_bytes
        if self._overhead_bytes > limits.header_bytes:
            what = "request line and headers" if self._in_headers else "chunk framing and trailers"
            self._refuse(431, f"{what} have more than {limits.header_bytes} bytes")

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
        self.shared.buffered_bytes -= self._body_bytes
        self._body_bytes = 0
        self._body = []

    def _finish(self) -> None:
        """Close after the last answer; a refused client is listened to a while, or a reset would eat the answer."""
        self._ended = True
        if self._refused and self._transport.can_write_eof():
            self._lingering = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self.deadline = self._loop.time() + LINGER_S
        else:
            self._transport.close()

    def is_last(self, exchange: Exchange) -> bool:
        """Whether nothing behind this exchange is being read or answered."""
        return not self._reading and self._pending[-1] is exchange

    def expire(self) -> None:
        """Do what the passed deadline demands."""
        if self._lingering or self._transport.get_write_buffer_size():
            self._transport.abort()
        elif self._reading and not self._ended:
            self._refuse(408, "the request did not come to its end in time")
        else:
            self._transport.close()
        self.deadline = NEVER if not self._lingering else self.deadline

    def close_if_idle(self) -> None:
        """Close unless a request is being read or answered."""
        if self._lingering or not (self._reading or self._pending):
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
