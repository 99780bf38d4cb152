"""What one client may use of a server, over HTTP/1.1 and over gRPC, and the times that both servers keep."""

from __future__ import annotations

from dataclasses import dataclass

NEVER = float("inf")
SWEEP_S = 1.0
"""How often the deadlines of connections are compared with the clock: the precision of every timeout."""
BACKLOG = 4096
"""Connections that wait to be accepted."""
LINGER_S = 2.0
"""How long the bytes of a refused client are read and dropped: a reset at once would destroy the answer on its way."""


@dataclass(frozen=True)
class Limits:
    """What one client may use."""

    body_bytes: int = 64 * 2**20
    buffered_bytes: int = 1024 * 2**20
    """Of all bodies together whose requests are not answered yet; what goes beyond is answered 503."""
    header_bytes: int = 64 * 2**10
    """Request line and headers together; trailers and chunk framing may have as much again."""
    header_timeout_s: float = 10.0
    """From the first byte of a request to the end of its headers."""
    body_timeout_s: float = 30.0
    """From the end of the headers to the end of the body; also how long an answer may stay unread."""
    idle_timeout_s: float = 300.0
    """Between requests."""
    connections: int = 10_000
    streams: int = 4096
    """Calls of one gRPC connection that are under way together."""
    pipelined: int = 64
    """Unanswered requests of one connection after which no more are read from it."""
