"""An answer on its way to a client that reads slowly: how much is unread, and whether the client reads at all."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios

from serving.transport.limits import Limits, Pace


class UnreadAnswer:
    """What a transport holds because the client doesn't take it, from `pause_writing` to `resume_writing`."""

    def __init__(self, transport: asyncio.WriteTransport, limits: Limits, now_s: float) -> None:
        self._transport = transport
        self._pace = Pace(limits, now_s)
        self.buffered_bytes = transport.get_write_buffer_size()
        """What the server holds in memory for this client."""
        self._unread = self.buffered_bytes + self._in_kernel()

    def add(self, written_bytes: int) -> None:
        """Take note of another answer behind the first."""
        self.buffered_bytes += written_bytes
        self._unread += written_bytes

    def is_too_slow(self, now_s: float) -> bool:
        """Whether the client has read too little since the last look."""
        unread = self._transport.get_write_buffer_size() + self._in_kernel()
        self._pace.move(max(0, self._unread - unread), now_s)
        self._unread = unread
        return self._pace.deadline_s < now_s

    def _in_kernel(self) -> int:
        """Bytes that were handed to the kernel and that the client's has not acknowledged.

        Without them a client on a slow line would seem to stand still while the kernel's megabytes go out.
        """
        sock = self._transport.get_extra_info("socket")
        if sock is None or not hasattr(termios, "TIOCOUTQ"):
            return 0
        try:
            return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
        except OSError:
            return 0
