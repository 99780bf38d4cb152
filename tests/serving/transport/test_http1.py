"""The HTTP layer over real sockets: framing, order, limits, slow and vanished clients, drain."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from serving.transport.http1.messages import Request, Response
from serving.transport.http1.server import HttpServer, serve
from serving.transport.limits import Limits

LIMITS = Limits(
    body_bytes=1000,
    header_bytes=2000,
    header_timeout_s=0.3,
    silence_timeout_s=0.3,
    idle_timeout_s=1.0,
    connections=2000,
)


async def slow(request: Request) -> Response:
    await asyncio.sleep(0.2)
    return Response(200, request.target.encode())


def handler(request: Request) -> Response | Awaitable[Response]:
    if request.target.startswith("/slow"):
        return slow(request)
    if request.target == "/raise":
        raise ValueError("a secret")
    if request.target == "/large":
        return Response(200, b"x" * 3_000_000)
    return Response(200, f"{request.method} {request.target} {len(request.body)}".encode())


def with_server(client: Callable[[int, HttpServer], Awaitable[Any]], limits: Limits = LIMITS, **options: Any) -> Any:
    """Run `client(port, server)` in the loop of a real server."""

    async def both() -> Any:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await serve(handler, [sock], limits, **options)
        try:
            return await client(sock.getsockname()[1], server)
        finally:
            await server.drain(2.0)

    return uvloop.run(both())


async def talk(port: int, *parts: bytes, pause_s: float = 0.0, read_s: float = 1.5) -> bytes:
    """Send the parts, read until the server closes or `read_s` is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause_s)
    answer = b""
    try:
        while data := await asyncio.wait_for(reader.read(65536), read_s):
            answer += data
        answer += b"<closed>"
    except TimeoutError:
        pass
    writer.close()
    return answer


def ask(*parts: bytes, limits: Limits = LIMITS, **options: Any) -> bytes:
    result: bytes = with_server(lambda port, _: talk(port, *parts, **options), limits)
    return result


