"""Limits on silence and on the rate in both directions, half-closed connections, and answers that nobody reads.

The clock is the test's: nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from serving.transport.limits import Limits, Pace

LIMITS = Limits(body_bytes=10**6, silence_timeout_s=30, least_rate=100, header_timeout_s=10, idle_timeout_s=300)
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE_BYTES = 8_000_000


def test_pace_bounds_silence_and_rate() -> None:
    pace = Pace(LIMITS, 0.0)
    assert pace.deadline_s == 30
    pace.move(10_000, 20.0)
    assert pace.deadline_s == 50
    pace.move(100, 49.0)
    assert pace.deadline_s == 79
    for second in range(50, 140, 10):
        pace.move(1, second)
    assert pace.deadline_s == pytest.approx(30 + 10_109 / 100)


def test_pace_without_a_least_rate_bounds_silence_alone() -> None:
    pace = Pace(Limits(least_rate=0, silence_timeout_s=30), 0.0)
    pace.move(1, 1e6)
    assert pace.deadline_s == 1e6 + 30


def test_steady_upload_may_take_minutes(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(POST % 40_000)
        for sent in range(1, 41):  # 1,000 bytes every 9 s: 111 a second
            writer.write(bytes(1000))
            await eventually_async(lambda sent=sent: served.server.shared.buffered_bytes == sent % 40 * 1000, 30)
            served.pass_time(9)
        assert (await reader.readuntil(b"]"))[:12] == b"HTTP/1.1 200"
        writer.close()

    serving(body, LIMITS)


@pytest.mark.parametrize(("sent", "wait_s"), [(b"GET / HT", 10), (POST % 9 + b"abc", 30)], ids=["headers", "body"])
def test_request_that_stands_still_is_refused(serving: Any, eventually_async: Any, sent: bytes, wait_s: float) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(sent)
        await eventually_async(lambda: any(c._reader.reading for c in served.server.shared.connections), 30)
        served.pass_time(wait_s - 1)
        assert served.server.shared.connections
        served.pass_time(2)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.endswith(b"the request did not come to its end in time\n")

    serving(body, LIMITS)


def test_upload_below_the_least_rate_is_refused(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(POST % 40_000)
        for sent in range(1, 8):  # 10 bytes a second, never silent
            writer.write(bytes(50))
            await eventually_async(lambda sent=sent: served.server.shared.buffered_bytes == sent * 50, 30)
            served.pass_time(5)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()

    serving(body, LIMITS)


def small_buffers(port: int) -> socket.socket:
    """A connection that takes few bytes ahead."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    return sock


def test_answer_that_nobody_reads_is_dropped(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        with small_buffers(served.port) as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            shared = served.server.shared
            await eventually_async(lambda: shared.buffered_bytes > LARGE_BYTES / 4, 30)
            served.pass_time(0)
            served.pass_time(29)
            assert shared.connections
            served.pass_time(2)
            await eventually_async(lambda: not shared.connections, 30)
            assert shared.buffered_bytes == 0

    serving(body, LIMITS)


def test_answer_that_is_read_slowly_arrives_whole(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        with small_buffers(served.port) as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            shared = served.server.shared
            await eventually_async(lambda: shared.buffered_bytes, 30)
            sock.setblocking(False)
            size = 0
            while shared.connections:
                served.pass_time(20)

                def read() -> int:
                    try:
                        return len(sock.recv(200_000))
                    except BlockingIOError:
                        return 0

                size += await eventually_async(read, 30)
            sock.setblocking(True)
            while piece := sock.recv(1 << 20):
                size += len(piece)
            assert size > LARGE_BYTES

    serving(body, LIMITS)


def test_unread_answers_count_against_the_memory_of_all(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        with small_buffers(served.port) as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await eventually_async(lambda: served.server.shared.buffered_bytes > 10**6, 30)
            answer = await served.ask(POST % 1 + b"x")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"have more than 1000000 bytes: try again later" in answer

    serving(body, Limits(buffered_bytes=10**6))


HALF_CLOSED = {
    "a GET": [SLOW],
    "a POST": [POST.replace(b"/ ", b"/slow ") % 3 + b"abc"],
    "a POST in two pieces": [POST.replace(b"/ ", b"/slow ") % 3, b"abc"],
    "pipelined": [SLOW + SLOW, SLOW],
}


@pytest.mark.parametrize("sent", HALF_CLOSED.values(), ids=HALF_CLOSED)
def test_half_closed_connection_gets_its_answers(serving: Any, eventually_async: Any, sent: list[bytes]) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(*sent)
        writer.write_eof()
        count = b"".join(sent).count(b"/slow")
        await eventually_async(lambda: len(served.requests) == count, 30)
        served.go_on.set()
        answer = await reader.read()
        writer.close()
        assert answer.count(b"HTTP/1.1 200 ") == count

    serving(body)


def test_half_close_before_any_request_closes(serving: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send()
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()

    serving(body)


def test_half_closed_connection_is_closed_behind_a_large_answer(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write_eof()
        assert len(await reader.read()) > LARGE_BYTES
        writer.close()
        await eventually_async(lambda: not served.server.shared.connections, 30)

    serving(body)


def test_client_that_resets_cancels_its_request(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        _, writer = await served.send(SLOW)
        await eventually_async(lambda: served.requests, 30)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        await eventually_async(lambda: served.cancelled == ["/slow"], 30)

    serving(body)


def test_idle_connection_is_closed_after_its_time(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"]")
        served.pass_time(299)
        assert served.server.shared.connections
        served.pass_time(2)
        assert await reader.read() == b""
        writer.close()

    serving(body)
