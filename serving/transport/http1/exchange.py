"""One request on its way to its answer, and what all connections of a server share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from serving.transport.http1.head_cache import HeadCache
from serving.transport.http1.messages import ErrorFormatter, Handler, Log, Request, Response, encode
from serving.transport.limits import Limits


class ResponseSink(Protocol):
    """The connection that an exchange belongs to."""

    shared: Shared
    closed: bool

    def flush(self) -> None:
        """Write every answer whose turn it is."""

    def is_last(self, exchange: Exchange) -> bool:
        """Whether nothing behind this exchange is being read or answered."""


@dataclass(slots=True)
class Shared:
    """What all connections of a server have in common."""

    handler: Handler
    limits: Limits
    errors: ErrorFormatter
    authorization: bytes | None = None
    """The one accepted value of the header of that name."""
    public: Collection[str] = ()
    """Targets that need no authorization."""
    log: Log | None = None
    connections: set[Any] = field(default_factory=set)
    buffered_bytes: int = 0
    draining: bool = False
    date: bytes = b""
    now_s: Callable[[], float] = time.monotonic
    """The clock of all deadlines."""
    heads: HeadCache = field(default_factory=HeadCache)


class Exchange:
    """One request whose answer is still to be written; called when its future is done."""

    __slots__ = ("buffered_bytes", "connection", "future", "head", "keep_alive", "payload", "request", "version")

    def __init__(self, connection: ResponseSink, request: Request | None, keep_alive: bool, version: str) -> None:
        self.connection = connection
        self.request = request
        self.keep_alive = keep_alive
        self.version = version
        self.head = request is not None and request.method == "HEAD"
        self.future: asyncio.Future[Response] | None = None
        self.payload: tuple[bytes, ...] | None = None
        self.buffered_bytes = 0

    def __call__(self, future: asyncio.Future[Response]) -> None:
        if self.connection.closed:
            if not future.cancelled():
                future.exception()  # seen: nobody is left to be told
            return
        shared = self.connection.shared
        request = cast("Request", self.request)
        if future.cancelled():
            response = shared.errors.refusal(503, "the request was cancelled by the server", request)
        elif (error := future.exception()) is None:
            response = future.result()
        else:
            response = shared.errors.failure(error, request)
        self.complete(response)
        self.connection.flush()

    def complete(self, response: Response) -> None:
        """Turn the response into what will be written."""
        connection = self.connection
        shared = connection.shared
        shared.buffered_bytes -= self.buffered_bytes
        self.buffered_bytes = 0
        if shared.log is not None:
            shared.log(self.request, response)
        if response.close or (shared.draining and connection.is_last(self)):
            self.keep_alive = False
        self.payload = encode(response, shared.date, self.keep_alive, self.version, self.head)
