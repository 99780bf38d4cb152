"""Percentiles and the counts they need, and intervals of one figure by itself. Pure.

Sources: MLPerf LoadGen (`loadgen/early_stopping.cc`, `results.cc`) for percentiles and counts; order statistics for one
run's intervals (Hahn and Meeker, Statistical Intervals, 5.2); Student's t for figures of several runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.stats import binom, t

QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
EARLY_STOPPING_CONFIDENCE = 0.99
CONFIDENCE = 0.95


def quantile(ordered: np.ndarray, share: float) -> float:
    """The element of the ascending `ordered` below which `share` of it lies: `ordered[floor(n * share)]`, as in
    LoadGen.
    """
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


@cache
def requests_needed(share: float, over: int = 1, confidence: float = EARLY_STOPPING_CONFIDENCE) -> int:
    """The fewest requests that state a percentile when `over` of them lie above it: P[Binomial(n, 1 - share) <= over] <
    1 - confidence.

    64 for p90, 130 for p95, 662 for p99: LoadGen's counts with one request over.
    """
    low, high = over + 1, over + 2
    while binom.cdf(over, high, 1 - share) >= 1 - confidence:
        high *= 2
    while low < high:
        middle = (low + high) // 2
        if binom.cdf(over, middle, 1 - share) < 1 - confidence:
            high = middle
        else:
            low = middle + 1
    return low


def certainly_over(requests: int, over: int, share: float, confidence: float = EARLY_STOPPING_CONFIDENCE) -> bool:
    """Whether so many requests lie above a value that the percentile does: P[Binomial(n, 1 - share) >= over] < 1 -
    confidence.
    """
    return over > 0 and bool(binom.sf(over - 1, requests, 1 - share) < 1 - confidence)


def upper_bound(ordered: np.ndarray, share: float) -> float | None:
    """LoadGen's early-stopping estimate: a value that the percentile is below with 99 % confidence;
    None for too few.
    """
    over = 0
    if len(ordered) < requests_needed(share, 0):
        return None
    while requests_needed(share, over + 1) <= len(ordered):
        over += 1
    return float(ordered[len(ordered) - over - 1])


def order_interval(ordered: np.ndarray, share: float, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """A distribution-free interval for a percentile of independent samples, or None where there are too few for one."""
    n, half = len(ordered), (1 - confidence) / 2
    if n == 0:
        return None
    low = int(binom.ppf(half, n, share))
    low -= bool(binom.cdf(low - 1, n, share) > half)
    high = int(binom.ppf(1 - half, n, share)) + 1
    if low < 1 or high > n:
        return None
    return float(ordered[low - 1]), float(ordered[high - 1])


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student's interval for the mean of independent rounds; None for fewer than two."""
    if len(values) < 2:
        return None
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = student_quantile(1 - (1 - confidence) / 2, len(values) - 1) * spread
    middle = float(np.mean(values))
    return middle - half, middle + half


def ratio_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student's interval on the logarithms: for positive figures whose errors are proportional to them."""
    if any(value <= 0 for value in values):
        return None
    interval = mean_interval([math.log(value) for value in values], confidence)
    return interval and (math.exp(interval[0]), math.exp(interval[1]))


def student_quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t distribution."""
    return float(t.ppf(probability, degrees))
