"""The gRPC layer on raw sockets: what a client can do wrong in HTTP/2, and what it may do that few clients do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import grpc
import pytest
from hpack import Decoder

from serving import http2_frames as h2
from serving import rpc_server
from serving.http2_frames import frame, literal_headers, number
from serving.http_messages import Limits
from serving.listening import bound_socket
from serving.rpc import Call, Code, Method, RpcError, Send

LIMITS = Limits(body_bytes=300_000, header_bytes=8192, header_timeout_s=0.6, body_timeout_s=0.6, connections=40)
REQUEST = {":method": "POST", ":scheme": "http", ":path": "/t.T/Echo", "content-type": "application/grpc"}
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
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.thread.start()
        assert self.up.wait(5)

    async def _run(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        self.server = await rpc_server.serve(METHODS, [self.bound], LIMITS, **self.options)
        self.up.set()
        await self.stop.wait()
        await self.server.drain(3.0, 0.2)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    running = Running()
    yield running
    running.end()


@pytest.fixture
def channel(server: Running) -> Iterator[Any]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        yield channel


class Client:
    """Sends frames, reads frames."""

    def __init__(self, port: int, settings: dict[int, int] | None = None, first: bytes = h2.CLIENT_PREFACE) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.decoder, self.data = Decoder(), b""
        self.socket.sendall(first + frame(h2.SETTINGS, 0, 0, h2.settings(settings or {})))

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream, payload until the end of the connection."""
        while True:
            while len(self.data) < 9 or len(self.data) < 9 + int.from_bytes(self.data[:3], "big"):
                more = self.socket.recv(65536)
                if not more:
                    return
                self.data += more
            size, kind, flags, stream = struct.unpack(">IBBI", b"\0" + self.data[:9])
            payload, self.data = self.data[9 : 9 + size], self.data[9 + size :]
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
    opened: list[Client] = []

    def connect(**options: Any) -> Client:
        opened.append(Client(server.port, **options))
        return opened[-1]

    yield connect
    for one in opened:
        one.socket.close()


