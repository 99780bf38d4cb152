"""The bytes of one connection to whole requests: framed as RFC 9112 says, within limits.

llhttp parses (httptools), strictly. What it lets pass though a proxy in front may frame it otherwise is refused here,
with status 400 or 501 and the end of the connection: nothing in a body may ever be taken for a request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

import httptools

from serving.transport.http1.head_cache import HeadCache
from serving.transport.http1.messages import Request
from serving.transport.limits import Limits
from serving.transport.offload import LONG_BYTES

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"))
"""Methods that a handler sees; llhttp knows those of RTSP and WebDAV too, and CONNECT, which begins a tunnel."""
ABSOLUTE = re.compile(r"(?i)https?://([^/?#]*)([^#]*)")
AUTHORITY = re.compile(r"(?:[\w.~!$&'()*+,;=%-]*|\[[\w.:~!$&'()*+;=%-]+\])(?::\d*)?", re.ASCII)
"""A host and a port, as RFC 3986 writes them."""
CHUNK_FRAMING_BYTES = 32
"""Allowed for the size line of each chunk."""


class RefusedRequest(Exception):  # noqa: N818 - a refusal, with a status
    """A request that is answered by this layer, before the connection is closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Received(NamedTuple):
    """A request that has come to its end."""

    request: Request
    keep_alive: bool
    version: str
    size: int
    """Bytes of the body."""
    parts: list[bytes]
    """The pieces of a large body that are still to be joined; empty where `request.body` is whole."""


