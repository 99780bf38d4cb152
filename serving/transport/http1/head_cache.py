"""Knows the heads of requests again that were parsed before: clients say the same again and again around their bodies.

The same bytes always mean the same, so a request that comes whole and alone behind a known head need not be parsed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from serving.transport.http1.messages import Request

HEADS, HEAD_BYTES = 256, 4096
"""How many heads are remembered, and the longest that is."""
ONE_BY_ONE = ("transfer-encoding", "expect", "upgrade", "connection")
"""Headers that mean something for the connection: a request with one of them is always parsed."""
END = b"\r\n\r\n"
NAMES: dict[bytes, str] = {}
"""Header names seen, in lower case; bounded."""


def remember_name(name: bytes) -> str:
    """A header's name in lower case, known from now on."""
    key = name.decode("latin-1").lower()
    if len(NAMES) < 1000:
        NAMES[name] = key
    return key


@dataclass(frozen=True, slots=True)
class KnownHead:
    """What the bytes before a body say."""

    method: str
    target: str
    headers: dict[str, str]
    length: int
    """Bytes of the body."""


class HeadCache:
    """The heads known to one server."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def read(self, data: bytes) -> Request | None:
        """The request that `data` is, if it is one whole request behind a known head."""
        end = data.find(END) + 4
        head = self._heads.get(data[:end])
        if head is None or len(data) - end != head.length:
            return None
        return Request(head.method, head.target, head.headers, data[end:], time.perf_counter())

    def learn(self, data: bytes, request: Request) -> None:
        """Remember the head of a request that was parsed from `data`, whole and alone, on a connection that stays."""
        length = len(request.body)
        head = data[: len(data) - length]
        stated = request.headers.get("content-length") == str(length)
        if not stated or len(head) > HEAD_BYTES or head.find(END) != len(head) - 4:
            return
        if not any(name in request.headers for name in ONE_BY_ONE):
            if len(self._heads) >= HEADS:
                self._heads.clear()
            self._heads[head] = KnownHead(request.method, request.target, request.headers, length)
