"""HTTP/1.1 for servers of our own: an `asyncio.Protocol` over httptools, meant for uvloop, without a framework.

A handler gets whole requests and gives whole responses. What a client can do wrong on the way (limits, slow or endless
senders, bytes that are no HTTP, going away) ends in this layer; `connection.py` is one connection, this module
what they share: the sockets, the clock, the drain.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Collection, Sequence
from email.utils import formatdate

from serving.transport.http1.connection import Connection
from serving.transport.http1.exchange import Shared
from serving.transport.http1.messages import ErrorFormatter, Handler, Log, PlainErrors
from serving.transport.limits import BACKLOG, SWEEP_S, Limits


class HttpServer:
    """The listening sockets and connections of one process."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self._loop = asyncio.get_running_loop()
        self._listeners: list[asyncio.Server] = []
        self._sweep()

    def _sweep(self) -> None:
        """Renew the Date header and end what takes too long: the only timer, however many connections there are."""
        self.shared.date = b"\r\nDate: " + formatdate(usegmt=True).encode()
        self.check_timeouts()
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def check_timeouts(self) -> None:
        """End what takes too long, on every connection."""
        now_s = self.shared.now_s()
        for connection in [c for c in self.shared.connections if c.deadline_s < now_s or c.unread is not None]:
            connection.check_timeouts(now_s)

    async def listen(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on bound sockets."""
        for sock in sockets:
            listener = await self._loop.create_server(
                lambda: Connection(self.shared), sock=sock, ssl=tls, backlog=BACKLOG
            )
            self._listeners.append(listener)

    async def drain(self, timeout_s: float, grace_s: float = 0.0) -> None:
        """Answer what is in flight, then close everything; at most `timeout_s` seconds.

        For the first `grace_s` seconds requests are still taken, each answer closing its connection, so that clients
        and load balancers can leave without a lost request.
        """
        ends_s = self._loop.time() + timeout_s
        self.shared.draining = True
        await asyncio.sleep(min(grace_s, timeout_s))
        for listener in self._listeners:
            listener.close()
        for connection in list(self.shared.connections):
            connection.close_if_idle()
        while self.shared.connections and self._loop.time() < ends_s:
            await asyncio.sleep(0.01)
        for connection in list(self.shared.connections):
            connection.abort()
        self._timer.cancel()


async def serve(
    handler: Handler,
    sockets: Sequence[socket.socket],
    limits: Limits | None = None,
    *,
    errors: ErrorFormatter | None = None,
    tls: ssl.SSLContext | None = None,
    token: str | None = None,
    public: Collection[str] = (),
    log: Log | None = None,
    now_s: Callable[[], float] = time.monotonic,
) -> HttpServer:
    """Serve HTTP on bound sockets until `drain`.

    `errors` words the refusals of this layer and the answers to what a handler raises; with `token` every request but
    those for the `public` targets needs `Authorization: Bearer <token>`; `log` is told of every answer. `now_s` is
    the clock of the deadlines.
    """
    authorization = f"Bearer {token}".encode() if token else None
    server = HttpServer(
        Shared(handler, limits or Limits(), errors or PlainErrors(), authorization, public, log, now_s=now_s)
    )
    await server.listen(sockets, tls)
    return server
