"""One HTTP/2 connection of a gRPC server: frames to calls, within limits. Source: RFC 9113.

An idle connection costs its socket and one look a second: no task, no timer of its own.
"""

from __future__ import annotations

import asyncio
from typing import cast

from serving.transport.grpc.call import Shared, read_head
from serving.transport.grpc.calls import WINDOW_BYTES, Calls
from serving.transport.http2 import frames as h2
from serving.transport.http2.frame_reader import FrameReader, NotHttp2Error
from serving.transport.http2.frames import ConnectionFault, frame, number, unpadded
from serving.transport.http2.header_cache import HeaderDecoder, HPACKError
from serving.transport.limits import LINGER_S, NEVER, Pace
from serving.transport.unread import UnreadAnswer

CONNECTION_WINDOW_BYTES = 1 << 24
CONTROL_FRAMES = 2000
"""Resets, settings, pings beside no call and the like: more than so many a second from one client are an attack."""
PING_AFTER_S, PING_PATIENCE_S = 300.0, 20.0
"""A connection that was silent for so long is asked whether it still lives."""
NO_HTTP2 = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks gRPC, which needs HTTP/2.\n"


class Connection(asyncio.Protocol):
    """The protocol of one accepted socket. A client that sends no more is taken as gone: none reads on after that."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.unread: UnreadAnswer | None = None
        """What waits for a client that reads slower than it is answered."""
        self._reader = FrameReader(shared.limits.header_bytes, self._greet, self._take_frame)
        self._decoder = HeaderDecoder(read_head, shared.limits.header_bytes)
        self._ended = self._leaving = self._pinged = False
        self._last = 0  # the newest stream
        self._credit = CONNECTION_WINDOW_BYTES
        self._control = self._pings = 0  # in this second
        self.heard_s = self.opened_s = shared.now_s()
        self._deadline_s = self.heard_s + shared.limits.header_timeout_s  # of what has begun to come
        self._pace: Pace | None = None  # of a frame that has begun to come

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.calls = Calls(self.shared, self._write)
        self.shared.connections.add(self)
        if len(self.shared.connections) > self.shared.limits.connections:
            self._end(h2.ENHANCE_YOUR_CALM, f"more than {self.shared.limits.connections} connections: try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self.shared.connections.discard(self)
        self._forget_unread()
        self.calls.drop_all()

    def pause_writing(self) -> None:
        self._transport.pause_reading()
        self.unread = UnreadAnswer(self._transport, self.shared.limits, self.shared.now_s())
        self.shared.buffered_bytes += self.unread.buffered_bytes
        self.calls.block()

    def resume_writing(self) -> None:
        self._forget_unread()
        self._pace = None
        if self._deadline_s != NEVER and not self._ended:  # its client could not send
            self._deadline_s = self.shared.now_s() + self.shared.limits.silence_timeout_s
        self._transport.resume_reading()
        self.calls.unblock()

    def _forget_unread(self) -> None:
        if self.unread is not None:
            self.shared.buffered_bytes -= self.unread.buffered_bytes
            self.unread = None

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
        if self.unread is not None:
            self.unread.add(len(data))
            self.shared.buffered_bytes += len(data)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self.heard_s = self.shared.now_s()
        try:
            moved_on = self._reader.feed(data)
        except NotHttp2Error:
            self._say_last(NO_HTTP2)
            return
        except ConnectionFault as fault:
            self._end(fault.code, str(fault))
            return
        self._bound_partial(len(data), moved_on)
        if self._leaving:
            self.leave_if_idle()

    # what comes

    def _greet(self) -> None:
        """Answer the client's preface with ours."""
        limits = self.shared.limits
        values = {
            h2.MAX_CONCURRENT_STREAMS: limits.streams,
            h2.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
            h2.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
        more = number(CONNECTION_WINDOW_BYTES - h2.DEFAULT_WINDOW)
        self._write(frame(h2.SETTINGS, 0, 0, h2.settings(values)) + frame(h2.WINDOW_UPDATE, 0, 0, more))
        self._deadline_s = NEVER

    def _bound_partial(self, came_bytes: int, moved_on: bool) -> None:
        """Bound the time of a frame or a header block that isn't whole yet; that of the preface runs from the start."""
        if not self._reader.is_partial:
            self._pace, self._deadline_s = None, NEVER
        elif self._pace is not None or self._deadline_s == NEVER:
            if moved_on or self._pace is None:
                self._pace = Pace(self.shared.limits, self.heard_s)
            self._pace.move(came_bytes, self.heard_s)
            self._deadline_s = self._pace.deadline_s

    def _take_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == h2.DATA:
            self._take_data(stream, flags, payload)
        elif kind == h2.HEADERS:
            self._take_headers(stream, flags, payload)
        elif kind == h2.WINDOW_UPDATE:
            self.calls.take_window(stream, payload)
        elif kind == h2.PING:
            self._take_ping(flags, payload)
        else:
            self._take_control(kind, flags, stream, payload)

    def _take_headers(self, stream: int, flags: int, block: bytes) -> None:
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
                self.calls.open(stream, head, whole)
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
            self._write(frame(h2.WINDOW_UPDATE, 0, 0, number(more)))
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
                self.calls.let_more_come(stream, size)

    def _take_ping(self, flags: int, payload: bytes) -> None:
        """Answer a ping. Clients measure a line by pings beside their calls, grpc-go with every answer: as many pings
        as pieces of requests and answers are no attack, more are counted.
        """
        self._pings += 1
        if self._pings > self.calls.transfers:
            self._count_control()
        if len(payload) != 8:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a ping of {len(payload)} bytes")
        if not flags & h2.ACK:
            self._write(frame(h2.PING, h2.ACK, 0, payload))

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
        elif kind == h2.PUSH_PROMISE:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a client can't push")

    def _take_settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == h2.INITIAL_WINDOW_SIZE:
                if value > h2.WINDOW_LIMIT:
                    raise ConnectionFault(h2.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
                self.calls.widen(value - self.calls.first_window)
        self._write(frame(h2.SETTINGS, h2.ACK, 0))
        self.calls.send_waiting()

    def _count_control(self) -> None:
        self._control += 1
        if self._control > CONTROL_FRAMES:
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, "too many frames that carry no request")

    # the end

    def check_timeouts(self, now_s: float) -> None:
        """End what takes too long, and begin to count control frames anew: once a second."""
        self._control = self._pings = self.calls.transfers = 0
        if self._ended:
            if self._deadline_s < now_s:
                self.abort()
        elif self.unread is not None:
            if self.unread.is_too_slow(now_s):
                self.abort()
        elif self._deadline_s < now_s:
            self._end(h2.PROTOCOL_ERROR, "what was begun did not come to its end in time")
        elif self.calls.streams:
            self.calls.check_timeouts(now_s)
        elif now_s - self.heard_s < PING_AFTER_S:
            self._pinged = False
        elif not self._pinged:
            self._pinged = True
            self._write(frame(h2.PING, 0, 0, bytes(8)))
        elif now_s - self.heard_s > PING_AFTER_S + PING_PATIENCE_S:
            self.abort()

    def announce_leave(self) -> None:
        """Ask the client to go elsewhere with new calls; those that come all the same are still taken."""
        if not self._ended:
            self._write(frame(h2.GOAWAY, 0, 0, number(h2.WINDOW_LIMIT) + number(h2.NO_ERROR)))

    def leave(self) -> None:
        """Take no more calls, answer those that are under way, then close."""
        if not self._leaving and not self._ended:
            self._leaving = True
            self._write(frame(h2.GOAWAY, 0, 0, number(self._last) + number(h2.NO_ERROR)))
        self.leave_if_idle()

    def leave_if_idle(self) -> None:
        """Close a connection that is left, once nothing is under way."""
        if (self._leaving or self._ended) and not self.calls.streams:
            self._transport.close()

    def _end(self, code: int, reason: str) -> None:
        """Close after a fault, and say why."""
        self._say_last(frame(h2.GOAWAY, 0, 0, number(self._last) + number(code) + reason.encode()))

    def _say_last(self, data: bytes) -> None:
        """Say something, and listen a while before the close, or a reset would eat it."""
        self._ended = self._reader.stopped = True
        self.calls.drop_all()
        self._write(data)
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._deadline_s = self.shared.now_s() + LINGER_S
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
