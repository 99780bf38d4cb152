"""The values of the HTTP layer: requests, responses, the format of errors, and the bytes of a response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol


@dataclass(slots=True)
class Request:
    """One complete request."""

    method: str
    target: str
    """The raw request target with its query, undecoded."""
    headers: dict[str, str]
    """Lower-case names; of a repeated name the last value."""
    body: bytes
    arrival_s: float
    """`time.perf_counter()` when its last byte had come."""


@dataclass(slots=True)
class Response:
    """One complete response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    """Close the connection after this response."""


COPIED_BYTES = 1 << 16
"""A body up to here is joined to its headers: one write costs less than the copy."""
Handler = Callable[[Request], Response | Awaitable[Response]]
"""Answers at once with a Response, or with a coroutine or future that is cancelled when the client goes away."""
Log = Callable[[Request | None, Response], None]
"""Told of every answer; the request is None where there was no complete one."""


class ErrorFormatter(Protocol):
    """Words the errors of a server in the format of its protocol."""

    def refusal(self, status: int, reason: str, request: Request | None) -> Response:
        """The answer to what this layer refuses; the request is None where there was no complete one."""

    def failure(self, error: BaseException, request: Request) -> Response:
        """The answer to an exception that a handler raised."""


class PlainErrors:
    """Errors as plain text, for a server whose protocol says nothing of them."""

    def refusal(self, status: int, reason: str, request: Request | None) -> Response:
        """The reason on a line."""
        return Response(status, f"{reason}\n".encode(), "text/plain; charset=utf-8")

    def failure(self, error: BaseException, request: Request) -> Response:
        """A 500 that names the error's type alone: its text may hold what is none of the client's business."""
        return self.refusal(500, f"internal error ({type(error).__name__})", request)


def encode(response: Response, date: bytes, keep_alive: bool, version: str, head: bool) -> tuple[bytes, ...]:
    """The bytes of a response, a large body apart.

    `date` is a whole header line with its leading CRLF, `head` leaves the body out.
    """
    status, body = response.status, response.body
    lines = _lines(status, response.content_type, response.headers, len(body), keep_alive, version)
    status_line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} ".encode()
    if head or status in (204, 304):
        return (status_line + date + lines,)
    if len(body) > COPIED_BYTES:
        return status_line + date + lines, body
    return (b"".join((status_line, date, lines, body)),)


@lru_cache(256)
def _lines(
    status: int, content_type: str, headers: tuple[tuple[str, str], ...], length: int, keep_alive: bool, version: str
) -> bytes:
    """The header lines between the date and the body: the same for all answers of a kind and a length."""
    has_body = status >= 200 and status not in (204, 304)
    text = f"\r\nContent-Type: {content_type}\r\nContent-Length: {length}" if has_body else ""
    for name, value in headers:
        text += f"\r\n{name}: {value if value.isprintable() else _one_line(value)}"
    if not keep_alive:
        text += "\r\nConnection: close"
    elif version == "1.0":
        text += "\r\nConnection: keep-alive"
    return (text + "\r\n\r\n").encode("latin-1", "replace")


def _one_line(value: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in value)


_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}
_STATUS_LINES[499] = b"HTTP/1.1 499 Client Closed Request"
