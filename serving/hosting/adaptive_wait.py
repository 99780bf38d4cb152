"""Estimates how many requests arrive together, so that a batch waits only while more are likely.

Clients that wait for their answers send the next request together, but a fraction of a millisecond apart; a run that
starts with the first of them costs as much as one for all.
"""

from __future__ import annotations

GAP_S = 0.0003
"""Without an arrival for so long, nobody else is coming."""
PROBE_EVERY = 32
"""Runs between two tries whether more requests arrive together than before: a wait in vain is one in so many runs."""


class ArrivalEstimator:
    """The number of requests that a run may wait for; 1 where requests arrive alone, so that nothing waits."""

    def __init__(self) -> None:
        self.expected = 1
        self._last_arrival_s = 0.0
        self._runs_to_probe = 0

    def arrived(self, now_s: float) -> None:
        """Note that a request has arrived."""
        self._last_arrival_s = now_s

    def is_waiting_worthwhile(self, queued: int, now_s: float) -> bool:
        """Whether more requests than the `queued` ones are expected, and can still be on their way."""
        return queued < self.expected and now_s - self._last_arrival_s <= GAP_S

    def ran(self, requests: int) -> None:
        """Learn from a run of so many requests: expect more while more arrive, and fewer as soon as fewer do."""
        if requests < self.expected:
            self.expected, self._runs_to_probe = requests, PROBE_EVERY
        elif requests > 1:
            self._runs_to_probe = self._runs_to_probe - 1 if requests == self.expected else 0
            if self._runs_to_probe <= 0:
                self.expected = requests + max(1, requests // 2)
