"""Where a request ends, by RFC 9112: what a proxy and this server could read differently is refused and the connection
closed, and nothing in a body is ever taken for a request.
"""

from __future__ import annotations

from typing import Any

import pytest

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

AMBIGUOUS = {
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two equal lengths": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    "a signed length": POST + b"Content-Length: +4\r\n\r\nabcd",
    "a negative length": POST + b"Content-Length: -4\r\n\r\nabcd",
    "a length with a space": POST + b"Content-Length: 4 4\r\n\r\nabcd",
    "a space before the colon": POST + b"Content-Length : 4\r\n\r\nabcd",
    "a hexadecimal length": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "a length with an underscore": POST + b"Content-Length: 4_0\r\n\r\nabcd",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551620\r\n\r\nabcd",
    "a folded header": POST + b"X: a\r\n b\r\n\r\n",
    "a folded length": POST + b"Content-Length:\r\n 4\r\n\r\nabcd",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "lines of LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "one line of LF": b"GET / HTTP/1.1\r\nHost: x\nContent-Length: 35\r\n\r\n",
    "headers that end in LF": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "a line of CR": b"GET / HTTP/1.1\r\nHost: x\rContent-Length: 35\r\n\r\n",
    "a CR in a value": POST + b"A: b\rContent-Length: 35\r\n\r\n",
    "a NUL in a value": POST + b"A: b\0c\r\n\r\n",
    "a name that begins with a space": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "a name that is no token": POST + b"A(b: c\r\n\r\n",
    "a line without a colon": POST + b"abc\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two hosts, one of them empty": b"GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no host behind a body": b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    "no host beside an absolute target": b"GET http://x/ HTTP/1.1\r\n\r\n",
    "a host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a host with a port that is none": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "a chunk extension that ends in LF": CHUNKED + b"3;a\nabc\r\n0\r\n\r\n",
    "a chunk extension with CR": CHUNKED + b"3;a\rxx\r\nabc\r\n0\r\n\r\n",
    "a chunk size with a space": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "a chunk size behind a space": CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n",
    "a prefixed chunk size": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "a signed chunk size": CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "no chunk size": CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "a chunk size that ends in LF": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "a chunk that ends in LF": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "a last chunk that ends in LF": CHUNKED + b"3\r\nabc\r\n0\n\n",
    "a length in the trailers": CHUNKED + b"0\r\nContent-Length: 50\r\n\r\n",
    "a coding in the trailers": CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a request in the trailers": CHUNKED + b"0\r\n" + SMUGGLED,
    "a coding that is not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "almost chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "quoted chunked": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked behind a control character": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a second coding line": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "an empty coding": POST + b"Transfer-Encoding: \r\nContent-Length: 3\r\n\r\nabc",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a body that is cut": POST + b"Content-Length: 400\r\n\r\nabc",
    "a target that is no path": b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an asterisk for a GET": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
}
NOT_SERVED = {
    "a coding before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding line before chunked": POST
    + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a tunnel": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel with a body": b"CONNECT / HTTP/1.1\r\nHost: x\r\nContent-Length: 35\r\n\r\n",
    "a method of RTSP": b"DESCRIBE / RTSP/1.0\r\n\r\n",
    "a method of Icecast": b"SOURCE / HTTP/1.1\r\nHost: x\r\n\r\n",
}
WHOLE = {
    "a length": POST + b"Content-Length: 3\r\n\r\nabc",
    "a length behind a tab": POST + b"Content-Length:\t3\r\n\r\nabc",
    "a length before a space": POST + b"Content-Length: 3 \r\n\r\nabc",
    "a length with zeros": POST + b"Content-Length: 0003\r\n\r\nabc",
    "chunks": CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    "chunks in capitals": POST + b"TRANSFER-ENCODING: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "a chunk extension": CHUNKED + b'3;a="b;c"\r\nabc\r\n0\r\n\r\n',
    "trailers": CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n",
    "an empty line before": b"\r\n" + POST + b"Content-Length: 3\r\n\r\nabc",
    "HTTP/1.0": b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
}
OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "two protocols": b"Connection: keep-alive, Upgrade\r\nUpgrade: foo/2, bar\r\n",
    "nothing": b"Connection: Upgrade\r\nUpgrade: \r\n",
}
CLOSE = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def paths(served: Any) -> list[str]:
    return [request.target for request in served.requests]


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("one_by_one", [False, True], ids=["whole", "byte by byte"])
def test_ambiguous_request_is_refused_and_the_connection_closed(serving: Any, sent: bytes, one_by_one: bool) -> None:
    async def body(served: Any) -> None:
        whole = sent + SMUGGLED
        reader, writer = await served.send(*((bytes((byte,)) for byte in whole) if one_by_one else (whole,)))
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert served.requests == []

    serving(body)


