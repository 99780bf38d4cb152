"""How many requests come together: learned from the runs, so that a batch waits for a crowd and never for nobody.

Clients that wait for their answers come back together, but one by one, a fraction of a millisecond apart; a run that
starts with the first of them costs as much as one for all.
"""

from __future__ import annotations

import os
import time

GAP_S = 0.0003
"""Without an arrival for so long, the crowd is complete."""
PROBE_EVERY = 32
"""Runs between two tries whether the crowd has grown: what is waited for in vain is a gap in so many runs."""


class Crowd:
    """The size of the crowd that a run may wait for; 1 where requests come alone, which waits for nothing."""

    def __init__(self) -> None:
        self.size = 1
        self.last_arrival_s = 0.0
        self._runs_to_probe = 0

    def is_due(self, waiting: int) -> bool:
        """Whether some of the crowd are not back yet and can still be expected."""
        if waiting >= self.size or time.perf_counter() - self.last_arrival_s > GAP_S:
            return False
        os.sched_yield()  # to a client on the same core
        return True

    def ran(self, requests: int) -> None:
        """Learn from a run of so many requests: grow while crowds come, shrink at once when they do not."""
        if requests < self.size:
            self.size, self._runs_to_probe = requests, PROBE_EVERY
        elif requests > 1:
            self._runs_to_probe = self._runs_to_probe - 1 if requests == self.size else 0
            if self._runs_to_probe <= 0:
                self.size = requests + max(1, requests // 2)
