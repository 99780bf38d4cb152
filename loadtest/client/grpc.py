"""A gRPC connection for the load generator: unary calls over HTTP/2, from ready-made bytes. Works on plain and gevent
sockets.

Why not grpcio: its gevent mode costs several times a raw socket's processor time for each call, so that the client
would be what is measured. A test holds that both get the same answers. Source: RFC 9113 and gRPC's `PROTOCOL-HTTP2.md`.
"""

from __future__ import annotations

from loadtest.client.http1 import Opener, Socket, has_unread, open_plain
from loadtest.client.requests import Answer, BrokenAnswerError, UnprocessedError
from serving.transport.http2 import frames as h2
from serving.transport.http2.frames import WINDOW_LIMIT, frame
from serving.transport.http2.header_cache import HeaderDecoder, HPACKError


class GrpcConnection:
    """One HTTP/2 connection, one stream at a time; opened on first use, and again after a failure."""

    def __init__(self, host: str, port: int, timeout_s: float = 30.0, opened: Opener | None = None) -> None:
        self.address = (host, port)
        self.timeout_s = timeout_s
        self.opened = opened or open_plain
        self.sock: Socket | None = None

    def connect(self) -> None:
        """Open the connection and exchange the settings, so that their cost falls outside of the clock."""
        self.sock = self.opened(self.address, self.timeout_s)
        self.decoder = HeaderDecoder(list)
        self.waiting = bytearray()
        self.stream = -1
        self.going_away = False
        self.send_window = self.initial_window = 65_535
        self.stream_window = 65_535
        self.received = 0
        self.settled = False
        no_push = (2).to_bytes(2, "big") + (0).to_bytes(4, "big")
        window = (4).to_bytes(2, "big") + WINDOW_LIMIT.to_bytes(4, "big")
        opened = frame(h2.WINDOW_UPDATE, 0, 0, (WINDOW_LIMIT - 65_535).to_bytes(4, "big"))
        self.sock.sendall(h2.CLIENT_PREFACE + frame(h2.SETTINGS, 0, 0, no_push + window) + opened)
        while not self.settled:
            self._take_frame()

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def exchange(self, request: tuple[bytes, list[bytes]]) -> Answer:
        """Call with (header block, DATA payloads), return the answer; raises OSError or BrokenAnswerError, then it is
        closed.
        """
        try:
            self._take_farewell()
            if self.sock is None or self.going_away:
                self.close()
                self.connect()
            try:
                return self._call(*request)
            except UnprocessedError:  # every gRPC client sends it again by itself, once; the clock goes on
                self.close()
                self.connect()
                return self._call(*request)
        except BaseException:  # a killed user leaves half an answer behind as well
            self.close()
            raise

    def _take_farewell(self) -> None:
        """Read what came while nothing was asked: a server that drains says GOAWAY, or has closed already."""
        try:
            while self.sock is not None and not self.going_away and has_unread(self.sock):
                self._take_frame()
        except (OSError, BrokenAnswerError):
            self.close()

    def _call(self, block: bytes, payloads: list[bytes]) -> Answer:
        assert self.sock is not None
        self.stream += 2
        self.stream_window = self.initial_window
        self.headers: list[tuple[str, str]] = []
        self.body, self.ended = b"", False
        stream = self.stream.to_bytes(4, "big")
        out = [len(block).to_bytes(3, "big"), b"\x01\x04", stream, block]
        for index, payload in enumerate(payloads):
            size = len(payload)
            while size > self.send_window or size > self.stream_window:
                self.sock.sendall(b"".join(out))
                out = []
                self._take_frame()
            self.send_window -= size
            self.stream_window -= size
            last = b"\x00\x01" if index == len(payloads) - 1 else b"\x00\x00"
            out += (size.to_bytes(3, "big"), last, stream, payload)
        self.sock.sendall(b"".join(out))
        while not self.ended:
            self._take_frame()
        return self._answer()

    def _answer(self) -> Answer:
        fields = dict(self.headers)
        if fields.get(":status") != "200":
            raise BrokenAnswerError(f"HTTP status {fields.get(':status')} in place of a gRPC answer")
        if "grpc-status" not in fields:
            raise BrokenAnswerError("no grpc-status in the trailers")
        status, body = int(fields["grpc-status"]), self.body
        if status != 0:
            return Answer(status, fields.get("grpc-message", "").encode(), body)
        if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5], "big") != len(body) - 5:
            raise BrokenAnswerError(f"{len(body)} bytes that are not one uncompressed gRPC message")
        return Answer(0, b"", body[5:])

    def _take_frame(self) -> None:
        waiting = self.waiting
        while len(waiting) < 9 or len(waiting) < 9 + int.from_bytes(waiting[:3], "big"):
            self._receive()
        size = int.from_bytes(waiting[:3], "big")
        kind, flags, stream = waiting[3], waiting[4], int.from_bytes(waiting[5:9], "big") & WINDOW_LIMIT
        payload = bytes(waiting[9 : 9 + size])
        del waiting[: 9 + size]
        if kind == h2.DATA:
            self._take_data(flags, stream, payload)
        elif kind == h2.HEADERS:
            self._take_headers(flags, stream, payload)
        else:
            self._take_control(kind, flags, stream, payload)

    def _receive(self) -> None:
        assert self.sock is not None
        data = self.sock.recv(65_536)
        if not data:
            raise BrokenAnswerError("the server closed the connection")
        self.waiting += data

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self.received += len(payload)
        if self.received > WINDOW_LIMIT // 2:
            self._send(frame(h2.WINDOW_UPDATE, 0, 0, self.received.to_bytes(4, "big")))
            self.received = 0
        if stream == self.stream:
            self.body += payload[1 : len(payload) - payload[0]] if flags & h2.PADDED else payload
            self.ended = bool(flags & h2.END_STREAM)

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & h2.PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if flags & h2.PRIORITY:
            payload = payload[5:]
        while not flags & h2.END_HEADERS:
            while len(self.waiting) < 9 or len(self.waiting) < 9 + int.from_bytes(self.waiting[:3], "big"):
                self._receive()
            size = int.from_bytes(self.waiting[:3], "big")
            if self.waiting[3] != h2.CONTINUATION:
                raise BrokenAnswerError("a header block was not continued")
            flags |= self.waiting[4] & h2.END_HEADERS
            payload += bytes(self.waiting[9 : 9 + size])
            del self.waiting[: 9 + size]
        try:
            fields = self.decoder.decode(payload)
        except HPACKError as error:
            raise BrokenAnswerError(f"a header block that can't be read: {error}") from None
        if stream == self.stream:
            self.headers += fields
            self.ended = bool(flags & h2.END_STREAM)

    def _take_control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == h2.SETTINGS and not flags & h2.ACK:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2], "big") == 4:
                    size = int.from_bytes(payload[at + 2 : at + 6], "big")
                    self.stream_window += size - self.initial_window
                    self.initial_window = size
            self.settled = True
            self._send(frame(h2.SETTINGS, h2.ACK, 0, b""))
        elif kind == h2.PING and not flags & h2.ACK:
            self._send(frame(h2.PING, h2.ACK, 0, payload))
        elif kind == h2.WINDOW_UPDATE:
            if stream == 0:
                self.send_window += int.from_bytes(payload, "big")
            elif stream == self.stream:
                self.stream_window += int.from_bytes(payload, "big")
        elif kind == h2.RST_STREAM and stream == self.stream:
            code = int.from_bytes(payload, "big")
            refused = UnprocessedError if code == h2.REFUSED_STREAM else BrokenAnswerError
            raise refused(f"the server reset the stream, code {code}")
        elif kind == h2.GOAWAY:
            self.going_away = True
            if int.from_bytes(payload[:4], "big") & WINDOW_LIMIT < self.stream:
                raise UnprocessedError(f"the server went away, code {int.from_bytes(payload[4:8], 'big')}")

    def _send(self, data: bytes) -> None:
        assert self.sock is not None
        self.sock.sendall(data)
