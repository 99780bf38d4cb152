"""Knows the heads of requests that were parsed before: many clients send the same bytes before every body.

The same bytes mean the same. A request that comes whole and alone behind a known head is not parsed again; where heads
always change, only the look is paid. `make bench-servers` shows both kinds of clients.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from serving.transport.http1.messages import Request

HEADS, HEAD_BYTES = 256, 4096
"""How many heads are kept, and the longest that is."""
PATIENCE = 64
"""So many new heads in a row show clients whose headers always change: then each 64th alone is kept, for a trial."""
NEVER_KEPT = ("transfer-encoding", "expect", "upgrade", "connection", "content-encoding")
"""A request with one of these headers is always parsed: they say how to frame or to answer it, or are taken out."""
END = b"\r\n\r\n"


class KnownHead(NamedTuple):
    """What the bytes before a body say."""

    method: str
    target: str
    headers: dict[str, str]
    body_bytes: int


class HeadCache:
    """The heads known to one server."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}
        self._new_in_a_row = 0

    def find(self, data: bytes) -> Request | None:
        """The request that `data` is, if it is one whole request behind a known head."""
        end = data.find(END) + 4
        head = self._heads.get(data[:end])
        if head is None or len(data) - end != head.body_bytes:
            return None
        self._new_in_a_row = 0
        return Request(head.method, head.target, head.headers.copy(), data[end:], time.perf_counter())

    def learn(self, data: bytes, request: Request, body_bytes: int) -> None:
        """Keep the head of a request if `data` is this request, whole and alone, parsed on a connection that stays."""
        self._new_in_a_row += 1
        if self._new_in_a_row > PATIENCE and self._new_in_a_row % PATIENCE:
            return
        headers, head_bytes = request.headers, len(data) - body_bytes
        if head_bytes > HEAD_BYTES or data.find(END) != head_bytes - 4:
            return
        if headers.get("content-length") != str(body_bytes) or any(name in headers for name in NEVER_KEPT):
            return
        if len(self._heads) >= HEADS:
            self._heads.clear()
        self._heads[data[:head_bytes]] = KnownHead(request.method, request.target, headers.copy(), body_bytes)
