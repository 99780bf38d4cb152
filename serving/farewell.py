"""How a gRPC server of our own ends without a lost call.

gRPC's `stop` cancels calls that have arrived and not been taken, and a busy server always has some. So the answers are
held for a moment before it: whoever waits for one sends nothing new, and all that had been sent is taken. Then `stop`
says GOAWAY, and the answers go out behind it.
"""

from __future__ import annotations

import asyncio

import grpc

HOLD_S = 0.1
"""Long enough to take what has arrived, short beside any deadline."""
GOAWAY_S = 0.02
"""From `stop` until its GOAWAY is on the way."""


class Farewell:
    """What the calls of a server ask before they answer: None lets them."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: asyncio.Event | None = None

    async def stop(self, server: grpc.aio.Server, timeout_s: float, grace_s: float) -> None:
        """Take calls for `grace_s` seconds more, then end; at most `timeout_s` seconds in all."""
        await asyncio.sleep(min(grace_s, timeout_s))
        self.held = asyncio.Event()
        await asyncio.sleep(HOLD_S)
        stopping = asyncio.ensure_future(server.stop(max(timeout_s - grace_s - HOLD_S, 0.0)))
        await asyncio.sleep(GOAWAY_S)
        self.held.set()
        await stopping
