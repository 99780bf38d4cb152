"""From the raw times of a run to the figures of its blocks. Pure.

A closed loop's throughput is the number of its users over the mean length of their cycles (Little's law). The cycles of
a user are counted from its first answer once every user had one, to its first answer once every user had one after the
time was up. So every window opens and closes at an answer (Wald's identity for renewals), and all are about as long,
though a server may prefer some users. A count up to a fixed end would be off by as much as a batch, which for slow
models is all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.raw_times import FAILED, RIGHT, WRONG, Table


@dataclass(frozen=True)
class Block:
    """One block of a run."""

    began_s: float
    """On the clock that all blocks of the round share."""
    requests: int
    failures: int
    wrong_answers: int
    throughput_rps: float | None
    """Right answers per second; None where no user came to its second answer."""
    goodput_rps: float | None
    latencies_ms: np.ndarray
    """Of right answers from the intended send, ascending."""


def block_of(table: Table, began_s: float, seconds: float, users: int, target_ms: float) -> Block:
    """The figures of one block: rows in microseconds from its zero; `users` 0 says that it is an open loop.

    Requests meant to be sent before zero lead in, and those after `seconds` keep the load up until every user's window
    has closed: neither counts.
    """
    inside = (table["intended_us"] >= 0) & (table["intended_us"] < seconds * 1e6)
    outcome = table["outcome"][inside]
    right = inside & (table["outcome"] == RIGHT)
    latencies_ms = np.sort((table["done_us"] - table["intended_us"])[right]) / 1e3
    if users:
        rate, good = closed_throughput(table, seconds, users), float((latencies_ms <= target_ms).sum())
        goodput = None if rate is None else rate * good / max(1, len(latencies_ms))
    else:
        rate, goodput = len(latencies_ms) / seconds, float((latencies_ms <= target_ms).sum()) / seconds
    failures, wrong = (int((outcome == kind).sum()) for kind in (FAILED, WRONG))
    return Block(began_s, len(outcome), failures, wrong, rate, goodput, latencies_ms)


def closed_throughput(table: Table, seconds: float, users: int) -> float | None:
    """Right answers per second of `users` that each wait for their answer; None without a whole cycle."""
    answers, lasted_s = closed_cycles(table, seconds)
    return users * answers / lasted_s if lasted_s else None


def closed_cycles(table: Table, seconds: float) -> tuple[int, float]:
    """Right answers at the ends of the cycles that count, and how long these cycles lasted, all users together."""
    order = np.lexsort((table["done_us"], table["user"]))
    user, done_s = table["user"][order], table["done_us"][order] / 1e6
    right = table["outcome"][order] == RIGHT
    spans = [(done_s[first:last], right[first:last]) for first, last in zip(*_runs_of(user), strict=True)]
    spans = [span for span in spans if (span[0] >= 0).any()]
    firsts = [int(np.searchsorted(moments, 0.0)) for moments, _ in spans]
    opening_s = max((moments[first] for (moments, _), first in zip(spans, firsts, strict=True)), default=0.0)
    openings = [int(np.searchsorted(moments, opening_s)) for moments, _ in spans]
    closings = [
        max(int(np.searchsorted(moments, seconds)), first + 1)
        for (moments, _), first in zip(spans, firsts, strict=True)
    ]
    ends = [moments[place] for (moments, _), place in zip(spans, closings, strict=True) if place < len(moments)]
    answers, lasted_s = 0, 0.0
    for (moments, rights), opening in zip(spans, openings, strict=True):
        last = min(int(np.searchsorted(moments, max(ends, default=0.0))), len(moments) - 1)
        if last > opening:
            answers += int(rights[opening + 1 : last + 1].sum())
            lasted_s += float(moments[last] - moments[opening])
    return answers, lasted_s


def _runs_of(sorted_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last (exclusive) index of each run of equal values."""
    edges = np.flatnonzero(np.diff(sorted_values)) + 1
    return np.concatenate(([0], edges)).astype(int), np.concatenate((edges, [len(sorted_values)])).astype(int)


def log_figures(blocks: list[Block], figure: str, share: float = 0.0) -> np.ndarray:
    """The logarithm of each block's figure: `throughput_rps`, or (figure `latency`) the percentile at `share`.

    A percentile of blocks too short to state it is linearised about that of all of them: the share of a block's
    requests beyond it, times the slope of the quantiles there. The mean of these, weighted by requests, is the
    percentile of all.
    """
    if figure != "latency":
        rates: np.ndarray = np.log(np.array([block.throughput_rps or np.nan for block in blocks], float))
        return rates
    counts = np.array([len(block.latencies_ms) for block in blocks])
    if counts.min() * (1 - share) >= 5:
        direct: np.ndarray = np.log(np.array([np.quantile(block.latencies_ms, share) for block in blocks], float))
        return direct
    pooled = np.log(np.concatenate([block.latencies_ms for block in blocks]))
    middle = float(np.quantile(pooled, share))
    width = min(share, 1 - share) / 2
    slope = float(np.quantile(pooled, share + width) - np.quantile(pooled, share - width)) / (2 * width)
    beyond = [(np.log(block.latencies_ms) > middle).mean() if len(block.latencies_ms) else np.nan for block in blocks]
    linear: np.ndarray = middle + slope * (np.array(beyond) - (1 - share))
    return linear
