"""Pairwise verdicts between endpoints, and the opening words made from them. Pure functions on per-round figures.

A verdict is an interval for the ratio of two endpoints' figures. The unit of replication is the round, in which both
were measured in random order, each on a freshly started server: logarithms, round effect taken out, Student's t. Few
rounds say little about an endpoint's variance, so with four endpoints or more each variance is moderated by those of
all (empirical Bayes: Smyth 2004, doi 10.2202/1544-6115.1027). All intervals hold together at 99 % (Bonferroni over
every pair that the report compares).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.analysis.intervals import student_quantile
from loadtest.analysis.levels import fit_prior

ERROR_RATE = 0.01
MODERATED_FROM = 4
"""Endpoints from which on the variances are moderated by each other."""
TINY_VARIANCE = 1e-5
"""Of a logarithm: rounds that agree better than 0.3 % agree by chance."""


@dataclass(frozen=True)
class Metric:
    """A figure that endpoints are compared by."""

    name: str
    scenario: str
    higher_is_better: bool
    phrase: str
    """With `{a}`, `{b}` and `{times}`, where a is the better one."""
    what: str
    """The figure in words."""


def metrics_for(open_percentile: str) -> tuple[Metric, ...]:
    """What is compared: throughput, latency alone, and latency on a schedule.

    The last is taken at `open_percentile`, the highest that every round can state.
    """
    more = "{a} answers {times} times as many requests per second as {b} with 32 users"
    slower = "{b} takes {times} times as long as {a} "
    median, opened = "for the median answer to a single user", f"at {open_percentile} under the same open load"
    return (
        Metric("throughput_rps", "closed-32", True, more, "requests per second with 32 users"),
        Metric("p50_ms", "single_stream", False, slower + median, "latency " + median),
        Metric(f"{open_percentile}_ms", "open", False, slower + opened, "latency " + opened),
    )


def compare(
    metric: Metric, rounds: Mapping[str, Sequence[float]], excluded: Mapping[str, str], comparisons: int
) -> list[dict[str, Any]]:
    """A verdict for every pair of endpoints: `rounds` has each one's figures by round, `excluded` why others are not
    ranked.

    `comparisons` is the number of pairs that are judged together in the report.
    """
    names = sorted([*rounds, *excluded])
    spread = _Spread(rounds) if len(rounds) > 1 else None
    return [_verdict(metric, a, b, excluded, spread, comparisons) for a, b in itertools.combinations(names, 2)]


class _Spread:
    """Means and moderated variances of the logarithms of one metric, over complete rounds."""

    def __init__(self, rounds: Mapping[str, Sequence[float]]) -> None:
        self.names = list(rounds)
        self.count = min(len(values) for values in rounds.values())
        logs = np.log([[max(value, 1e-12) for value in rounds[name][: self.count]] for name in self.names])
        self.means = dict(zip(self.names, logs.mean(axis=1).tolist(), strict=True))
        self.degrees = float(self.count - 1)
        if self.count < 2:
            return
        many = len(self.names)
        residuals = logs - logs.mean(axis=1, keepdims=True) - logs.mean(axis=0, keepdims=True) + logs.mean()
        variances = (residuals**2).sum(axis=1) / self.degrees * many / (many - 1)
        variances = np.maximum(variances, TINY_VARIANCE)
        if many >= MODERATED_FROM:
            prior_degrees, prior = fit_prior(variances, self.degrees)
            own = self.degrees
            variances = (prior_degrees * prior + own * variances) / (prior_degrees + own)
            self.degrees = own + min(prior_degrees, own * (many - 1))  # no more than all endpoints' together
        self.variances = dict(zip(self.names, variances.tolist(), strict=True))

    def ratio(self, a: str, b: str, comparisons: int) -> tuple[float, float]:
        """The simultaneous interval for a's figure over b's."""
        error = math.sqrt((self.variances[a] + self.variances[b]) / self.count)
        half = student_quantile(1 - ERROR_RATE / 2 / max(1, comparisons), self.degrees) * error
        middle = self.means[a] - self.means[b]
        return math.exp(min(middle - half, 700.0)), math.exp(min(middle + half, 700.0))


def _verdict(
    metric: Metric, a: str, b: str, excluded: Mapping[str, str], spread: _Spread | None, comparisons: int
) -> dict[str, Any]:
    fields: dict[str, Any] = {"metric": metric.name, "scenario": metric.scenario, "a": a, "b": b}
    reason = "; ".join(f"{name} is not ranked: {excluded[name]}" for name in (a, b) if name in excluded)
    if not reason and (spread is None or spread.count < 2):
        reason = "one round can't tell a difference from chance"
    if reason or spread is None:
        return {**fields, "outcome": "not_comparable", "ratio_low": None, "ratio_high": None, "text": reason}
    low, high = spread.ratio(a, b, comparisons)
    fields |= {"ratio_low": low, "ratio_high": high}
    if low <= 1 <= high:
        width = max(high - 1, 1 / low - 1)
        seen = f"no difference seen (±{width:.0%}) between {a} and {b} in {metric.what}"
        return {**fields, "outcome": "no_difference", "text": seen}
    a_is_higher = low > 1
    better, worse = (a, b) if a_is_higher == metric.higher_is_better else (b, a)
    times = between(low, high) if a_is_higher else between(1 / high, 1 / low)
    text = metric.phrase.format(a=better, b=worse, times=times)
    return {**fields, "outcome": "a_better" if better == a else "b_better", "text": text}


def between(low: float, high: float) -> str:
    """`1.8 to 2.1`: rounded outwards, so that no claim is larger than the interval."""
    digits = 2 if low < 1.2 else 1 if high < 20 else 0
    scale = 10**digits
    down, up = math.floor(low * scale) / scale, math.ceil(high * scale) / scale
    return f"{down:.{digits}f} to {up:.{digits}f}"
