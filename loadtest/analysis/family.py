"""Ratios of two endpoints' figures whose intervals all hold together. Pure.

The family is what the report states: every pair of endpoints in every ranked question, of which the tiers and the named
comparisons are made. Its critical value is the quantile of the largest |t| among all of them, found by drawing levels
and variances as the fits say they vary (parametric bootstrap of max |t|: Westfall and Young 1993; for all pairs of one
question with known variances it is Tukey's range). Bonferroni would ignore that pairs share endpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from loadtest.analysis.figures import Estimate
from loadtest.analysis.levels import Fit
from loadtest.analysis.moderation import draw_equals, largest_t

ERROR_RATE = 0.05
"""Probability that any interval of the family misses, at most."""
DRAWS = 16_000
SEED = 20_000


def critical_value(fits: Sequence[Fit], error_rate: float = ERROR_RATE, draws: int = DRAWS) -> float:
    """The |t| that no pair of any fit exceeds with probability 1 - `error_rate` where all endpoints are equal."""
    random = np.random.default_rng(SEED)
    largest = np.zeros(draws)
    for fit in fits:
        if len(fit.names) > 1:
            largest = np.maximum(largest, _largest(fit, random, draws))
    return float(np.quantile(largest, 1 - error_rate))


def comparisons(fits: Sequence[Fit]) -> int:
    """Pairs of endpoints in all fits together."""
    return sum(math.comb(len(fit.names), 2) for fit in fits)


def ratio(fit: Fit, a: str, b: str, critical: float) -> Estimate:
    """a's figure divided by b's, with the interval of the family."""
    i, j = fit.index(a), fit.index(b)
    error = math.sqrt(fit.variances[i] + fit.variances[j])
    degrees = min(fit.degrees[i], fit.degrees[j])  # both variances lean on those of all: their errors don't even out
    return estimate(float(fit.means[i] - fit.means[j]), error, float(degrees), critical)


def figure(fit: Fit, name: str, value: float, confidence: float = 0.95) -> Estimate:
    """`value` with the interval of one endpoint's figure by itself, what all endpoints share included."""
    i = fit.index(name)
    error = math.sqrt(fit.variances[i] + fit.common_variance)
    critical = float(student.ppf(1 - (1 - confidence) / 2, fit.degrees[i]))
    return estimate(math.log(value), error, float(fit.degrees[i]), critical)


def estimate(log_value: float, error: float, degrees: float, critical: float) -> Estimate:
    """An estimate from a logarithm, its standard error and how many of these the interval is wide to each side."""
    bounds = [math.exp(min(max(log_value + sign * critical * error, -700.0), 700.0)) for sign in (-1, 1)]
    return Estimate(math.exp(log_value), bounds[0], bounds[1], error, degrees)


def _largest(fit: Fit, random: np.random.Generator, draws: int) -> np.ndarray:
    """The largest |t| among the pairs of one fit, in each draw."""
    means, variances = draw_equals(fit.fitted_variances * fit.starts, fit.within, fit.starts, draws, random)
    return largest_t(means[:, fit.places], variances[:, fit.places])
