"""How many blocks each endpoint gets under each scenario, how long they are, and at which rate: from what a probe found
and the time that there is. Pure.

A block lasts a fraction of a second, or some cycles of a slow model. Every run gets the same time, as far as whole
blocks allow; one whose block does not fit into the time at all is left out and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from loadtest.analysis.schedule import Blocks, Schedule
from loadtest.analysis.schema import OpenLoad
from loadtest.scenarios import Burst, Closed, Offline, Open, Profile, Scenario, at_rate

OPEN_SHARE = 0.5
"""Of the weakest endpoint's capacity: the rate that all endpoints get."""
CYCLES = 4
"""Cycles of a user in a block, as far as LONGEST_S allows; then its window closes at an answer all the same."""
LONGEST_S = 2.0
REQUESTS = 25
"""Requests of an open block, as far as LONGEST_S allows."""
LEAD_IN_S, LONGEST_LEAD_IN_S = 0.04, 0.3
OVERHEAD_S = 0.03
"""Between two blocks: the clocks of the processes are read, the rows put away."""
HALF = ("closed-8", "burst", "offline")
"""Scenarios that no question is answered from get half of the time, and go first where there is none."""


@dataclass(frozen=True)
class Probe:
    """What an endpoint showed in its warm-up."""

    capacity_rps: float
    """Answers per second with 8 users."""
    alone_s: float
    """Median latency of a single user."""

    def cycle_s(self, users: int) -> float:
        """From one answer of a user to its next, among so many."""
        return max(self.alone_s, users / self.capacity_rps)


@dataclass(frozen=True)
class Candidate:
    """A scenario at an endpoint before its blocks are counted."""

    endpoint: str
    scenario: Scenario
    lead_in_s: float
    cost_s: float
    """Of one block."""
    weight: float = field(default=1.0)


def starts_for(profile: Profile, endpoints: int) -> int:
    """Starts of every server: few endpoints need more of them to show what a start varies by."""
    if profile.name == "smoke":
        return profile.starts
    return max(profile.starts, min(6, 1 + -(-10 // max(1, endpoints))))


def plan_blocks(
    profile: Profile, probes: Mapping[str, Probe], budget_s: float, starts: int, rate_rps: float = 0.0
) -> Schedule:
    """Fill `budget_s`, the time of one start, with blocks; `rate_rps` is what the user asks for, 0 for nothing."""
    load = open_load(probes, rate_rps)
    candidates = [
        _candidate(name, at_rate(scenario, load.rate_rps), probe)
        for name, probe in probes.items()
        for scenario in profile.scenarios
    ]
    counts = _counts(candidates, budget_s, profile.most_blocks)
    blocks: dict[str, list[Blocks]] = {name: [] for name in probes}
    for candidate, count in zip(candidates, counts, strict=True):
        reason = (
            ""
            if count
            else f"no time: a block takes {candidate.cost_s:.1f} s, and a start has {budget_s:.0f} s for all"
        )
        rate = candidate.scenario.rate_rps if isinstance(candidate.scenario, Open | Burst) else 0.0
        row = Blocks(candidate.scenario.name, candidate.scenario.seconds, rate, candidate.lead_in_s, count, reason)
        blocks[candidate.endpoint].append(row)
    return Schedule(starts, load, {name: tuple(rows) for name, rows in blocks.items()})


def open_load(probes: Mapping[str, Probe], rate_rps: float = 0.0) -> OpenLoad:
    """The rate of the open scenarios: the user's, or a share of what the weakest endpoint bears."""
    weakest = min(probes, key=lambda name: probes[name].capacity_rps)
    capacity = probes[weakest].capacity_rps
    if rate_rps:
        return OpenLoad(rate_rps, "user", None, weakest, capacity)
    return OpenLoad(float(f"{OPEN_SHARE * capacity:.3g}"), "share", OPEN_SHARE, weakest, capacity)


def _candidate(endpoint: str, scenario: Scenario, probe: Probe) -> Candidate:
    weight = 0.5 if scenario.name in HALF else 1.0
    if isinstance(scenario, Burst):
        return Candidate(endpoint, scenario, 0.0, scenario.seconds + OVERHEAD_S, weight)
    if isinstance(scenario, Open):
        seconds = max(scenario.seconds, min(REQUESTS / scenario.rate_rps, LONGEST_S))
        lead_in = min(max(LEAD_IN_S, 2 * probe.alone_s), LONGEST_LEAD_IN_S)
        cost = lead_in + seconds + 2 * probe.alone_s + OVERHEAD_S
        return Candidate(endpoint, replace(scenario, seconds=seconds), lead_in, cost, weight)
    cycle = probe.cycle_s(_rows(scenario))
    seconds = max(scenario.seconds, min(CYCLES * cycle, LONGEST_S))
    lead_in = min(max(LEAD_IN_S, cycle), LONGEST_LEAD_IN_S)
    opening = max(0.0, cycle - lead_in)
    cost = lead_in + max(seconds, opening) + cycle + OVERHEAD_S
    return Candidate(endpoint, replace(scenario, seconds=seconds), lead_in, cost, weight)


def _rows(scenario: Closed | Offline) -> int:
    return scenario.batch if isinstance(scenario, Offline) else scenario.users


def _counts(candidates: Sequence[Candidate], budget_s: float, most: int) -> list[int]:
    """Blocks of each candidate: about the same time for all, at least one where there is time for it."""
    admitted, left_s = set[int](), budget_s
    for index in sorted(range(len(candidates)), key=lambda i: (candidates[i].weight < 1, candidates[i].cost_s)):
        if candidates[index].cost_s <= left_s:
            admitted.add(index)
            left_s -= candidates[index].cost_s
    low, high = 0.0, budget_s
    for _ in range(40):
        middle = (low + high) / 2
        counts = [_count(candidate, middle, most) if i in admitted else 0 for i, candidate in enumerate(candidates)]
        fits = sum(count * candidate.cost_s for count, candidate in zip(counts, candidates, strict=True)) <= budget_s
        low, high = (middle, high) if fits else (low, middle)
    return [_count(candidate, low, most) if i in admitted else 0 for i, candidate in enumerate(candidates)]


def _count(candidate: Candidate, time_s: float, most: int) -> int:
    return max(1, min(most, int(time_s * candidate.weight / candidate.cost_s)))