@pytest.mark.parametrize("sent", NOT_SERVED.values(), ids=NOT_SERVED)
def test_what_is_not_served_ends_the_connection(serving: Any, sent: bytes) -> None:
    async def body(served: Any) -> None:
        answer = await served.ask(sent + SMUGGLED)
        assert answer.startswith(b"HTTP/1.1 501 "), answer
        assert served.requests == []

    serving(body)


@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE)
def test_body_ends_where_its_framing_says(ask: Any, sent: bytes) -> None:
    answer = ask(sent + CLOSE)
    assert b"[POST / abc]" in answer
    assert b"[GET /last ]" in answer


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("pieces", [1, 2, 1000], ids=["whole", "behind its head", "byte by byte"])
def test_upgrade_is_ignored_and_its_body_kept(serving: Any, offer: bytes, pieces: int) -> None:
    length = b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
    head = b"POST /up HTTP/1.1\r\nHost: x\r\n" + offer + length

    async def body(served: Any) -> None:
        whole = head + SMUGGLED + CLOSE
        parts = [whole] if pieces == 1 else [head, SMUGGLED + CLOSE] if pieces == 2 else [bytes((b,)) for b in whole]
        await served.ask(*parts)
        assert paths(served) == ["/up", "/last"]
        assert served.requests[0].body == SMUGGLED

    serving(body)


def test_upgrade_with_chunks_is_ignored_and_its_body_kept(serving: Any) -> None:
    head = b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + OFFERS["h2c"] + b"\r\n"

    async def body(served: Any) -> None:
        await served.ask(head + b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n" + CLOSE)
        assert paths(served) == ["/up", "/last"]
        assert served.requests[0].body == SMUGGLED

    serving(body)


def test_ambiguous_framing_behind_an_upgrade_is_refused(serving: Any) -> None:
    head = b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + OFFERS["h2c"] + b"\r\n"

    async def body(served: Any) -> None:
        assert (await served.ask(head + b"zz\r\n" + SMUGGLED)).startswith(b"HTTP/1.1 400 ")
        assert served.requests == []

    serving(body)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_upgrade_keeps_the_wish_to_close(serving: Any, version: bytes) -> None:
    offer = b"Connection: close, Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"

    async def body(served: Any) -> None:
        answer = await served.ask(b"POST /up HTTP/" + version + b"\r\nHost: x\r\n" + offer + SMUGGLED)
        assert b"[POST /up abc]" in answer
        assert paths(served) == ["/up"]

    serving(body)


def test_thousands_of_pipelined_upgrades_are_answered(serving: Any) -> None:
    one = b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n\r\nx"

    async def body(served: Any) -> None:
        await served.ask(one * 3000 + CLOSE)
        assert len(served.requests) == 3001

    serving(body)


def test_upgrade_beyond_the_limit_of_a_body_is_refused(ask: Any) -> None:
    head = b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + OFFERS["h2c"] + b"\r\n"
    assert ask(head + b"400\r\n" + bytes(1024) + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://a.example/b?c=d", "/b?c=d"),
        (b"HTTP://a.example:8080/b", "/b"),
        (b"https://a.example", "/"),
        (b"http://a.example?c", "/?c"),
        (b"/b?c=http://d", "/b?c=http://d"),
    ],
)
def test_target_in_absolute_form_is_its_path(serving: Any, target: bytes, path: str) -> None:
    async def body(served: Any) -> None:
        await served.ask(b"GET " + target + b" HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
        assert paths(served) == [path]
        authority = target.split(b"/")[2].partition(b"?")[0].decode() if b"://a" in target else "proxy"
        assert served.requests[0].headers["host"] == authority

    serving(body)


def test_options_of_the_whole_server_are_told(ask: Any) -> None:
    answer = ask(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"\r\nAllow: GET, HEAD, POST, OPTIONS\r\n" in answer


def test_repeated_header_is_joined(serving: Any) -> None:
    async def body(served: Any) -> None:
        await served.ask(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: a\r\nACCEPT: b\r\nConnection: close\r\n\r\n")
        assert served.requests[0].headers["accept"] == "a, b"

    serving(body)
