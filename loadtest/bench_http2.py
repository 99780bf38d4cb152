"""Just enough HTTP/2 (RFC 9113) to call one gRPC method in a closed loop, faster than a gRPC library could."""

from __future__ import annotations

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WINDOW_BYTES = 2**30
FRAME_BYTES = 16384
TIMEOUT_S = 10.0


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field without indexing, new name (RFC 7541, 6.2.2); lengths below 127."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Http2Client:
    """One connection with one call at a time."""

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": f"127.0.0.1:{port}",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        self._headers = b"".join(_literal(name.encode(), value.encode()) for name, value in fields.items())
        settings = struct.pack(">HI", 4, WINDOW_BYTES)  # SETTINGS_INITIAL_WINDOW_SIZE
        grant = _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_BYTES - 65535))
        self.socket.sendall(PREFACE + _frame(SETTINGS, 0, 0, settings) + grant)
        self._stream = -1
        self._buffer = bytearray()
        self._message = b""
        self._window = 65535
        self._received = 0

    def send(self, message: bytes) -> None:
        """Start a call."""
        self._stream += 2
        body = b"\0" + struct.pack(">I", len(message)) + message
        while self._window < len(body):
            self._absorb(self.socket.recv(65536))
        self._window -= len(body)
        frames = [_frame(HEADERS, END_HEADERS, self._stream, self._headers)]
        for start in range(0, len(body), FRAME_BYTES):
            part = body[start : start + FRAME_BYTES]
            last = start + FRAME_BYTES >= len(body)
            frames.append(_frame(DATA, END_STREAM if last else 0, self._stream, part))
        self.socket.sendall(b"".join(frames))

    def receive(self) -> tuple[int, bytes] | None:
        """Read what there is: 200 and the message where the call has ended with one, 500 where without, else None."""
        data = self.socket.recv(262144)
        if not data:
            raise ConnectionError("the server closed the connection")
        if not self._absorb(data):
            return None
        message, self._message = self._message, b""
        if self._received > WINDOW_BYTES // 2:
            self.socket.sendall(_frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0
        return (200, message[5:]) if message else (500, b"")

    def _absorb(self, data: bytes) -> bool:
        """Take in frames; whether the call has ended."""
        buffer = self._buffer
        buffer += data
        ended = False
        start = 0
        while len(buffer) >= start + 9:
            end = start + 9 + (buffer[start] << 16 | buffer[start + 1] << 8 | buffer[start + 2])
            if len(buffer) < end:
                break
            kind, flags = buffer[start + 3], buffer[start + 4]
            payload = bytes(buffer[start + 9 : end])
            stream = int.from_bytes(buffer[start + 5 : start + 9], "big")
            ended = self._frame(kind, flags, stream, payload) or ended
            start = end
        del buffer[:start]
        return ended

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        if kind == DATA:
            self._message += payload
            self._received += len(payload)
            return bool(flags & END_STREAM)
        if kind == HEADERS:
            return bool(flags & END_STREAM)
        if kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            self.socket.sendall(_frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(_frame(PING, ACK, 0, payload))
        elif kind in (RST_STREAM, GOAWAY):
            raise ConnectionError(f"the server ended the {'call' if kind == RST_STREAM else 'connection'}")
        return False