def message(content: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + number(len(content)) + content


def head(stream: int = 1, flags: int = h2.END_HEADERS, **changes: str) -> bytes:
    fields = REQUEST | {key.replace("_", "-").replace("..", ":"): value for key, value in changes.items()}
    return frame(h2.HEADERS, flags, stream, literal_headers({k: v for k, v in fields.items() if v}))


def data(content: bytes, stream: int = 1, flags: int = h2.END_STREAM) -> bytes:
    return frame(h2.DATA, flags, stream, content)


def path(name: str) -> bytes:
    return frame(h2.HEADERS, h2.END_HEADERS, 1, literal_headers(REQUEST | {":path": f"/t.T/{name}"}))


def test_a_call_is_answered_with_its_trailing_metadata(channel: Any) -> None:
    answer, call = channel.unary_unary("/t.T/Echo").with_call(b"hello", metadata=(("ask", "7"),), timeout=5)
    assert (answer, dict(call.trailing_metadata())["asked"]) == (b"hello", "7")


@pytest.mark.parametrize("size", [0, 16_379, 16_380, 70_000, 299_995])
def test_messages_of_every_size_come_back(channel: Any, size: int) -> None:
    content = bytes(size)
    assert channel.unary_unary("/t.T/Echo")(content, timeout=5) == content


def test_several_messages_are_streamed(channel: Any) -> None:
    assert list(channel.unary_stream("/t.T/Count")(b"5", timeout=5)) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_inflated(channel: Any, compression: Any) -> None:
    assert channel.unary_unary("/t.T/Echo")(b"x" * 5000, timeout=5, compression=compression) == b"x" * 5000


@pytest.mark.parametrize(
    ("method", "content", "code", "details"),
    [
        ("/t.T/Fail", b"", "FAILED_PRECONDITION", "not now: 100 % of Ünicode\n"),
        ("/t.T/Fail", b"x", "INTERNAL", "internal error (KeyError)"),
        ("/t.T/Nope", b"", "UNIMPLEMENTED", "Method not found!"),
        ("/t.T/Echo", bytes(300_001), "RESOURCE_EXHAUSTED", "the limit is 300000"),
    ],
)
def test_errors_have_their_code_and_words(channel: Any, method: str, content: bytes, code: str, details: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(content, timeout=5)
    assert caught.value.code().name == code
    assert details in caught.value.details()


def test_many_calls_at_once_on_one_connection(channel: Any) -> None:
    calls = [channel.unary_unary("/t.T/Echo").future(str(n).encode() * 2000, timeout=10) for n in range(300)]
    assert [call.result() for call in calls] == [str(n).encode() * 2000 for n in range(300)]


def test_a_cancelled_call_stops_its_method(channel: Any) -> None:
    CANCELLED.clear()
    call = channel.unary_unary("/t.T/Slow").future(b"60", timeout=30)
    time.sleep(0.1)
    call.cancel()
    ends = time.monotonic() + 5
    while not CANCELLED and time.monotonic() < ends:
        time.sleep(0.01)
    assert CANCELLED == ["/t.T/Slow"]


def test_a_passed_deadline_is_answered_by_the_server(client: Any) -> None:
    one = client()
    fields = REQUEST | {":path": "/t.T/Slow", "grpc-timeout": "100m"}
    one.send(frame(h2.HEADERS, h2.END_HEADERS, 1, literal_headers(fields)), data(message(b"60")))
    assert one.answer()[0]["grpc-status"] == "4"


def test_large_answers_wait_for_the_clients_windows(client: Any) -> None:
    one = client(settings={h2.INITIAL_WINDOW_SIZE: 10})
    one.send(head(), data(message(b"x" * 95)))
    taken, body = 0, b""
    for kind, flags, stream, payload in one.frames():
        if kind == h2.DATA:
            taken, body = taken + len(payload), body + payload
            assert len(payload) <= 10
            one.send(frame(h2.WINDOW_UPDATE, 0, stream, number(10)))
        if stream == 1 and flags & h2.END_STREAM:
            break
    assert body == message(b"x" * 95)


def test_padding_priority_and_continuation_are_read(client: Any) -> None:
    one = client()
    block = literal_headers(REQUEST)
    padded = b"\x03" + b"\0" * 5 + block[:40] + b"\0\0\0"
    one.send(frame(h2.HEADERS, h2.PADDED | h2.PRIORITY, 1, padded), frame(h2.CONTINUATION, 0, 1, block[40:50]))
    one.send(frame(h2.CONTINUATION, h2.END_HEADERS, 1, block[50:]))
    one.send(frame(h2.DATA, h2.PADDED | h2.END_STREAM, 1, b"\x02" + message(b"hi") + b"\0\0"))
    fields, body = one.answer()
    assert (fields["grpc-status"], body) == ("0", message(b"hi"))


def test_bytes_may_come_one_by_one(client: Any) -> None:
    one = client()
    for byte in head() + data(message(b"slow")):
        one.socket.sendall(bytes((byte,)))
    assert one.answer()[1] == message(b"slow")


def test_trailers_of_a_request_end_it(client: Any) -> None:
    one = client()
    one.send(head(), data(message(b"x"), flags=0))
    one.send(frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, literal_headers({"tail": "1"})))
    assert one.answer()[1] == message(b"x")


WRONG_MESSAGES = {
    "no message": b"",
    "a cut prefix": b"\0\0",
    "a cut message": b"\0\0\0\0\x05abc",
    "two messages": message(b"a") + message(b"b"),
    "an unknown flag": message(b"a", 2),
    "no gzip": message(b"abc", 1),
}


@pytest.mark.parametrize("body", WRONG_MESSAGES.values(), ids=WRONG_MESSAGES)
def test_what_is_no_message_is_refused(client: Any, body: bytes) -> None:
    one = client()
    one.send(head(grpc_encoding="gzip"), data(body))
    assert one.answer()[0]["grpc-status"] == str(int(Code.INVALID_ARGUMENT))


def test_a_bomb_is_not_inflated(client: Any) -> None:
    one = client()
    one.send(head(grpc_encoding="gzip"), data(message(gzip.compress(bytes(10_000_000)), 1)))
    assert one.answer()[0]["grpc-status"] == str(int(Code.RESOURCE_EXHAUSTED))


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"content_type": "application/json"}, ":status", "415"),
        ({"content_type": "application/grpcx"}, ":status", "415"),
        ({"grpc_timeout": "soon"}, "grpc-status", "3"),
        ({"grpc_encoding": "br"}, "grpc-status", "12"),
    ],
)
def test_heads_that_can_not_be_served_are_refused(client: Any, changes: dict[str, str], field: str, value: str) -> None:
    one = client()
    one.send(head(**changes))
    assert one.answer()[0][field] == value


