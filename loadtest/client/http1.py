"""An HTTP/1.1 connection for the load generator: sends ready-made bytes, reads one answer. Works on plain and gevent
sockets.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Protocol

from loadtest.client.requests import Answer, BrokenAnswerError

HEAD_LIMIT_BYTES = 65_536


class Unblocked(Protocol):
    """A greenlet's socket, which knows by itself whether something came unasked."""

    unread: bool

    def sendall(self, data: bytes, /) -> None:
        """Send all of `data`."""

    def recv(self, size: int, /) -> bytes:
        """Receive at most `size` bytes."""

    def close(self) -> None:
        """Close it."""


Socket = socket.socket | Unblocked
Opener = Callable[[tuple[str, int], float], Socket]


def open_plain(address: tuple[str, int], timeout_s: float) -> socket.socket:
    """Connect an ordinary socket, which threads use."""
    sock = socket.create_connection(address, timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Http1Connection:
    """One keep-alive connection, one request at a time; opened on first use, and again after a failure."""

    def __init__(self, host: str, port: int, timeout_s: float = 30.0, opened: Opener | None = None) -> None:
        self.address = (host, port)
        self.timeout_s = timeout_s
        self.opened = opened or open_plain
        self.sock: Socket | None = None

    def connect(self) -> None:
        """Open the connection, so that its cost falls outside of the clock."""
        self.sock = self.opened(self.address, self.timeout_s)

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def exchange(self, request: bytes) -> Answer:
        """Send `request`, return the answer; raises OSError or BrokenAnswerError, and then the connection is closed."""
        try:
            if self.sock is not None and has_unread(self.sock):
                self.close()  # the server ended it while nothing was asked, as a draining one does
            if self.sock is None:
                self.connect()
            assert self.sock is not None
            self.sock.sendall(request)
            return self._read_answer(self.sock)
        except BaseException:  # a killed user leaves half an answer behind as well
            self.close()
            raise

    def _read_answer(self, sock: Socket) -> Answer:
        data = sock.recv(65_536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > HEAD_LIMIT_BYTES:
                raise BrokenAnswerError(f"no end of the head within {HEAD_LIMIT_BYTES} bytes")
            data += self._more(sock, "the head")
        head, body = data[:end], data[end + 4 :]
        if data[:7] != b"HTTP/1." or not data[9:12].isdigit():
            raise BrokenAnswerError(f"no HTTP/1.1 status line: {data[:40]!r}")
        lower = head.lower()
        if (at := lower.find(b"\r\ncontent-length:")) >= 0:
            length = int(lower[at + 17 :].split(b"\r\n", 1)[0])
            if length > len(body):
                body = self._fill(sock, body, length)
            if len(body) > length:
                raise BrokenAnswerError(f"{len(body) - length} bytes more than the Content-Length of {length}")
        elif b"\r\ntransfer-encoding: chunked" in lower:
            body = self._chunks(sock, body)
        elif data[9:12] not in (b"204", b"304"):
            raise BrokenAnswerError("neither Content-Length nor chunks")
        if b"\r\nconnection: close" in lower:
            self.close()
        return Answer(int(data[9:12]), head, body)

    def _fill(self, sock: Socket, body: bytes, length: int) -> bytes:
        pieces, missing = [body], length - len(body)
        while missing > 0:
            pieces.append(self._more(sock, "the body"))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def _chunks(self, sock: Socket, data: bytes) -> bytes:
        body = b""
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self._more(sock, "a chunk's size")
            size = int(data[:end].split(b";")[0], 16)
            while len(data) < end + 2 + size + 2:
                data += self._more(sock, "a chunk")
            if size == 0:
                return body
            body += data[end + 2 : end + 2 + size]
            data = data[end + 2 + size + 2 :]

    @staticmethod
    def _more(sock: Socket, part: str) -> bytes:
        data = sock.recv(262_144)
        if not data:
            raise BrokenAnswerError(f"the server closed the connection within {part}")
        return data


def has_unread(sock: Socket) -> bool:
    """Whether something came on an idle connection, its end or a farewell; never waits."""
    if isinstance(sock, socket.socket):
        return bool(select.select([sock], [], [], 0)[0])
    return sock.unread
