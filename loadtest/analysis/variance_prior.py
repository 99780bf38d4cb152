"""A scaled inverse chi-square prior fitted to variances (Smyth 2004, section 6.2), with the special
functions it needs.
"""

from __future__ import annotations

import math

import numpy as np


def fit_prior(variances: np.ndarray, degrees: float) -> tuple[float, float]:
    """The prior's degrees of freedom and variance, from sample variances of `degrees` degrees of freedom each.

    Infinite degrees of freedom, as 1e6, where the variances differ no more than chance makes them.
    """
    logs = np.log(variances) - digamma(degrees / 2) + math.log(degrees / 2)
    middle = float(logs.mean())
    excess = float(logs.var(ddof=1)) - trigamma(degrees / 2)
    if excess <= 1e-6:
        return 1e6, math.exp(middle)
    prior_degrees = 2 * trigamma_inverse(excess)
    return prior_degrees, math.exp(middle + digamma(prior_degrees / 2) - math.log(prior_degrees / 2))


def digamma(x: float) -> float:
    """The logarithmic derivative of the gamma function: recurrence to 6, then its asymptotic series."""
    total = 0.0
    while x < 6:
        total -= 1 / x
        x += 1
    square = 1 / (x * x)
    return total + math.log(x) - 0.5 / x - square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))


def trigamma(x: float) -> float:
    """The derivative of `digamma`."""
    total = 0.0
    while x < 6:
        total += 1 / (x * x)
        x += 1
    square = 1 / (x * x)
    return total + 1 / x + square / 2 + square / x * (1 / 6 - square * (1 / 30 - square * (1 / 42 - square / 30)))


def trigamma_inverse(value: float) -> float:
    """The x with `trigamma(x) == value`, by bisection on the falling function."""
    low, high = 1e-8, 1e8
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > value else (low, middle)
    return math.sqrt(low * high)
