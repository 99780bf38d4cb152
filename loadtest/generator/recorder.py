"""Keeps every request of one run: when it was meant to be sent, when it was, when its answer was whole, and what came
of it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from loadtest.raw_times import RIGHT

EXPLAINED = 5
"""Failures and wrong answers whose text is kept."""


@dataclass
class Recorder:
    """Times in nanoseconds of `time.perf_counter_ns`, one row a request, in the order of completion."""

    intended_ns: array[int] = field(default_factory=lambda: array("q"))
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    done_ns: array[int] = field(default_factory=lambda: array("q"))
    outcome: array[int] = field(default_factory=lambda: array("B"))
    explanations: list[str] = field(default_factory=list)
    capped: bool = False
    """The in-flight cap was reached: the run is void."""

    def add(self, intended_ns: int, sent_ns: int, done_ns: int, outcome: int, why: str = "") -> None:
        """Keep one request."""
        self.intended_ns.append(intended_ns)
        self.sent_ns.append(sent_ns)
        self.done_ns.append(done_ns)
        self.outcome.append(outcome)
        if outcome != RIGHT and len(self.explanations) < EXPLAINED:
            self.explanations.append(why)

    def table(self, start_ns: int) -> dict[str, np.ndarray]:
        """All rows as arrays: `intended_us`, `sent_us`, `done_us` (float64, microseconds from `start_ns`), `outcome`
        (uint8).
        """
        times = {"intended_us": self.intended_ns, "sent_us": self.sent_ns, "done_us": self.done_ns}
        arrays: dict[str, np.ndarray] = {
            name: (np.frombuffer(values, np.int64) - start_ns) / 1e3 if values else np.zeros(0)
            for name, values in times.items()
        }
        arrays["outcome"] = np.frombuffer(self.outcome, np.uint8).copy() if self.outcome else np.zeros(0, np.uint8)
        return arrays
