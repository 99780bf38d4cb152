"""An HTTP server with a few small answers in the event loop of a test, a clock that the test moves, and raw sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from serving.transport.http1.messages import Request, Response
from serving.transport.http1.server import HttpServer, serve
from serving.transport.limits import Limits

LIMITS = Limits(body_bytes=1000, header_bytes=2000, connections=2000)
WITHIN_S = 30


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Served:
    """A running server as its test sees it."""

    def __init__(self, server: HttpServer, port: int, clock: Clock, requests: list[Request]) -> None:
        self.server = server
        self.port = port
        self.clock = clock
        self.requests = requests
        """What the handler was given."""
        self.cancelled: list[str] = []
        self.go_on = asyncio.Event()
        """Lets the answers to `/slow` go."""

    def pass_time(self, seconds: float) -> None:
        """Move the clock, and have the server compare its deadlines with it."""
        self.clock.now_s += seconds
        self.server.check_timeouts()

    async def send(self, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send the parts one by one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        return reader, writer

    async def ask(self, *parts: bytes) -> bytes:
        """Everything that the server answers until it closes."""
        reader, writer = await self.send(*parts)
        answer = await asyncio.wait_for(reader.read(), WITHIN_S)
        writer.close()
        return answer


def handler_of(served: Callable[[], Served]) -> Callable[[Request], Response | Awaitable[Response]]:
    """Echo method, target and body; `/slow` waits for `go_on`, `/large` is an answer of 8 MB, `/raise` raises."""

    async def slow(request: Request) -> Response:
        try:
            await served().go_on.wait()
        except asyncio.CancelledError:
            served().cancelled.append(request.target)
            raise
        return echo(request)

    def echo(request: Request) -> Response:
        return Response(200, f"[{request.method} {request.target} {request.body.decode('latin-1')}]".encode())

    def handle(request: Request) -> Response | Awaitable[Response]:
        served().requests.append(request)
        if request.target == "/raise":
            raise ValueError("a secret")
        if request.target.startswith("/slow"):
            return slow(request)
        return Response(200, bytes(8_000_000)) if request.target == "/large" else echo(request)

    return handle


@pytest.fixture
def serving() -> Callable[..., Any]:
    """Run an async test body with a server: `serving(body, limits, **options of serve)`."""

    def run(body: Callable[[Served], Awaitable[Any]], limits: Limits = LIMITS, **options: Any) -> Any:
        async def both() -> Any:
            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
            port, clock = sock.getsockname()[1], Clock()
            served: Served
            server = await serve(handler_of(lambda: served), [sock], limits, now_s=clock, **options)
            served = Served(server, port, clock, [])
            try:
                return await body(served)
            finally:
                served.go_on.set()
                await server.drain(2.0)

        return uvloop.run(both())

    return run


@pytest.fixture
def ask(serving: Callable[..., Any]) -> Callable[..., bytes]:
    """The answer of a fresh server to the parts."""

    def answer(*parts: bytes) -> bytes:
        content: bytes = serving(lambda served: served.ask(*parts))
        return content

    return answer
