"""Keeps every request of one block: when it was meant to be sent, when it was, when its answer was whole, and what came
of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from loadtest.raw_times import RIGHT, Table

EXPLAINED = 5
"""Failures and wrong answers whose text is kept."""


@dataclass
class Recorder:
    """Times in nanoseconds of `time.perf_counter_ns`, one row a request, in the order of completion."""

    intended_ns: array[int] = field(default_factory=lambda: array("q"))
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    done_ns: array[int] = field(default_factory=lambda: array("q"))
    outcome: array[int] = field(default_factory=lambda: array("B"))
    user: array[int] = field(default_factory=lambda: array("H"))
    explanations: list[str] = field(default_factory=list)
    capped: bool = False
    """The in-flight cap was reached: the run is void."""

    def add(self, intended_ns: int, sent_ns: int, done_ns: int, outcome: int, why: str = "", user: int = 0) -> None:
        """Keep one request."""
        self.intended_ns.append(intended_ns)
        self.sent_ns.append(sent_ns)
        self.done_ns.append(done_ns)
        self.outcome.append(outcome)
        self.user.append(user)
        if outcome != RIGHT and len(self.explanations) < EXPLAINED:
            self.explanations.append(why)

    def table(self, zero_ns: int, block: int = 0) -> Table:
        """All rows as arrays, the times from `zero_ns`."""
        times = {"intended_us": self.intended_ns, "sent_us": self.sent_ns, "done_us": self.done_ns}
        arrays: Table = {
            name: (np.frombuffer(values, np.int64) - zero_ns) / 1e3 if values else np.zeros(0)
            for name, values in times.items()
        }
        arrays["outcome"] = np.array(self.outcome, np.uint8)
        arrays["user"] = np.array(self.user, np.uint16)
        arrays["block"] = np.full(len(self.outcome), block, np.uint16)
        return arrays


def stacked(tables: Sequence[Table]) -> Table:
    """The rows of several tables in one."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
