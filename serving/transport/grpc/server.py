"""A gRPC server of our own on the event loop that serves REST too: the sockets, the clock, the drain.

Why not `grpc.aio`: its calls cost several times what the model's run does, and a comparison of REST with gRPC would
compare Python libraries; `make bench-servers` has both side by side. `connection.py` is one connection, `calls.py` the
calls on it, `call.py` has the values.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from serving.transport.grpc.call import ErrorFormatter, Log, Method, Shared, to_rpc_error
from serving.transport.grpc.connection import Connection
from serving.transport.limits import BACKLOG, SWEEP_S, Limits

FAREWELL_S = 0.1
"""Long enough for a client to hear that it should go, short beside any deadline."""
AGE_GRACE_S = 2.0
"""Between asking a client of an aged connection to go elsewhere and taking no more calls on it."""


class RpcServer:
    """The listening sockets and connections of one process."""

    def __init__(self, shared: Shared, connection_age_s: float = 0.0) -> None:
        self.shared = shared
        self._age_s = connection_age_s
        self._loop = asyncio.get_running_loop()
        self._listeners: list[asyncio.Server] = []
        self._aged: set[Connection] = set()
        self._sweep()

    def _sweep(self) -> None:
        """End what takes too long: the only timer there is, however many connections."""
        self.check_timeouts()
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def check_timeouts(self) -> None:
        """End what takes too long on every connection, and have clients of old ones reconnect."""
        now_s = self.shared.now_s()
        for connection in list(self.shared.connections):
            connection.check_timeouts(now_s)
            if self._age_s and now_s - connection.opened_s > self._age_s:
                self._retire(connection, now_s)
        self._aged &= self.shared.connections

    def _retire(self, connection: Connection, now_s: float) -> None:
        """Close the connection with GOAWAY, so that the client reconnects, to whichever server it is given then."""
        if connection not in self._aged:
            self._aged.add(connection)
            connection.announce_leave()
        elif now_s - connection.opened_s > self._age_s + AGE_GRACE_S:
            connection.leave()

    async def listen(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on bound sockets."""
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        for sock in sockets:
            create = self._loop.create_unix_server if sock.family == socket.AF_UNIX else self._loop.create_server
            listener = await create(lambda: Connection(self.shared), sock=sock, ssl=tls, backlog=BACKLOG)
            self._listeners.append(listener)

    async def drain(self, timeout_s: float, grace_s: float = 0.0) -> None:
        """Answer what is under way, then close everything; at most `timeout_s` seconds.

        For the first `grace_s` seconds calls are still taken, while clients are asked to go elsewhere.
        """
        ends_s = self._loop.time() + timeout_s
        asked_to_leave = set(self.shared.connections)
        for connection in asked_to_leave:
            connection.announce_leave()
        await asyncio.sleep(min(grace_s, timeout_s))
        for listener in self._listeners:
            listener.close()
        for connection in self.shared.connections - asked_to_leave:
            connection.announce_leave()
        await asyncio.sleep(min(FAREWELL_S, max(ends_s - self._loop.time(), 0.0)))  # calls that are on the way
        while self.shared.connections and self._loop.time() < ends_s:
            for connection in list(self.shared.connections):
                connection.leave()
            await asyncio.sleep(0.01)
        for connection in list(self.shared.connections):
            connection.abort()
        self._timer.cancel()


async def serve(
    methods: Mapping[str, Method],
    sockets: Sequence[socket.socket],
    limits: Limits | None = None,
    *,
    to_error: ErrorFormatter = to_rpc_error,
    tls: ssl.SSLContext | None = None,
    token: str | None = None,
    public: Collection[str] = (),
    log: Log | None = None,
    connection_age_s: float = 0.0,
    now_s: Callable[[], float] = time.monotonic,
) -> RpcServer:
    """Serve gRPC methods, by path, on bound sockets until `drain`.

    `to_error` turns what a method raises into its answer; with `token` every call but those whose path begins as one of
    `public` does needs `authorization: Bearer <token>`; `log` is told of every answered call. After `connection_age_s`
    (0: never) the connection is closed with GOAWAY, so that the client reconnects: behind a balancer of
    connections that moves it to other servers.
    """
    authorization = f"Bearer {token}" if token else None
    shared = Shared(methods, limits or Limits(), to_error, authorization, public, log, now_s=now_s)
    server = RpcServer(shared, connection_age_s)
    await server.listen(sockets, tls)
    return server
