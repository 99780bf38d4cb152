"""Heads that come again are not parsed again, and nothing is answered otherwise than by the parser."""

from __future__ import annotations

from typing import Any

import pytest

from serving.transport.http1.head_cache import HEAD_BYTES, HEADS, PATIENCE, HeadCache
from serving.transport.http1.request_reader import Received, RefusedRequest, RequestReader
from serving.transport.limits import Limits

HEAD = b"POST /a?b HTTP/1.1\r\nHost: x\r\nX-Id: 1\r\nContent-Length: 4\r\n\r\n"


class Requests:
    """A cache and the requests that readers with it gave."""

    def __init__(self) -> None:
        self.heads = HeadCache()
        self.received: list[Received] = []
        self.parsed = 0

    def reader(self) -> RequestReader:
        reader = RequestReader(Limits(), self.heads, self.received.append, lambda: None)
        begin = reader.on_message_begin

        def count() -> None:
            self.parsed += 1
            begin()

        reader.on_message_begin = count  # type: ignore[method-assign]
        reader._parser = type(reader._parser)(reader)
        return reader

    def feed(self, *parts: bytes) -> list[tuple[Any, ...]]:
        """What a new connection makes of these bytes."""
        reader, before = self.reader(), len(self.received)
        for part in parts:
            reader.feed(part)
        return [
            (r.request.method, r.request.target, r.request.headers, r.request.body, r.keep_alive, r.version, r.size)
            for r in self.received[before:]
        ]


def test_head_that_comes_again_is_not_parsed_again() -> None:
    requests = Requests()
    first = requests.feed(HEAD + b"abcd")
    again = requests.feed(HEAD + b"efgh")
    assert requests.parsed == 1
    assert again == [(*first[0][:3], b"efgh", True, "1.1", 4)]


def test_known_head_goes_on_on_the_same_connection() -> None:
    requests = Requests()
    reader = requests.reader()
    for body in (b"abcd", b"efgh", b"ijkl"):
        reader.feed(HEAD + body)
    reader.feed(b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [r.request.body for r in requests.received] == [b"abcd", b"efgh", b"ijkl", b""]
    assert requests.parsed == 2


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD + b"abc", b"d"),
        (HEAD, b"abcd"),
        (HEAD[:-1], HEAD[-1:] + b"abcd"),
        (HEAD + b"abcd" + HEAD + b"efgh",),
        (HEAD + b"abcd" + HEAD[:9], HEAD[9:] + b"efgh"),
        (b"POST /d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(HEAD + b"abcd"), HEAD + b"abcd"),
        (b"\r\n" + HEAD + b"abcd",),
    ],
    ids=["body in two", "body later", "head in two", "two at once", "two, the second later", "in a body", "blank line"],
)
def test_bytes_mean_the_same_with_a_known_head_and_without(parts: tuple[bytes, ...]) -> None:
    requests = Requests()
    expected = Requests().feed(*parts)
    requests.feed(HEAD + b"abcd")
    for _ in range(3):
        assert requests.feed(*parts) == expected


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 04\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * HEAD_BYTES + b"\r\nContent-Length: 4\r\n\r\n",
    ],
    ids=["close", "connection", "1.0", "expect", "encoded", "length with a zero", "long"],
)
def test_head_that_says_more_than_its_length_is_always_parsed(head: bytes) -> None:
    requests = Requests()
    for _ in range(3):
        requests.feed(head + b"abcd")
    assert requests.parsed == len(requests.received) == 3


def test_chunked_request_is_always_parsed() -> None:
    requests = Requests()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(3):
        requests.feed(head + b"4\r\nabcd\r\n0\r\n\r\n")
    assert requests.parsed == len(requests.received) == 3


def test_refused_head_is_refused_again() -> None:
    requests = Requests()
    for _ in range(2):
        with pytest.raises(RefusedRequest, match="malformed"):
            requests.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\n\r\nabcd")


def test_headers_that_a_handler_changes_come_whole_again() -> None:
    requests = Requests()
    for _ in range(3):
        requests.feed(HEAD + b"abcd")
        assert requests.received[-1].request.headers.pop("x-id") == "1"


def test_changing_heads_are_bounded_in_number() -> None:
    requests = Requests()
    for number in range(3 * HEADS):
        requests.feed(HEAD.replace(b"X-Id: 1", b"X-Id: %d" % number) + b"abcd")
        assert len(requests.heads._heads) <= PATIENCE + number // PATIENCE + 1
    for _ in range(2 * PATIENCE):
        requests.feed(HEAD + b"abcd")
    assert requests.parsed <= 3 * HEADS + PATIENCE
