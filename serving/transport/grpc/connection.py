"""One HTTP/2 connection of a gRPC server of our own: bytes to frames, frames to calls, within limits.

An idle connection costs its socket and one look a second: no task, no timer of its own. Source: RFC 9113.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

from serving.transport.grpc.call import Shared, read_head
from serving.transport.grpc.calls import WINDOW_BYTES, Calls
from serving.transport.http2 import frames as h2
from serving.transport.http2.frames import ConnectionFault, frame, number, unpadded
from serving.transport.http2.header_cache import HeaderDecoder, HPACKError
from serving.transport.limits import LINGER_S, NEVER

CONNECTION_WINDOW_BYTES = 1 << 24
CONTROL_FRAMES = 2000
"""Pings, resets, settings and the like: more than so many a second from one client are an attack."""
PING_AFTER_S, PING_PATIENCE_S = 300.0, 20.0
"""A connection that was silent for so long is asked whether it still lives."""
NO_HTTP2 = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks gRPC, which needs HTTP/2.\n"


class Block(NamedTuple):
    """A header block that is to be continued."""

    stream: int
    flags: int
    data: bytes


class Connection(asyncio.Protocol):
    """The protocol of one accepted socket."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self._loop = asyncio.get_running_loop()
        self._decoder = HeaderDecoder(read_head, shared.limits.header_bytes)
        self._greeted = self._ended = self._leaving = self._pinged = False
        self._rest = b""
        self._block: Block | None = None
        self._last = 0  # the newest stream
        self._credit = CONNECTION_WINDOW_BYTES
        self._control = 0
        self.heard_s = self.opened_s = self._loop.time()
        self._limit_s = self.heard_s + shared.limits.header_timeout_s  # for what has begun to come

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.calls = Calls(self.shared, self._transport)
        self.shared.connections.add(self)
        if len(self.shared.connections) > self.shared.limits.connections:
            self._end(h2.ENHANCE_YOUR_CALM, f"more than {self.shared.limits.connections} connections: try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self.shared.connections.discard(self)
        self.calls.drop_all()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self.heard_s = self._loop.time()
        if self._rest:
            data = self._rest + data
        try:
            used = self._take_frames(data, 0 if self._greeted else self._greet(data))
        except ConnectionFault as fault:
            self._end(fault.code, str(fault))
            return
        self._rest = data[used:]
        if not self._rest and self._block is None and self._greeted:
            self._limit_s = NEVER
        elif used or self._limit_s == NEVER:  # a frame has begun to come
            self._limit_s = self.heard_s + self.shared.limits.body_timeout_s
        if self._leaving:
            self.leave_if_idle()

    # what comes

    def _greet(self, data: bytes) -> int:
        """Where the frames begin, behind the client's preface, which is answered with ours."""
        limits = self.shared.limits
        if data.startswith(h2.CLIENT_PREFACE):
            self._greeted = True
            values = {
                h2.MAX_CONCURRENT_STREAMS: limits.streams,
                h2.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                h2.MAX_HEADER_LIST_SIZE: limits.header_bytes,
            }
            more = number(CONNECTION_WINDOW_BYTES - h2.DEFAULT_WINDOW)
            self._transport.write(frame(h2.SETTINGS, 0, 0, h2.settings(values)) + frame(h2.WINDOW_UPDATE, 0, 0, more))
            return len(h2.CLIENT_PREFACE)
        if not h2.CLIENT_PREFACE.startswith(data):
            self._say_last(NO_HTTP2)
        return 0

    def _take_frames(self, data: bytes, at: int) -> int:
        """Take every whole frame; where the rest begins."""
        end = len(data) if self._greeted else 0
        while end - at >= 9 and not self._ended:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if size > h2.FRAME_BYTES:
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a frame of {size} bytes: {h2.FRAME_BYTES} are allowed")
            stop = at + 9 + size
            if stop > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & h2.WINDOW_LIMIT
            if self._block is not None and (kind != h2.CONTINUATION or stream != self._block.stream):
                raise ConnectionFault(h2.PROTOCOL_ERROR, "a header block was not continued")
            payload = data[at + 9 : stop]
            at = stop
            if kind == h2.DATA:
                self._take_data(stream, flags, payload)
            elif kind == h2.HEADERS:
                self._take_headers(stream, flags, payload)
            elif kind == h2.CONTINUATION:
                self._continue_block(flags, payload)
            elif kind == h2.WINDOW_UPDATE:
                self.calls.take_window(stream, payload)
            else:
                self._take_control(kind, flags, stream, payload)
        return at

    def _take_headers(self, stream: int, flags: int, payload: bytes) -> None:
        if flags & h2.PADDED:
            payload = unpadded(payload)
        if flags & h2.PRIORITY:
            payload = payload[5:]
        if flags & h2.END_HEADERS:
            self._take_block(stream, flags, payload)
        else:
            self._block = Block(stream, flags, payload)

    def _continue_block(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "nothing is to be continued")
        self._count_control()
        block = self._block._replace(data=self._block.data + payload)
        if len(block.data) > self.shared.limits.header_bytes:
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, f"headers of more than {self.shared.limits.header_bytes} bytes")
        self._block = None if flags & h2.END_HEADERS else block
        if self._block is None:
            self._take_block(block.stream, block.flags, block.data)

    def _take_block(self, stream: int, flags: int, block: bytes) -> None:
        try:
            head = self._decoder.decode(block)  # of a stream that is not looked at, too: the decoder has a memory
        except HPACKError as error:
            raise ConnectionFault(h2.COMPRESSION_ERROR, f"a header block that can't be read: {error}") from None
        whole = bool(flags & h2.END_STREAM)
        if stream > self._last:
            if not stream & 1:
                raise ConnectionFault(h2.PROTOCOL_ERROR, f"a client's stream can't have the number {stream}")
            if not self._leaving:
                self._last = stream
                self.calls.open(stream, head, whole, self.heard_s + self.shared.limits.body_timeout_s)
        elif (known := self.calls.streams.get(stream)) is not None and whole and not known.whole:
            self.calls.complete(known)  # these were its trailers
        else:
            self._count_control()

    def _take_data(self, stream_number: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < CONNECTION_WINDOW_BYTES // 2:
            if self._credit < 0:
                raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "more data than the connection's window allows")
            more, self._credit = CONNECTION_WINDOW_BYTES - self._credit, CONNECTION_WINDOW_BYTES
            self._transport.write(frame(h2.WINDOW_UPDATE, 0, 0, number(more)))
        stream = self.calls.streams.get(stream_number)
        if stream is None or stream.whole:
            if not stream_number or (stream_number > self._last and not self._leaving):
                raise ConnectionFault(h2.PROTOCOL_ERROR, f"data on stream {stream_number}, which is not open")
            self._count_control()
            return
        if flags & h2.PADDED:
            payload = unpadded(payload)
        if payload:
            self.calls.feed(stream, payload, size)
        else:
            self._count_control()
        if stream_number in self.calls.streams:
            if flags & h2.END_STREAM:
                self.calls.complete(stream)
            else:
                self.calls.let_more_come(stream)

    def _take_control(self, kind: int, flags: int, stream_number: int, payload: bytes) -> None:
        self._count_control()
        if kind == h2.RST_STREAM:
            if len(payload) != 4:
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a reset of {len(payload)} bytes")
            if (stream := self.calls.streams.get(stream_number)) is not None:
                self.calls.drop(stream)
            elif not stream_number or (stream_number > self._last and not self._leaving):
                raise ConnectionFault(h2.PROTOCOL_ERROR, f"a reset of stream {stream_number}, which is not open")
        elif kind == h2.SETTINGS:
            if len(payload) % 6 or (flags & h2.ACK and payload):
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"settings of {len(payload)} bytes")
            if not flags & h2.ACK:
                self._take_settings(payload)
        elif kind == h2.PING:
            if len(payload) != 8:
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a ping of {len(payload)} bytes")
            if not flags & h2.ACK:
                self._transport.write(frame(h2.PING, h2.ACK, 0, payload))
        elif kind == h2.PUSH_PROMISE:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a client can't push")

    def _take_settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == h2.INITIAL_WINDOW_SIZE:
                if value > h2.WINDOW_LIMIT:
                    raise ConnectionFault(h2.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
                self.calls.widen(value - self.calls.first_window)
        self._transport.write(frame(h2.SETTINGS, h2.ACK, 0))
        self.calls.send_waiting()

    def _count_control(self) -> None:
        self._control += 1
        if self._control > CONTROL_FRAMES:
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, "too many frames that carry no request")

    # the end

    def look(self, now_s: float, clock_s: float) -> None:
        """Once a second: end what took too long."""
        self._control = 0
        if self._ended:
            if self._limit_s < now_s:
                self.abort()
        elif self._limit_s < now_s:
            self._end(h2.PROTOCOL_ERROR, "what was begun did not come to its end in time")
        elif self.calls.streams:
            self.calls.expire(now_s, clock_s)
        elif now_s - self.heard_s < PING_AFTER_S:
            self._pinged = False
        elif not self._pinged:
            self._pinged = True
            self._transport.write(frame(h2.PING, 0, 0, bytes(8)))
        elif now_s - self.heard_s > PING_AFTER_S + PING_PATIENCE_S:
            self.abort()

    def announce_leave(self) -> None:
        """Ask the client to go elsewhere with new calls; those that come all the same are still taken."""
        self._transport.write(frame(h2.GOAWAY, 0, 0, number(h2.WINDOW_LIMIT) + number(h2.NO_ERROR)))

    def leave(self) -> None:
        """Take no more calls, answer those that are under way, then close."""
        if not self._leaving and not self._ended:
            self._leaving = True
            self._transport.write(frame(h2.GOAWAY, 0, 0, number(self._last) + number(h2.NO_ERROR)))
        self.leave_if_idle()

    def leave_if_idle(self) -> None:
        """Close a connection that is left, once nothing is under way."""
        if self._leaving and not self.calls.streams:
            self._transport.close()

    def _end(self, code: int, reason: str) -> None:
        """Close after a fault, and say why."""
        self._say_last(frame(h2.GOAWAY, 0, 0, number(self._last) + number(code) + reason.encode()))

    def _say_last(self, data: bytes) -> None:
        """Say something, and listen a while before the close, or a reset would eat it."""
        self._ended = True
        self._rest = b""
        self.calls.drop_all()
        self._transport.write(data)
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._limit_s = self._loop.time() + LINGER_S
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
