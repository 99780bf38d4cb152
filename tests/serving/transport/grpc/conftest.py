"""A gRPC server of our own with a few small methods, in a thread, and a client that speaks HTTP/2 frame by frame."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from hpack import Decoder

from serving.process.sockets import bound_socket
from serving.transport.grpc import server as rpc_server
from serving.transport.grpc.call import Call, Method, Send
from serving.transport.grpc.status import Code, RpcError
from serving.transport.http2 import frames as h2
from serving.transport.http2.frames import frame, literal_headers, number
from serving.transport.limits import Limits

LIMITS = Limits(body_bytes=300_000, header_bytes=8192, connections=40)
REQUEST = {":method": "POST", ":scheme": "http", "content-type": "application/grpc"}
CANCELLED: list[str] = []


def echo(message: bytes, call: Call) -> bytes:
    call.trailing = (("asked", call.metadata.get("ask", "")),)
    return message


async def slow(message: bytes, call: Call) -> bytes:
    try:
        await asyncio.sleep(float(message or b"60"))
    except asyncio.CancelledError:
        CANCELLED.append(call.path)
        raise
    return message


async def count(message: bytes, call: Call, send: Send) -> None:
    for digit in range(int(message)):
        send(str(digit).encode())
        await asyncio.sleep(0)


def fail(message: bytes, call: Call) -> bytes:
    raise KeyError("secret") if message else RpcError(Code.FAILED_PRECONDITION, "not now: 100 % of Ünicode\n")


METHODS = {
    "/t.T/Echo": Method(echo), "/t.T/Slow": Method(slow), "/t.T/Fail": Method(fail), "/t.T/Count": Method(stream=count),
}  # fmt: skip


class Running:
    """A server in a thread of its own."""

    def __init__(self, **options: Any) -> None:
        self.bound = bound_socket("127.0.0.1", 0, shared=False)
        self.port: int = self.bound.getsockname()[1]
        self.options, self.up = options, threading.Event()
        self.now_s = 1000.0
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.thread.start()
        assert self.up.wait(5)

    async def _run(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        self.server = await rpc_server.serve(METHODS, [self.bound], LIMITS, now_s=lambda: self.now_s, **self.options)
        self.up.set()
        await self.stop.wait()
        await self.server.drain(3.0, 0.2)

    def pass_time(self, seconds: float) -> None:
        """Move the server's clock, which stands still otherwise, and have it compare its deadlines with it."""

        async def check() -> None:
            self.now_s += seconds
            self.server.check_timeouts()

        asyncio.run_coroutine_threadsafe(check(), self.loop).result(20)

    def streams(self) -> list[int]:
        """Numbers of the calls under way."""
        return [
            number for connection in list(self.server.shared.connections) for number in list(connection.calls.streams)
        ]

    def end(self) -> None:
        """Drain; twice does no harm."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.bound.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """One server for the tests of a module."""
    running = Running()
    yield running
    running.end()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start a server of the test's own with options; it is ended after the test."""
    started: list[Running] = []

    def begin(**options: Any) -> Running:
        started.append(Running(**options))
        return started[-1]

    yield begin
    for running in started:
        running.end()


@pytest.fixture
def cancelled() -> list[str]:
    """The paths of the calls that were cancelled."""
    CANCELLED.clear()
    return CANCELLED


@pytest.fixture
def channel(server: Running) -> Iterator[Any]:
    """A channel of grpcio's."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        yield channel


class Client:
    """Sends frames, reads frames."""

    def __init__(self, port: int, settings: dict[int, int] | None = None, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(20)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.decoder, self.buffer = Decoder(), b""
        self.socket.sendall(h2.CLIENT_PREFACE + frame(h2.SETTINGS, 0, 0, h2.settings(settings or {})))

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    @staticmethod
    def message(content: bytes, flag: int = 0) -> bytes:
        """A length-prefixed message."""
        return bytes((flag,)) + number(len(content)) + content

    @staticmethod
    def head(stream: int = 1, flags: int = h2.END_HEADERS, method: str = "Echo", **changes: str) -> bytes:
        """The head of a request."""
        fields = (
            REQUEST | {":path": f"/t.T/{method}"} | {key.replace("_", "-"): value for key, value in changes.items()}
        )
        return frame(h2.HEADERS, flags, stream, literal_headers(fields))

    @staticmethod
    def data(content: bytes, stream: int = 1, flags: int = h2.END_STREAM) -> bytes:
        """A piece of a request, the last one unless told otherwise."""
        return frame(h2.DATA, flags, stream, content)

    def pieces(self, content: bytes, stream: int = 1) -> list[bytes]:
        """A large request in frames."""
        starts = range(0, len(content), h2.FRAME_BYTES)
        last = starts[-1]
        return [self.data(content[at : at + h2.FRAME_BYTES], stream, h2.END_STREAM * (at == last)) for at in starts]

    def call(self, body: bytes, **changes: str) -> None:
        """Send a whole request on stream 1."""
        self.send(self.head(**changes), self.data(body))

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream, payload until the end of the connection."""
        while True:
            while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
                more = self.socket.recv(65536)
                if not more:
                    return
                self.buffer += more
            size, kind, flags, stream = struct.unpack(">IBBI", b"\0" + self.buffer[:9])
            payload, self.buffer = self.buffer[9 : 9 + size], self.buffer[9 + size :]
            yield kind, flags, stream, payload

    def answer(self, stream: int = 1) -> tuple[dict[str, str], bytes]:
        """Fields and body of an answer."""
        fields: dict[str, str] = {}
        body = b""
        for kind, flags, number_, payload in self.frames():
            if kind == h2.HEADERS:
                decoded = dict(self.decoder.decode(payload))
                fields |= decoded if number_ == stream else {}
            if number_ == stream and kind == h2.DATA:
                body += payload
            if number_ == stream and kind in (h2.DATA, h2.HEADERS) and flags & h2.END_STREAM:
                return fields, body
        raise AssertionError("the connection ended before the answer")

    def farewell(self) -> tuple[int, bytes]:
        """Code and reason of the GOAWAY before the connection's end."""
        found = [payload for kind, _, _, payload in self.frames() if kind == h2.GOAWAY]
        return int.from_bytes(found[-1][4:8], "big"), found[-1][8:]


@pytest.fixture
def client(server: Running) -> Iterator[Callable[..., Client]]:
    """Connect a client; all are closed after the test."""
    opened: list[Client] = []

    def connect(port: int = 0, **options: Any) -> Client:
        opened.append(Client(port or server.port, **options))
        return opened[-1]

    yield connect
    for one in opened:
        one.socket.close()
