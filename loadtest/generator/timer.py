"""Sleeps of a greenlet to the microsecond: gevent's own timers are only as fine as epoll's milliseconds.

On Linux a timerfd wakes the event loop; elsewhere gevent's timer is used, and the schedule lag that each result records
shows the cost.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time

import gevent
from gevent.hub import get_hub

CLOCK_MONOTONIC = 1
TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME = 0o4000, 0o2000000, 1


class Timer:
    """One greenlet's alarm clock, on the clock of `time.perf_counter_ns`."""

    def __init__(self) -> None:
        self.descriptor = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.descriptor = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.descriptor >= 0:
            self._watcher = get_hub().loop.io(self.descriptor, 1)

    def sleep_until(self, when_ns: int) -> None:
        """Give way to other greenlets until `time.perf_counter_ns()` is `when_ns`; at least once, even
        if that is past.
        """
        now_ns = time.perf_counter_ns()
        if when_ns <= now_ns:
            gevent.sleep(0)
        elif self.descriptor < 0:
            gevent.sleep((when_ns - now_ns) / 1e9)
        else:
            seconds, nanoseconds = divmod(when_ns, 1_000_000_000)
            setting = struct.pack("llll", 0, 0, seconds, nanoseconds)
            if self._libc.timerfd_settime(self.descriptor, TFD_TIMER_ABSTIME, setting, None) != 0:
                raise OSError(ctypes.get_errno(), "timerfd_settime")
            get_hub().wait(self._watcher)
            os.read(self.descriptor, 8)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.descriptor >= 0:
            self._watcher.close()
            os.close(self.descriptor)
            self.descriptor = -1
