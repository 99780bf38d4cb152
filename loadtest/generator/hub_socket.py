"""A TCP connection for greenlets at a third of the cost of gevent's socket: what the client's ceiling is made of.

gevent's socket starts and stops a watcher, and a timer, around every wait. Here one watcher stays on as long as the
connection lives and switches straight to the greenlet that waits; one look a second finds the waits that took too long.
"""

from __future__ import annotations

import socket
import time
from typing import Any
from weakref import WeakSet

import gevent
from gevent.hub import get_hub
from greenlet import getcurrent

LOOK_S = 1.0


class HubSocket:
    """A connected socket that one greenlet uses at a time."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        connected = socket.create_connection(address, timeout_s)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connected = connected
        self.timeout_s = timeout_s
        self.unread = False
        """Something came while nobody waited: an end, a farewell, or housekeeping of the protocol."""
        self.since_s = 0.0
        self._raw: Any = connected._sock  # type: ignore[attr-defined]
        self._hub = get_hub()
        self._waiter: Any = None
        self._watcher: Any = self._hub.loop.io(connected.fileno(), 1)
        self._watcher.start(self._on_readable)
        _OPEN.add(self)
        _start_looking()

    def sendall(self, data: bytes) -> None:
        """Send all of `data`, waiting where the kernel's buffer is full."""
        try:
            sent = self._raw.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.connected.sendall(memoryview(data)[sent:])

    def recv(self, size: int) -> bytes:
        """What has come, at most `size` bytes, b"" at the end; waits for it. Raises TimeoutError after `timeout_s`."""
        if self.unread:
            self.unread = False
            data: bytes = self._raw.recv(size)
            self._watcher.start(self._on_readable)
            return data
        while True:
            self._waiter = getcurrent()
            self.since_s = time.monotonic()
            try:
                self._hub.switch()
            finally:
                self._waiter = None
            try:
                received: bytes = self._raw.recv(size)
            except BlockingIOError:
                continue
            return received

    def close(self) -> None:
        """Close it."""
        self._watcher.close()
        _OPEN.discard(self)
        self.connected.close()

    def give_up(self, now_s: float) -> None:
        """Raise TimeoutError in the greenlet that has waited longer than `timeout_s`."""
        waiter = self._waiter
        if waiter is not None and now_s - self.since_s > self.timeout_s:
            self._waiter = None
            self._hub.loop.run_callback(waiter.throw, TimeoutError(f"no answer within {self.timeout_s:g} s"))

    def _on_readable(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.switch()
        else:
            self.unread = True
            self._watcher.stop()


_OPEN: WeakSet[HubSocket] = WeakSet()
_LOOKING: list[Any] = []


def _start_looking() -> None:
    if not _LOOKING:
        _LOOKING.append(gevent.spawn(_look))


def _look() -> None:
    while True:
        gevent.sleep(LOOK_S)
        now_s = time.monotonic()
        for sock in list(_OPEN):
            sock.give_up(now_s)
