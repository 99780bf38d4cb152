"""What a client can do wrong in HTTP/2 and gRPC: an answer or a reason for it, and nothing for its neighbours."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import socket
from contextlib import closing
from typing import Any

import pytest

from serving.transport.grpc.status import Code
from serving.transport.http2 import frames as h2
from serving.transport.http2.frames import frame, number

WRONG_MESSAGES = {
    "no message": b"",
    "a cut prefix": b"\0\0",
    "a cut message": b"\0\0\0\0\x05abc",
    "two messages": b"\0\0\0\0\x01a" * 2,
    "an unknown flag": b"\2\0\0\0\x01a",
    "no gzip": b"\1\0\0\0\x03abc",
}


@pytest.mark.parametrize("body", WRONG_MESSAGES.values(), ids=WRONG_MESSAGES)
def test_what_is_no_message_is_refused(client: Any, body: bytes) -> None:
    one = client()
    one.send(one.head(grpc_encoding="gzip"), one.data(body))
    assert one.answer()[0]["grpc-status"] == str(int(Code.INVALID_ARGUMENT))


def test_a_bomb_is_not_inflated(client: Any) -> None:
    one = client()
    one.send(one.head(grpc_encoding="gzip"), one.data(one.message(gzip.compress(bytes(10_000_000)), 1)))
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
    one.send(one.head(**changes))
    assert one.answer()[0][field] == value


FAULTS = {
    "a frame too large": (lambda c: frame(h2.DATA, 0, 1, bytes(16_385)), h2.FRAME_SIZE_ERROR),
    "an even stream": (lambda c: c.head(2), h2.PROTOCOL_ERROR),
    "data before its head": (lambda c: c.data(b"x", 5), h2.PROTOCOL_ERROR),
    "data on no stream": (lambda c: c.data(b"x", 0), h2.PROTOCOL_ERROR),
    "a reset of what is not open": (lambda c: frame(h2.RST_STREAM, 0, 9, number(0)), h2.PROTOCOL_ERROR),
    "a block not continued": (lambda c: c.head(flags=0) + c.data(b""), h2.PROTOCOL_ERROR),
    "a continuation of nothing": (lambda c: frame(h2.CONTINUATION, 0, 1, b""), h2.PROTOCOL_ERROR),
    "a block that is none": (lambda c: frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff" * 9), h2.COMPRESSION_ERROR),
    "endless headers": (
        lambda c: (
            c.head(flags=0) + frame(h2.CONTINUATION, 0, 1, bytes(9000)) + frame(h2.CONTINUATION, 0, 1, bytes(9000))
        ),
        h2.ENHANCE_YOUR_CALM,
    ),
    "a large list of headers": (lambda c: c.head(ask="x" * 9000), h2.COMPRESSION_ERROR),
    "more padding than frame": (lambda c: c.head() + frame(h2.DATA, h2.PADDED, 1, b"\x09abc"), h2.PROTOCOL_ERROR),
    "a push": (lambda c: frame(h2.PUSH_PROMISE, 0, 1, b""), h2.PROTOCOL_ERROR),
    "half a setting": (lambda c: frame(h2.SETTINGS, 0, 0, b"123"), h2.FRAME_SIZE_ERROR),
    "a window beyond all bounds": (lambda c: frame(h2.WINDOW_UPDATE, 0, 0, number(2**31 - 1)), h2.FLOW_CONTROL_ERROR),
    "a first window beyond all bounds": (
        lambda c: frame(h2.SETTINGS, 0, 0, h2.settings({h2.INITIAL_WINDOW_SIZE: 2**32 - 1})),
        h2.FLOW_CONTROL_ERROR,
    ),
    "a window widened by nothing": (lambda c: frame(h2.WINDOW_UPDATE, 0, 0, number(0)), h2.PROTOCOL_ERROR),
    "a short ping": (lambda c: frame(h2.PING, 0, 0, b"1"), h2.FRAME_SIZE_ERROR),
    "a short reset": (lambda c: frame(h2.RST_STREAM, 0, 1, b"1"), h2.FRAME_SIZE_ERROR),
    "a flood of pings": (lambda c: frame(h2.PING, 0, 0, bytes(8)) * 9000, h2.ENHANCE_YOUR_CALM),
    "a flood of resets": (
        lambda c: b"".join(c.head(n) + frame(h2.RST_STREAM, 0, n, number(8)) for n in range(1, 18_000, 2)),
        h2.ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize(("sent", "code"), FAULTS.values(), ids=FAULTS)
def test_faults_end_the_connection_with_their_code(client: Any, sent: Any, code: int) -> None:
    one = client()
    one.send(sent(one))
    found, reason = one.farewell()
    assert found == code
    assert reason


def test_http1_is_told_what_this_port_speaks(server: Any) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=5)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        answer = b"".join(iter(lambda: plain.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"HTTP/2" in answer


def test_what_does_not_come_to_its_end_is_ended(client: Any, start: Any, eventually: Any) -> None:
    server = start()
    half_frame, half_call = client(server.port), client(server.port)
    silent = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    silent.sendall(h2.CLIENT_PREFACE[:8])
    half_frame.send(half_frame.head()[:7])
    half_call.send(half_call.head(), half_call.data(b"\0\0\0", flags=0))
    eventually(lambda: server.server.shared.buffered_bytes == 3, within_s=20)
    eventually(lambda: sum(c._reader.is_partial for c in list(server.server.shared.connections)) == 2, within_s=20)
    server.pass_time(29)
    assert len(server.server.shared.connections) == 3
    server.pass_time(2)
    assert half_call.answer()[0]["grpc-status"] == str(int(Code.DEADLINE_EXCEEDED))
    assert b"did not come to its end" in half_frame.farewell()[1]
    with closing(silent):
        assert b"did not come to its end" in silent.recv(1000)


def test_upload_below_the_least_rate_is_refused_however_steady(client: Any, start: Any, eventually: Any) -> None:
    server = start()
    one, shared = client(server.port), server.server.shared
    one.send(one.head(), one.data(b"\0\0\0\x27\x10", flags=0))
    for sent in range(6, 40):  # a byte every 10 s
        one.send(one.data(b"x", flags=0))
        eventually(lambda sent=sent: shared.buffered_bytes in (sent, 0), within_s=20)
        server.pass_time(10)
    assert one.answer()[0]["grpc-message"] == "the request did not come to its end in time"


def test_steady_upload_may_take_minutes(client: Any, start: Any, eventually: Any) -> None:
    server = start()
    one, shared = client(server.port), server.server.shared
    whole = one.message(bytes(100_000))
    one.send(one.head())
    for at in range(0, len(whole), 5000):  # 250 bytes a second
        one.send(one.data(whole[at : at + 5000], flags=0))
        eventually(lambda at=at: shared.buffered_bytes == min(at + 5000, len(whole)), within_s=20)
        server.pass_time(20)
    one.send(one.data(b""))
    one.send(frame(h2.WINDOW_UPDATE, 0, 0, number(10**6)), frame(h2.WINDOW_UPDATE, 0, 1, number(10**6)))
    assert one.answer()[0]["grpc-status"] == "0"


@pytest.mark.parametrize("taken", [0, 1], ids=["nothing", "a byte every 10 s"])
def test_answer_whose_window_stays_closed_is_dropped(client: Any, start: Any, eventually: Any, taken: int) -> None:
    server = start()
    one, shared = client(server.port, settings={h2.INITIAL_WINDOW_SIZE: 1}), server.server.shared
    one.call(one.message(b"x" * 1000))
    eventually(lambda: shared.buffered_bytes > 1000, within_s=20)
    for _ in range(50):
        server.pass_time(10)
        if taken and server.streams():
            one.send(frame(h2.WINDOW_UPDATE, 0, 1, number(taken)), frame(h2.PING, 0, 0, bytes(8)))
            next(kind for kind, *_ in one.frames() if kind == h2.PING)
    assert server.streams() == []
    assert shared.buffered_bytes == 0


def test_answer_that_nobody_reads_from_the_socket_ends_the_connection(client: Any, start: Any, eventually: Any) -> None:
    server = start()
    one, shared = (
        client(server.port, settings={h2.INITIAL_WINDOW_SIZE: 2**31 - 1}, receive_bytes=4096),
        server.server.shared,
    )
    one.send(frame(h2.WINDOW_UPDATE, 0, 0, number(2**30)))
    one.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):  # the server stops reading where its answers are not read
        for stream in range(1, 1001, 2):
            one.send(one.head(stream), *one.pieces(one.message(bytes(290_000)), stream))
    eventually(lambda: any(c.unread for c in list(shared.connections)), within_s=20)
    server.pass_time(0)
    server.pass_time(29)
    assert shared.connections
    server.pass_time(2)
    eventually(lambda: not shared.connections, within_s=20)
    assert shared.buffered_bytes == 0


def test_pings_beside_calls_are_no_attack(client: Any, start: Any) -> None:
    one = client(start().port)
    for stream in range(1, 6001, 2):
        one.send(one.head(stream), one.data(one.message(b"x"), stream), frame(h2.PING, 0, 0, bytes(8)))
        assert one.answer(stream)[0]["grpc-status"] == "0"


def test_pings_beside_a_streamed_answer_are_no_attack(client: Any, start: Any) -> None:
    one = client(start().port)
    one.send(frame(h2.WINDOW_UPDATE, 0, 0, number(10**6)), frame(h2.SETTINGS, 0, 0, h2.settings({4: 10**6})))
    one.call(one.message(b"3000"), method="Count")
    count, is_unanswered = 0, False
    for kind, flags, stream, _ in one.frames():
        if stream == 1 and kind == h2.DATA:
            count += 1
            if not is_unanswered:  # as grpc-go does
                one.send(frame(h2.PING, 0, 0, bytes(8)))
        is_unanswered = kind != h2.PING and (is_unanswered or kind == h2.DATA)
        assert kind != h2.GOAWAY
        if stream == 1 and flags & h2.END_STREAM:
            break
    assert count == 3000


def test_connections_are_bounded(server: Any, client: Any) -> None:
    for _ in range(server.server.shared.limits.connections):
        client()
    assert client().farewell()[0] == h2.ENHANCE_YOUR_CALM


def mutant(one: random.Random, c: Any) -> bytes:
    """A connection's bytes with frames changed, swapped, cut and repeated."""
    frames = [
        h2.CLIENT_PREFACE, frame(h2.SETTINGS, 0, 0, h2.settings({4: one.choice([0, 10, 2**20, 2**31])})),
        c.head(), c.data(c.message(b"abc")), c.head(3),
        c.data(c.message(b"x" * one.choice([0, 9, 20_000]))[:16_384], 3),
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


def test_http2_survives_anything(server: Any, client: Any, channel: Any, eventually: Any) -> None:
    tame = client()
    for seed in range(int(os.environ.get("FUZZ_REQUESTS", "1500")) // 5):
        wild = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        with closing(wild), contextlib.suppress(ConnectionError):
            wild.sendall(mutant(random.Random(seed), tame))
            wild.shutdown(socket.SHUT_WR)
            while wild.recv(65536):
                pass
        if not seed % 20:
            assert channel.unary_unary("/t.T/Echo")(b"neighbour", timeout=5) == b"neighbour"
    eventually(lambda: server.server.shared.buffered_bytes == 0, within_s=20)