def test_pipelined_answers_keep_their_order() -> None:
    answer = ask(b"GET /slow1 HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /slow2 HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.index(b"/slow1") < answer.index(b"GET /b 0") < answer.index(b"/slow2")
    assert answer.endswith(b"/slow2<closed>")


def test_chunked_body_arrives_whole() -> None:
    head = b"POST /c HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"POST /c 7" in ask(head, b"3\r\nabc\r\n", b"4\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n", pause_s=0.02)


def test_expectation_is_met_before_the_body() -> None:
    head = b"POST /e HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    answer = ask(head, b"abc", pause_s=0.05)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_head_has_length_and_no_body() -> None:
    answer = ask(b"HEAD /h HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 9\r\n" in answer
    assert answer.endswith(b"\r\n\r\n<closed>")


@pytest.mark.parametrize(("extra", "kept"), [(b"", False), (b"Connection: keep-alive\r\n", True)])
def test_http_1_0_is_kept_alive_only_on_request(extra: bytes, kept: bool) -> None:
    answer = ask(b"GET /o HTTP/1.0\r\n" + extra + b"\r\n", read_s=0.3)
    assert answer.endswith(b"<closed>") is not kept


def test_handler_error_is_a_500_that_tells_no_secret() -> None:
    answer = ask(b"GET /raise HTTP/1.1\r\n\r\nGET /n HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert b"GET /n 0" in answer


REFUSALS = {
    "no http": ([b"\x16\x03\x01\x02\x00 hello\r\n\r\n"], b" 400 "),
    "unknown method": ([b"FOO / HTTP/1.1\r\n\r\n"], b" 400 "),
    "http 0.9": ([b"GET /\r\n\r\n"], b" 505 "),
    "declared body": ([b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"], b" 413 "),
    "chunked body": (
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"190\r\n" + b"x" * 400 + b"\r\n"] * 3],
        b" 413 ",
    ),
    "one long header": ([b"GET / HTTP/1.1\r\nA: " + b"x" * 2500 + b"\r\n\r\n"], b" 431 "),
    "endless headers": ([b"GET / HTTP/1.1\r\n", *[b"A: " + b"x" * 700 + b"\r\n"] * 5], b" 431 "),
    "endless trailers": (
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", *[b"A: " + b"x" * 700 + b"\r\n"] * 5],
        b" 431 ",
    ),
    "other expectation": ([b"GET / HTTP/1.1\r\nExpect: a cake\r\n\r\n"], b" 417 "),
}


@pytest.mark.parametrize("mistake", REFUSALS)
def test_mistake_is_refused_and_the_connection_closed(mistake: str) -> None:
    parts, status = REFUSALS[mistake]
    answer = ask(*parts, pause_s=0.02, read_s=4)
    assert answer.startswith(b"HTTP/1.1" + status), answer
    assert answer.count(b"\r\nDate: ") == 1
    assert b"Content-Type: text/plain" in answer
    assert answer.endswith(b"<closed>")


def test_large_answer_reaches_a_slow_reader_whole() -> None:
    assert len(ask(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")) > 3_000_000


def test_token_is_demanded_but_for_public_paths() -> None:
    async def client(port: int, server: HttpServer) -> list[bytes]:
        close = b" HTTP/1.1\r\nConnection: close\r\n"
        tokens = [b"", b"Authorization: Bearer no\r\n", b"Authorization: Bearer yes\r\n"]
        paths = [(b"/x", token) for token in tokens] + [(b"/open", b"")]
        return [(await talk(port, b"GET " + path + close + token + b"\r\n"))[9:12] for path, token in paths]

    assert with_server(client, token="yes", public=("/open",)) == [b"401", b"401", b"200", b"200"]


def test_thousand_idle_connections_cost_no_task_and_leave_after_their_time(eventually_async: Any) -> None:
    async def client(port: int, server: HttpServer) -> tuple[int, int, bytes, int]:
        tasks = len(asyncio.all_tasks())
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1000)]
        answer = await talk(port, b"GET /n HTTP/1.1\r\nConnection: close\r\n\r\n")
        held, more_tasks = len(server.shared.connections), len(asyncio.all_tasks()) - tasks
        await eventually_async(lambda: not server.shared.connections, within_s=30)
        for _, writer in pairs:
            writer.close()
        return held, more_tasks, answer, len(server.shared.connections)

    held, more_tasks, answer, left = with_server(client)
    assert (held, more_tasks, left) == (1000, 0, 0)
    assert b"200 OK" in answer


def test_connections_beyond_the_limit_are_told_so() -> None:
    async def client(port: int, server: HttpServer) -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await talk(port, b"GET / HTTP/1.1\r\n\r\n")
        writer.close()
        return answer

    assert b" 503 " in with_server(client, Limits(connections=1))


def test_bodies_of_unanswered_requests_are_bounded_together() -> None:
    async def client(port: int, server: HttpServer) -> tuple[bytes, bytes, int]:
        head = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 900\r\n\r\n"
        first = asyncio.ensure_future(talk(port, head + b"x" * 800, b"x" * 100, pause_s=0.15))
        await asyncio.sleep(0.05)
        second = await talk(port, head + b"x" * 800)
        slow = b"POST /slow HTTP/1.1\r\nContent-Length: 900\r\n\r\n" + b"x" * 900
        await asyncio.gather(talk(port, slow, read_s=0.05), talk(port, slow, read_s=0.4))
        return await first, second, server.shared.buffered_bytes

    first, second, left = with_server(client, Limits(body_bytes=1000, buffered_bytes=1500))
    assert b" 200 OK" in first
    assert b" 503 " in second
    assert left == 0


def test_drain_answers_what_is_in_flight_and_refuses_new_connections() -> None:
    async def client(port: int, server: HttpServer) -> tuple[bytes, float]:
        pending = asyncio.ensure_future(talk(port, b"GET /slow HTTP/1.1\r\n\r\n"))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await server.drain(5.0)
        took = time.monotonic() - began
        with pytest.raises(ConnectionRefusedError):
            await talk(port, b"GET / HTTP/1.1\r\n\r\n")
        return await pending, took

    answer, took = with_server(client)
    assert answer.endswith(b"/slow<closed>")
    assert b"Connection: close" in answer
    assert took < 4