class RequestReader:
    """Feeds httptools and is fed by it."""

    def __init__(
        self, limits: Limits, heads: HeadCache, take: Callable[[Received], None], expect: Callable[[], None]
    ) -> None:
        """`take` gets every whole request, `expect` is called where a client waits for 100 Continue."""
        self._limits = limits
        self._heads = heads
        self._take = take
        self._expect = expect
        self._parser = httptools.HttpRequestParser(self)
        self.reading = False
        """A request has begun and not ended."""
        self.in_headers = False
        self.body_bytes = 0
        """Of the request that is being read."""
        self._resuming = self._ends_at_headers = False
        self._started = False  # the request began in the bytes being fed
        self._fed = b""  # the bytes being fed, where no request had begun before them
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head_bytes = self._overhead_bytes = 0
        self._version = "1.1"
        self._host = ""
        """The Host of a request before, found to be right: a client sends the same one with each."""

    @property
    def in_body(self) -> bool:
        """Whether what comes next belongs to a body."""
        return self.reading and not self.in_headers

    def feed(self, data: bytes) -> None:
        """Take bytes as they come; raises RefusedRequest."""
        if self.reading:
            self._fed = b""
        elif (known := self._heads.find(data)) is not None:
            self._take(Received(known, True, "1.1", len(known.body), []))
            return
        else:
            self._fed = data
        fed_bytes = len(data)
        while data:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._ignore_upgrade()
            except httptools.HttpParserCallbackError as error:
                raise error.__context__ or error from None
            except httptools.HttpParserError as error:
                raise RefusedRequest(400, f"malformed HTTP request: {error}") from None
        if self.reading:
            self._bound_overhead(fed_bytes)
        self._started = False

    def drop_body(self) -> None:
        """Forget what has come of a body."""
        self._body = []
        self.body_bytes = 0

    # httptools

    def on_message_begin(self) -> None:
        if not self._resuming:
            self.reading = self.in_headers = self._started = True
            self._url = b""
            self._headers = {}
            self._body = []
            self.body_bytes = self._head_bytes = self._overhead_bytes = 0

    def on_url(self, url: bytes) -> None:
        if not self._resuming:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self.in_headers:  # trailers are counted and dropped
            headers, key = self._headers, name.lower().decode("latin-1")
            if key in headers:  # RFC 9110, 5.3
                headers[key] += f", {value.decode('latin-1')}"
            else:
                headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._resuming:
            return
        self.in_headers = False
        headers, limits, parser = self._headers, self._limits, self._parser
        self._version = parser.get_http_version()
        if self._head_bytes + len(self._url) > limits.header_bytes:
            raise RefusedRequest(431, f"request line and headers have more than {limits.header_bytes} bytes")
        if self._version not in ("1.1", "1.0"):
            raise RefusedRequest(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        if parser.get_method() not in METHODS:
            raise RefusedRequest(501, f"the method {parser.get_method().decode('latin-1')} is not served here")
        if headers.get("host") != self._host:
            self._check_host(headers.get("host"))
        if "transfer-encoding" in headers:
            self._check_coding(headers["transfer-encoding"])
        elif "content-length" in headers and int(headers["content-length"]) > limits.body_bytes:
            length = headers["content-length"].strip()
            raise RefusedRequest(413, f"the body has {length} bytes, the limit is {limits.body_bytes}")
        if "upgrade" in headers:  # httptools would end the request here
            has_body = "transfer-encoding" in headers or int(headers.get("content-length", 0)) > 0
            self._ends_at_headers = has_body and parser.should_upgrade()
        if "expect" in headers:
            self._meet_expectation(headers["expect"])

    def on_chunk_header(self) -> None:
        self._overhead_bytes -= CHUNK_FRAMING_BYTES

    def on_body(self, body: bytes) -> None:
        size = len(body)
        self.body_bytes += size
        self._overhead_bytes -= size
        if self.body_bytes > self._limits.body_bytes:
            raise RefusedRequest(413, f"the body has more than {self._limits.body_bytes} bytes")
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._ends_at_headers:
            return  # the body follows, see _ignore_upgrade
        self.reading = False
        parser, parts, size = self._parser, self._body, self.body_bytes
        self._body, self.body_bytes = [], 0
        if len(parts) == 1:
            body, parts = parts[0], []
        elif size < LONG_BYTES:
            body, parts = b"".join(parts), []
        else:
            body = b""
        headers, method = self._headers, parser.get_method().decode("ascii")
        target = self._url.decode("latin-1")
        if target[:1] != "/":
            target = self._to_path(target, method)
        request = Request(method, target, headers, body, time.perf_counter())
        keep_alive = parser.should_keep_alive()
        if self._fed and keep_alive and self._version == "1.1" and not parts:
            self._heads.learn(self._fed, request, size)
        self._take(Received(request, keep_alive, self._version, size, parts))

    # what llhttp lets pass

    def _check_host(self, host: str | None) -> None:
        """Refuse a Host that is missing in HTTP/1.1, repeated, or no host: RFC 9112, 3.2."""
        if host is None:
            if self._version == "1.1":
                raise RefusedRequest(400, "malformed HTTP request: there is no Host")
            return
        if ", " in host:
            raise RefusedRequest(400, "malformed HTTP request: more than one Host")
        if not AUTHORITY.fullmatch(host):
            raise RefusedRequest(400, f"malformed HTTP request: the Host {host[:100]!r} is none")
        self._host = host

    def _check_coding(self, coding: str) -> None:
        """Refuse what is not `chunked` alone: RFC 9112, 6.1 and 6.3."""
        if self._version == "1.0":
            raise RefusedRequest(400, "malformed HTTP request: HTTP/1.0 has no Transfer-Encoding")
        codings = [name.strip(" \t").lower() for name in coding.split(",")]
        if codings[-1] != "chunked":
            raise RefusedRequest(400, "malformed HTTP request: the last Transfer-Encoding is not chunked")
        if codings != ["chunked"]:
            raise RefusedRequest(501, f"Transfer-Encoding {coding[:50]!r} is not served here: use chunked alone")

    def _to_path(self, target: str, method: str) -> str:
        """The path of a target in absolute form (RFC 9112, 3.2.2), whose authority takes the place of Host."""
        if target == "*" and method == "OPTIONS":
            return target
        match = ABSOLUTE.fullmatch(target)
        if match is None or not match[1]:
            raise RefusedRequest(400, f"malformed HTTP request: the target {target[:100]!r} is no path")
        self._headers["host"] = match[1]
        return match[2] if match[2].startswith("/") else f"/{match[2]}"

    def _meet_expectation(self, expectation: str) -> None:
        if expectation.lower() != "100-continue":
            raise RefusedRequest(417, "the only expectation that is met is 100-continue")
        if self._version == "1.1":
            self._expect()

    def _ignore_upgrade(self) -> None:
        """Go on in HTTP/1.1 behind a request that offered another protocol: RFC 9110, 7.8 leaves that to the server.

        httptools has ended the request at its headers. Where it has a body, another parser reads that behind a head
        that has the same framing and offers nothing.
        """
        old, self._parser = self._parser, httptools.HttpRequestParser(self)
        if not self._ends_at_headers:
            return
        self._ends_at_headers = False
        framing = [name for name in ("content-length", "transfer-encoding") if name in self._headers]
        lines = "".join(f"{name}: {self._headers[name]}\r\n" for name in framing)
        for token in self._headers["connection"].split(","):
            if token.strip().lower() in ("close", "keep-alive"):
                lines += f"connection: {token.strip()}\r\n"
        self._resuming, self.in_headers = True, False
        self._parser.feed_data(f"{old.get_method().decode()} / HTTP/{self._version}\r\n{lines}\r\n".encode("latin-1"))
        self._resuming = False

    def _bound_overhead(self, fed_bytes: int) -> None:
        """Bound the bytes of a request that are none of its body."""
        if self._started:  # these bytes may hold the end of the request before, too
            self._overhead_bytes = 0
            return
        self._overhead_bytes += fed_bytes
        if self._overhead_bytes > self._limits.header_bytes:
            what = "request line and headers" if self.in_headers else "chunk framing and trailers"
            raise RefusedRequest(431, f"{what} have more than {self._limits.header_bytes} bytes")
