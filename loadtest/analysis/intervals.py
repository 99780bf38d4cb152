"""Percentiles, confidence intervals and the counts they need; pure NumPy, no SciPy.

Sources: MLPerf LoadGen (`loadgen/early_stopping.cc`, `results.cc`) for percentiles and counts; order statistics for one
run's intervals (Hahn and Meeker, Statistical Intervals, 5.2); Student's t over rounds for figures of several runs.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

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
    while _binomial_at_most(over, high, 1 - share) >= 1 - confidence:
        high *= 2
    while low < high:
        middle = (low + high) // 2
        if _binomial_at_most(over, middle, 1 - share) < 1 - confidence:
            high = middle
        else:
            low = middle + 1
    return low


def certainly_over(requests: int, over: int, share: float, confidence: float = EARLY_STOPPING_CONFIDENCE) -> bool:
    """Whether so many requests lie above a value that the percentile does: P[Binomial(n, 1 - share) >= over] < 1 -
    confidence.
    """
    return over > 0 and 1 - _binomial_at_most(over - 1, requests, 1 - share) < 1 - confidence


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
    low = high = None
    total = 0.0
    for k in range(n + 1):
        before, total = total, total + _binomial(k, n, share)
        if before <= half:
            low = k
        if high is None and total >= 1 - half:
            high = k + 1
            break
    if not low or high is None or high > n:
        return None
    return float(ordered[low - 1]), float(ordered[high - 1])


def mean_interval(values: list[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student's interval for the mean of independent rounds; None for fewer than two."""
    if len(values) < 2:
        return None
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = student_quantile(1 - (1 - confidence) / 2, len(values) - 1) * spread
    middle = float(np.mean(values))
    return middle - half, middle + half


def ratio_interval(values: list[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student's interval on the logarithms: for positive figures whose errors are proportional to them."""
    if any(value <= 0 for value in values):
        return None
    found = mean_interval([math.log(value) for value in values], confidence)
    return found and (math.exp(found[0]), math.exp(found[1]))


@cache
def student_quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t distribution, by bisection on its distribution function; `probability` above one
    half.
    """
    low, high = 0.0, 1.0
    while student_cumulative(high, degrees) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cumulative(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def student_cumulative(t: float, degrees: float) -> float:
    """P[T <= t] for Student's t, from the regularised incomplete beta function."""
    tail = 0.5 * _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))
    return 1 - tail if t >= 0 else tail


def _binomial(k: int, n: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(k == n * p)
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    return math.exp(log)


def _binomial_at_most(k: int, n: int, p: float) -> float:
    return sum(_binomial(i, n, p) for i in range(k + 1))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Lentz's continued fraction (Numerical Recipes, 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny, c, d = 1e-300, 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    result = d
    for m in range(1, 400):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            result *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return math.exp(log) * result / a
