"""The bytes that come on an HTTP/2 connection to whole frames, header blocks to one piece. RFC 9113, 3.4 to 6.10."""

from __future__ import annotations

from collections.abc import Callable

from serving.transport.http2 import frames as h2
from serving.transport.http2.frames import ConnectionFault, unpadded

BLOCK_FRAMES = 100
"""The most frames of one header block: empty ones would never end."""
NOT_PLAIN = h2.END_HEADERS | h2.PADDED | h2.PRIORITY
PLAIN_BLOCK = (h2.HEADERS, h2.END_HEADERS)
"""A header block in one frame with nothing around it."""
Take = Callable[[int, int, int, bytes], None]


class NotHttp2Error(Exception):
    """The bytes do not begin as a client's of HTTP/2 do."""


class FrameReader:
    """Gives every whole frame away: kind, flags, stream, payload. A header block comes whole, as one HEADERS."""

    def __init__(self, header_bytes: int, greet: Callable[[], None], take: Take) -> None:
        """`greet` is called behind the client's preface, `take` with every frame."""
        self._header_bytes = header_bytes
        self._greet = greet
        self._take = take
        self._rest = b""
        self._is_greeted = False
        self._block: tuple[int, int, list[bytes]] | None = None
        self.stopped = False
        """No more frames are given away."""

    @property
    def is_partial(self) -> bool:
        """Whether the preface, a frame or a header block is still to come to its end."""
        return bool(self._rest) or self._block is not None or not self._is_greeted

    def feed(self, data: bytes) -> bool:
        """Take bytes as they come: whether a frame became whole; raises ConnectionFault and NotHttp2Error."""
        if self._rest:
            data = self._rest + data
        start = 0 if self._is_greeted else self._read_preface(data)
        used = self._read_frames(data, start) if self._is_greeted else 0
        self._rest = data[used:]
        return used > 0

    def _read_preface(self, data: bytes) -> int:
        if data.startswith(h2.CLIENT_PREFACE):
            self._is_greeted = True
            self._greet()
            return len(h2.CLIENT_PREFACE)
        if not h2.CLIENT_PREFACE.startswith(data):
            raise NotHttp2Error
        return 0

    def _read_frames(self, data: bytes, at: int) -> int:
        """Give every whole frame away; where the rest begins."""
        end = len(data)
        while end - at >= 9 and not self.stopped:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if size > h2.FRAME_BYTES:
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a frame of {size} bytes: {h2.FRAME_BYTES} are allowed")
            stop = at + 9 + size
            if stop > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & h2.WINDOW_LIMIT
            payload = data[at + 9 : stop]
            at = stop
            is_block = kind in (h2.HEADERS, h2.CONTINUATION) and (kind, flags & NOT_PLAIN) != PLAIN_BLOCK
            if is_block or self._block is not None:
                self._read_block(kind, flags, stream, payload)
            else:
                self._take(kind, flags, stream, payload)
        return at

    def _read_block(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Put the pieces of a header block together."""
        if self._block is None:
            if kind == h2.CONTINUATION:
                raise ConnectionFault(h2.PROTOCOL_ERROR, "nothing is to be continued")
            if flags & h2.PADDED:
                payload = unpadded(payload)
            if flags & h2.PRIORITY:
                payload = payload[5:]
            if flags & h2.END_HEADERS:
                self._take(kind, flags, stream, payload)
                return
            self._block = (stream, flags, [])
        elif kind != h2.CONTINUATION or stream != self._block[0]:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a header block was not continued")
        stream, first_flags, pieces = self._block
        pieces.append(payload)
        if sum(map(len, pieces)) > self._header_bytes:
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, f"headers of more than {self._header_bytes} bytes")
        if len(pieces) > BLOCK_FRAMES:
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, f"headers in more than {BLOCK_FRAMES} frames")
        if kind == h2.CONTINUATION and flags & h2.END_HEADERS:
            self._block = None
            self._take(h2.HEADERS, first_flags, stream, b"".join(pieces))
