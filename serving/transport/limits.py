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
    """Of all requests that are not answered yet and all answers that are not read yet; beyond that a body is answered
    503.
    """
    header_bytes: int = 64 * 2**10
    """Request line and headers together; trailers and chunk framing may have as much again."""
    header_timeout_s: float = 10.0
    """From the first byte of a request to the end of its headers."""
    silence_timeout_s: float = 30.0
    """How long a transfer that has begun may stand still: a body that comes, an answer that is read."""
    least_rate: float = 240.0
    """Bytes per second that such a transfer has to reach on the whole, after the first silence_timeout_s; 0: any."""
    idle_timeout_s: float = 300.0
    """Between requests."""
    connections: int = 10_000
    streams: int = 4096
    """Calls of one gRPC connection that are under way together."""
    pipelined: int = 64
    """Unanswered requests of one connection after which no more are read from it."""


class Pace:
    """When a transfer that has begun is too slow: it stands still, or stays below the least rate on the whole."""

    __slots__ = ("_began_s", "_limits", "_moved_bytes", "deadline_s")

    def __init__(self, limits: Limits, now_s: float) -> None:
        self._limits = limits
        self._began_s = now_s
        self._moved_bytes = 0
        self.deadline_s = now_s + limits.silence_timeout_s

    def move(self, moved_bytes: int, now_s: float) -> None:
        """Take note of bytes that came or went."""
        if not moved_bytes:
            return
        self._moved_bytes += moved_bytes
        silence_s, least_rate = self._limits.silence_timeout_s, self._limits.least_rate
        self.deadline_s = now_s + silence_s
        if least_rate:
            self.deadline_s = min(self.deadline_s, self._began_s + silence_s + self._moved_bytes / least_rate)
