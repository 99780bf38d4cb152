"""Decides for each run whether it happens on the event loop or in a thread, by its size and by measured times.

On the event loop nothing is faster, but everybody waits, health checks too. So a run is done there only where one at
least as large was short before. One that takes long makes its size and all larger ones leave the loop at once; they
come back after a row of short runs.
"""

from __future__ import annotations

LONG_RUN_S = 0.010
"""The longest run on the event loop; a thread costs some 50 µs a run."""
RETURN_AFTER = 32
"""Short runs in a row, of a size that once took long, until it may run on the event loop again."""


class RunPlacement:
    """Where the runs of one model happen; a size is the bytes of all inputs."""

    def __init__(self, always: str | None = None) -> None:
        """`always` is `loop` or `thread` where it is not to be decided by measurements."""
        self._always = always
        self._short_bytes = -1
        """The largest size known to be short."""
        self._long_bytes: int | None = None
        """The smallest size that took long, until it has been short RETURN_AFTER times in a row."""
        self._short_runs = 0

    def in_thread(self, size_bytes: int) -> bool:
        """Whether a run of this size goes to a thread."""
        if self._always is not None:
            return self._always == "thread"
        return size_bytes > self._short_bytes

    def ran(self, size_bytes: int, run_s: float) -> None:
        """Learn from a run."""
        if run_s > LONG_RUN_S:
            self._short_runs = 0
            self._long_bytes = size_bytes if self._long_bytes is None else min(self._long_bytes, size_bytes)
            self._short_bytes = min(self._short_bytes, size_bytes - 1)
        elif size_bytes > self._short_bytes:
            if self._long_bytes is not None and size_bytes >= self._long_bytes:
                self._short_runs += 1
                if self._short_runs < RETURN_AFTER:
                    return
                self._long_bytes, self._short_runs = None, 0
            self._short_bytes = size_bytes