FAULTS = {
    "a frame too large": (frame(h2.DATA, 0, 1, bytes(16_385)), h2.FRAME_SIZE_ERROR),
    "an even stream": (head(2), h2.PROTOCOL_ERROR),
    "data before its head": (data(b"x", 5), h2.PROTOCOL_ERROR),
    "data on no stream": (data(b"x", 0), h2.PROTOCOL_ERROR),
    "a reset of what is not open": (frame(h2.RST_STREAM, 0, 9, number(0)), h2.PROTOCOL_ERROR),
    "a block not continued": (head(flags=0) + data(b""), h2.PROTOCOL_ERROR),
    "a continuation of nothing": (frame(h2.CONTINUATION, 0, 1, b""), h2.PROTOCOL_ERROR),
    "a block that is none": (frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff" * 9), h2.COMPRESSION_ERROR),
    "endless headers": (
        head(flags=0) + frame(h2.CONTINUATION, 0, 1, bytes(9000)) + frame(h2.CONTINUATION, 0, 1, bytes(9000)),
        h2.ENHANCE_YOUR_CALM,
    ),
    "a large list of headers": (head(ask="x" * 9000), h2.COMPRESSION_ERROR),
    "more padding than frame": (head() + frame(h2.DATA, h2.PADDED, 1, b"\x09abc"), h2.PROTOCOL_ERROR),
    "a push": (frame(h2.PUSH_PROMISE, 0, 1, b""), h2.PROTOCOL_ERROR),
    "half a setting": (frame(h2.SETTINGS, 0, 0, b"123"), h2.FRAME_SIZE_ERROR),
    "a window beyond all bounds": (frame(h2.WINDOW_UPDATE, 0, 0, number(2**31 - 1)), h2.FLOW_CONTROL_ERROR),
    "a first window beyond all bounds": (
        frame(h2.SETTINGS, 0, 0, h2.settings({h2.INITIAL_WINDOW_SIZE: 2**32 - 1})),
        h2.FLOW_CONTROL_ERROR,
    ),
    "a window widened by nothing": (frame(h2.WINDOW_UPDATE, 0, 0, number(0)), h2.PROTOCOL_ERROR),
    "a short ping": (frame(h2.PING, 0, 0, b"1"), h2.FRAME_SIZE_ERROR),
    "a short reset": (frame(h2.RST_STREAM, 0, 1, b"1"), h2.FRAME_SIZE_ERROR),
    "a flood of pings": (frame(h2.PING, 0, 0, bytes(8)) * 2100, h2.ENHANCE_YOUR_CALM),
    "a flood of resets": (
        b"".join(head(n) + frame(h2.RST_STREAM, 0, n, number(8)) for n in range(1, 4300, 2)),
        h2.ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize(("sent", "code"), FAULTS.values(), ids=FAULTS)
def test_faults_end_the_connection_with_their_code(client: Any, sent: bytes, code: int) -> None:
    one = client()
    one.send(sent)
    found, reason = one.farewell()
    assert found == code
    assert reason


def test_http1_is_told_what_this_port_speaks(server: Running) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=5)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        answer = b"".join(iter(lambda: plain.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"HTTP/2" in answer


def test_what_does_not_come_to_its_end_is_ended(client: Any, server: Running) -> None:
    half_frame, half_call = client(), client()
    silent = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    silent.sendall(h2.CLIENT_PREFACE[:8])
    half_frame.send(head()[:7])
    half_call.send(head(), data(b"\0\0\0", flags=0))
    assert half_call.answer()[0]["grpc-status"] == str(int(Code.DEADLINE_EXCEEDED))
    assert b"did not come to its end" in half_frame.farewell()[1]
    with closing(silent):
        assert b"did not come to its end" in silent.recv(1000)


def test_an_answer_that_nobody_reads_is_dropped(client: Any, server: Running) -> None:
    one = client(settings={h2.INITIAL_WINDOW_SIZE: 1})
    one.send(head(), data(message(b"x" * 1000)))
    assert any(kind == h2.RST_STREAM and stream == 1 for kind, _, stream, _ in one.frames())
    assert server.server.shared.held_bytes == 0


def test_connections_are_bounded(server: Running) -> None:
    opened = [Client(server.port) for _ in range(LIMITS.connections)]
    last = Client(server.port)
    assert last.farewell()[0] == h2.ENHANCE_YOUR_CALM
    for one in (*opened, last):
        one.socket.close()


def test_a_drain_answers_what_is_under_way_and_takes_no_more() -> None:
    running = Running()
    one = Client(running.port)
    one.send(path("Slow"), data(message(b"0.6")))
    time.sleep(0.1)
    ender = threading.Thread(target=running.end)
    ender.start()
    fields, body = one.answer()
    assert (fields["grpc-status"], body) == ("0", message(b"0.6"))
    assert {kind for kind, *_ in one.frames()} <= {h2.GOAWAY}
    ender.join(5)
    one.socket.close()


def test_a_client_of_an_aged_connection_is_asked_to_come_anew() -> None:
    running = Running(connection_age_s=0.3)
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        ends, seen = time.monotonic() + 10, set()
        while time.monotonic() < ends and len(seen) < 2:
            assert channel.unary_unary("/t.T/Echo")(b"x", timeout=5) == b"x"
            seen |= {id(connection) for connection in running.server.shared.connections}
            time.sleep(0.01)
    running.end()
    assert len(seen) == 2


def mutant(one: random.Random) -> bytes:
    """A connection's bytes with frames changed, swapped, cut and repeated."""
    frames = [
        h2.CLIENT_PREFACE, frame(h2.SETTINGS, 0, 0, h2.settings({4: one.choice([0, 10, 2**20, 2**31])})),
        head(), data(message(b"abc")), head(3), data(message(b"x" * one.choice([0, 9, 20_000]))[:16_384], 3),
        frame(h2.WINDOW_UPDATE, 0, one.choice([0, 1, 3]), number(one.choice([0, 9, 2**31 - 1]))),
        frame(h2.RST_STREAM, 0, one.choice([0, 1, 3, 8]), number(8)), frame(h2.PING, one.choice([0, 1]), 0, bytes(8)),
        frame(h2.GOAWAY, 0, 0, bytes(8)), frame(one.randrange(256), one.randrange(256), 5, one.randbytes(9)),
    ]  # fmt: skip
    for _ in range(one.randint(0, 3)):
        frames[one.randrange(len(frames))] = one.choice(frames[1:])
    whole = bytearray(b"".join(frames))
    for _ in range(one.randint(0, 4)):
        start = one.randrange(len(whole))
        whole[start : start + one.choice([0, 1, 3])] = one.randbytes(one.choice([0, 1, 3]))
    return bytes(whole)


def test_http2_survives_anything(server: Running, channel: Any) -> None:
    for seed in range(int(os.environ.get("FUZZ_REQUESTS", "1500")) // 5):
        wild = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        with closing(wild), contextlib.suppress(ConnectionError):
            wild.sendall(mutant(random.Random(seed)))
            wild.shutdown(socket.SHUT_WR)
            while wild.recv(65536):
                pass
        if not seed % 20:
            assert channel.unary_unary("/t.T/Echo")(b"neighbour", timeout=5) == b"neighbour"
    ends = time.monotonic() + 5
    while server.server.shared.held_bytes and time.monotonic() < ends:
        time.sleep(0.05)
    assert server.server.shared.held_bytes == 0


def test_a_token_is_demanded_where_one_is_set() -> None:
    running = Running(token="letmein", public=("/t.T/Count",))
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/t.T/Echo")(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", "Bearer letmein"),)
        assert channel.unary_unary("/t.T/Echo")(b"a", timeout=5, metadata=metadata) == b"a"
        assert list(channel.unary_stream("/t.T/Count")(b"1", timeout=5)) == [b"0"]
    running.end()
