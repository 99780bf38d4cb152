"""The HTTP layer over real sockets: order, limits, tokens, many connections, drain."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from serving.transport.http1.connection import BURST_REQUESTS, FEED_BYTES
from serving.transport.limits import Limits

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"Host: x\r\nConnection: close\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


def test_pipelined_answers_keep_their_order(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(GET % b"slow1" + GET % b"b" + b"GET /slow2 HTTP/1.1\r\n" + CLOSE + b"\r\n")
        await eventually_async(lambda: len(served.requests) == 3, 30)
        served.go_on.set()
        answer = await reader.read()
        writer.close()
        assert answer.index(b"/slow1") < answer.index(b"GET /b") < answer.index(b"/slow2")

    serving(body)


def test_more_pipelined_requests_than_are_read_at_once_are_all_answered(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        await eventually_async(lambda: len(served.requests) == 10, 30)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" * 10 + LAST)
        served.go_on.set()
        answer = await reader.read()
        writer.close()
        assert answer.count(b"HTTP/1.1 200 ") == 21

    serving(body, Limits(pipelined=4))


def test_flood_of_pipelined_requests_leaves_the_loop_to_others(serving: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5000 + LAST)
        counts = [0]
        while len(served.requests) < 5001:
            await asyncio.sleep(0)
            counts.append(len(served.requests))
        steps = [after - before for before, after in itertools.pairwise(counts)]
        assert max(steps) <= 2 * (BURST_REQUESTS + FEED_BYTES // 18)  # two callbacks may lie between two looks
        answer = await reader.read()
        writer.close()
        assert answer.count(b"HTTP/1.1 200 ") == 5001

    serving(body)


def test_expectation_is_met_before_the_body(serving: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(
            b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()

    serving(body)


def test_head_has_length_and_no_body(ask: Any) -> None:
    answer = ask(b"HEAD /h HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert b"Content-Length: 10\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("extra", "kept"), [(b"", False), (b"Connection: keep-alive\r\n", True)])
def test_http_1_0_is_kept_alive_only_on_request(serving: Any, extra: bytes, kept: bool) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(b"GET /o HTTP/1.0\r\n" + extra + b"\r\n")
        answer = await reader.readuntil(b"]")
        assert (b"Connection: keep-alive" in answer) is kept
        if kept:
            writer.write(LAST)
            assert b"/last" in await reader.read()
        else:
            assert await reader.read() == b""
        writer.close()

    serving(body)


def test_handler_error_is_a_500_that_tells_no_secret(serving: Any) -> None:
    async def body(served: Any) -> None:
        answer = await served.ask(b"GET /raise HTTP/1.1\r\nHost: x\r\n\r\n" + LAST)
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"internal error (ValueError)\n" in answer
        assert b"secret" not in answer
        assert b"GET /last" in answer

    serving(body)


REFUSALS = {
    "no http": ([b"\x16\x03\x01\x02\x00 hello\r\n\r\n"], b" 400 "),
    "unknown method": ([b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n"], b" 400 "),
    "http 0.9": ([b"GET /\r\n\r\n"], b" 505 "),
    "http 2": ([b"GET / HTTP/2.0\r\n\r\n"], b" 505 "),
    "declared body": ([POST + b"Content-Length: 1001\r\n\r\n"], b" 413 "),
    "chunked body": (
        [POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"190\r\n" + b"x" * 400 + b"\r\n"] * 3],
        b" 413 ",
    ),
    "one long header": ([b"GET / HTTP/1.1\r\nA: " + b"x" * 2500 + b"\r\n\r\n"], b" 431 "),
    "endless headers": ([b"GET / HTTP/1.1\r\n", *[b"A: " + b"x" * 700 + b"\r\n"] * 5], b" 431 "),
    "endless trailers": (
        [POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", *[b"A: " + b"x" * 700 + b"\r\n"] * 5],
        b" 431 ",
    ),
    "other expectation": ([b"GET / HTTP/1.1\r\nHost: x\r\nExpect: a cake\r\n\r\n"], b" 417 "),
}


@pytest.mark.parametrize(("parts", "status"), REFUSALS.values(), ids=REFUSALS)
def test_mistake_is_refused_and_the_connection_closed(serving: Any, parts: list[bytes], status: bytes) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(parts[0])
        for part in parts[1:]:
            await asyncio.sleep(0.01)  # so that the pieces are read one by one
            writer.write(part)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1" + status), answer
        assert answer.count(b"\r\nDate: ") == 1
        assert b"Content-Type: text/plain" in answer
        assert served.requests == []

    serving(body)


def test_large_answer_arrives_whole(ask: Any) -> None:
    assert ask(b"GET /large HTTP/1.1\r\n" + CLOSE + b"\r\n").endswith(b"\r\n\r\n" + bytes(8_000_000))


def test_token_is_demanded_but_for_public_paths(serving: Any) -> None:
    async def body(served: Any) -> None:
        tokens = [b"", b"Authorization: Bearer no\r\n", b"Authorization: Bearer yes\r\n"]
        paths = [(b"/x", token) for token in tokens] + [(b"/open", b"")]
        answers = [
            await served.ask(b"GET " + path + b" HTTP/1.1\r\n" + CLOSE + token + b"\r\n") for path, token in paths
        ]
        assert [answer[9:12] for answer in answers] == [b"401", b"401", b"200", b"200"]
        assert b"WWW-Authenticate: Bearer" in answers[0]

    serving(body, token="yes", public=("/open",))


def test_thousand_idle_connections_cost_no_task_and_leave_after_their_time(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        shared, tasks = served.server.shared, len(asyncio.all_tasks())
        pairs = [await served.send() for _ in range(1000)]
        await eventually_async(lambda: len(shared.connections) == 1000, 60)
        assert len(asyncio.all_tasks()) == tasks
        assert b"200 OK" in await served.ask(LAST)
        served.pass_time(11)
        await eventually_async(lambda: not shared.connections, 60)
        for _, writer in pairs:
            writer.close()

    serving(body)


def test_connections_beyond_the_limit_are_told_so(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        _, writer = await served.send()
        await eventually_async(lambda: served.server.shared.connections, 30)
        assert (await served.ask()).startswith(b"HTTP/1.1 503 ")
        writer.close()

    serving(body, Limits(connections=1))


def test_bodies_of_unanswered_requests_are_bounded_together(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        head, shared = b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: 900\r\n\r\n", served.server.shared
        reader, writer = await served.send(head + b"x" * 800)
        await eventually_async(lambda: shared.buffered_bytes == 800, 30)
        assert (await served.ask(head + b"x" * 800)).startswith(b"HTTP/1.1 503 ")
        writer.write(b"x" * 100)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert shared.buffered_bytes == 0

    serving(body, Limits(body_bytes=1000, buffered_bytes=1500))


def test_drain_answers_what_is_in_flight_and_refuses_new_connections(serving: Any, eventually_async: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually_async(lambda: served.requests, 30)
        drained = asyncio.ensure_future(served.server.drain(60))
        await asyncio.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            await served.send(LAST)
        served.go_on.set()
        answer = await reader.read()
        writer.close()
        await drained
        assert answer.endswith(b"[GET /slow ]")
        assert b"Connection: close" in answer

    serving(body)
