"""The starts of a comparison put together: one level an endpoint, and how sure it is. Pure.

The levels of an endpoint differ from start to start of its server by more than its blocks say. What a start's level
varies by is estimated from the starts, and as few starts say little about one endpoint, each variance is moderated by
those of all (empirical Bayes: Smyth 2004, doi 10.2202/1544-6115.1027); it is never taken for less than the blocks'
own. What all endpoints of a start share is taken out: it is the machine's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from loadtest.analysis.drift import Levels

LEAST_VARIANCE = 1e-5
"""Of a start's level: starts that agree better than 0.3 % agree by chance."""
ENDLESS = 1e6


@dataclass(frozen=True)
class Fit:
    """The levels of all endpoints over all starts."""

    names: tuple[str, ...]
    means: np.ndarray
    """Logarithms, the share of each start in common taken out."""
    variances: np.ndarray
    """Of each mean relative to the other endpoints: starts and blocks together."""
    degrees: np.ndarray
    common_variance: float
    """Of what all endpoints share: it counts for a figure by itself, not for a ratio."""
    starts: int

    def index(self, name: str) -> int:
        """The number of an endpoint."""
        return self.names.index(name)


def combine(names: Sequence[str], starts: Sequence[Levels]) -> Fit:
    """Put the starts together; every start has a level for every name, in the same order."""
    levels = np.array([start.means for start in starts])
    count, many = levels.shape
    within = np.mean([_relative(start.covariance) for start in starts], axis=0)
    block_degrees = np.sum([start.degrees for start in starts], axis=0)
    common = levels.mean(axis=1)
    variances, degrees = within, block_degrees
    if count > 1:
        variances, degrees = _between(levels - common[:, None], within, block_degrees)
    from_blocks = np.mean([start.covariance.mean() for start in starts])
    shared = max(float(common.var(ddof=1)) if count > 1 else 0.0, float(from_blocks)) / count
    return Fit(tuple(names), levels.mean(axis=0), variances / count, degrees, shared if many > 1 else 0.0, count)


def _relative(covariance: np.ndarray) -> np.ndarray:
    """Variances of the levels less the share that all endpoints have in common."""
    count = len(covariance)
    if count == 1:
        return np.diag(covariance).copy()
    centre = np.eye(count) - 1 / count
    relative: np.ndarray = np.diag(centre @ covariance @ centre) * count / (count - 1)
    return relative


def _between(relative: np.ndarray, within: np.ndarray, block_degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances of a start's level and their degrees of freedom."""
    count, many = relative.shape
    scale = many / (many - 1) if many > 1 else 1.0
    squares = ((relative - relative.mean(axis=0)) ** 2).sum(axis=0) / (count - 1) * scale
    observed = np.maximum(squares, LEAST_VARIANCE)
    own_degrees = float(count - 1)
    if many < 3:
        return np.maximum(observed.mean(), within), np.full(many, own_degrees * max(many - 1, 1))
    prior_degrees, prior = fit_prior(observed, own_degrees)
    prior_degrees = min(prior_degrees, own_degrees * (many - 1))  # no more than the starts of all endpoints hold
    moderated = (prior_degrees * prior + own_degrees * observed) / (prior_degrees + own_degrees)
    total = np.full(many, prior_degrees + own_degrees)
    return np.maximum(moderated, within), np.where(moderated >= within, total, np.maximum(total, block_degrees))


def from_starts(names: Sequence[str], figures: np.ndarray) -> Fit:
    """A figure that each start has once: `figures` has a row for each start."""
    many = len(names)
    nothing = np.zeros(0)
    starts = [Levels(row, np.zeros((many, many)), np.zeros(many), nothing, nothing) for row in np.log(figures)]
    return combine(names, starts)


def fit_prior(variances: np.ndarray, degrees: float) -> tuple[float, float]:
    """The prior's degrees of freedom and variance, from sample variances of `degrees` degrees of freedom each.

    Endless degrees of freedom, as 1e6, where the variances differ no more than chance makes them: then the prior is
    their mean.
    """
    logs = np.log(variances) - digamma(degrees / 2) + math.log(degrees / 2)
    middle = float(logs.mean())
    excess = float(logs.var(ddof=1)) - float(polygamma(1, degrees / 2))
    if excess <= 1e-6:
        return ENDLESS, float(variances.mean())
    prior_degrees = 2 * trigamma_inverse(excess)
    return prior_degrees, math.exp(middle + float(digamma(prior_degrees / 2)) - math.log(prior_degrees / 2))


def trigamma_inverse(value: float) -> float:
    """The x with `trigamma(x) == value`, by bisection on the falling function."""
    low, high = 1e-8, 1e8
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if polygamma(1, middle) > value else (low, middle)
    return math.sqrt(low * high)
