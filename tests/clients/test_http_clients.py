"""HTTP as the usual clients speak it: Java's HttpClient, curl, Node's fetch, aiohttp, httpx, requests."""

from __future__ import annotations

import asyncio
import gzip
import shutil
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CURL = {
    "its defaults": (),
    "an offer of HTTP/2": ("--http2",),
    "HTTP/1.0": ("--http1.0",),
    "compressed answers": ("--compressed",),
    "an expectation": ("-H", "Expect: 100-continue"),
    "chunks": ("-H", "Transfer-Encoding: chunked"),
    "chunks and an offer of HTTP/2": ("--http2", "-H", "Transfer-Encoding: chunked"),
}
JSON = ("-H", "Content-Type: application/json")


@pytest.mark.parametrize("options", CURL.values(), ids=CURL)
def test_curl(rest: Any, body_file: Path, program: Any, options: tuple[str, ...]) -> None:
    assert rest.is_right(program("curl", "-sS", "--fail", *options, *JSON, "--data-binary", f"@{body_file}", rest.url))


def test_curl_sends_two_requests_behind_an_offer_of_http2(rest: Any, body_file: Path, program: Any) -> None:
    both = program("curl", "-sS", "--fail", "--http2", *JSON, "--data-binary", f"@{body_file}", rest.url, rest.url)
    assert rest.is_right(both[: len(both) // 2])


def test_curl_through_a_proxy_sends_an_absolute_target(rest: Any, body_file: Path, program: Any) -> None:
    options = ("-x", f"http://{rest.address}", "--noproxy", "")
    assert rest.is_right(program("curl", "-sS", "--fail", *options, *JSON, "--data-binary", f"@{body_file}", rest.url))


def test_curl_sends_a_gzip_body(rest: Any, tmp_path: Path, program: Any) -> None:
    (tmp_path / "body.gz").write_bytes(gzip.compress(rest.call.body))
    encoded = ("-H", "Content-Encoding: gzip", "--data-binary", f"@{tmp_path / 'body.gz'}")
    assert rest.is_right(program("curl", "-sS", "--fail", *JSON, *encoded, rest.url))


def test_java_http_client(rest: Any, body_file: Path, program: Any) -> None:
    assert rest.is_right(program("java", HERE / "JavaClient.java", rest.url, body_file))


def test_java_http_client_by_a_transcript_of_its_bytes(rest: Any) -> None:
    """Holds where there is no Java: what HttpClient.newHttpClient() of Java 17 sends for a POST."""
    import socket

    head = (
        f"POST {rest.call.path} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: "
        f"{len(rest.call.body)}\r\nHost: {rest.address}\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
        "Upgrade: h2c\r\nUser-Agent: Java-http-client/17.0.15\r\nContent-Type: application/json\r\n\r\n"
    )
    with socket.create_connection(rest.address.split(":"), timeout=60) as connection:
        connection.sendall(head.encode())
        connection.sendall(rest.call.body)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert rest.is_right(answer.partition(b"\r\n\r\n")[2])


def test_node_fetch(rest: Any, body_file: Path, program: Any) -> None:
    assert rest.is_right(program("node", HERE / "fetch.mjs", rest.url, body_file))


def test_requests(rest: Any) -> None:
    requests = pytest.importorskip("requests", reason="no requests in this environment")
    with requests.Session() as session:
        for _ in range(3):
            answer = session.post(rest.url, data=rest.call.body, headers=rest.headers, timeout=60)
            assert rest.is_right(answer.content)


def test_requests_sends_chunks(rest: Any) -> None:
    requests = pytest.importorskip("requests", reason="no requests in this environment")
    pieces = iter([rest.call.body[:100], rest.call.body[100:]])
    answer = requests.post(rest.url, data=pieces, headers=rest.headers, timeout=60)
    assert rest.is_right(answer.content)


def test_httpx(rest: Any) -> None:
    httpx = pytest.importorskip("httpx", reason="no httpx in this environment")
    with httpx.Client(timeout=60) as client:
        for _ in range(3):
            assert rest.is_right(client.post(rest.url, content=rest.call.body, headers=rest.headers).content)


@pytest.mark.parametrize("options", [{}, {"expect100": True}, {"chunked": True}, {"compress": "gzip"}], ids=str)
def test_aiohttp(rest: Any, options: dict[str, Any]) -> None:
    aiohttp = pytest.importorskip("aiohttp", reason="no aiohttp in this environment")

    async def ask() -> list[bytes]:
        async with aiohttp.ClientSession() as session:

            async def one() -> bytes:
                async with session.post(rest.url, data=rest.call.body, headers=rest.headers, **options) as answer:
                    content: bytes = await answer.read()
                    return content

            return await asyncio.gather(*[one() for _ in range(20)])

    assert all(rest.is_right(answer) for answer in asyncio.run(ask()))


def test_a_client_that_is_missing_is_named(program: Any) -> None:
    assert shutil.which("no-such-client") is None
    with pytest.raises(pytest.skip.Exception, match="no no-such-client on this machine"):
        program("no-such-client")
