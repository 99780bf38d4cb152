"""Variances of a start's level, each moderated by those of all endpoints. Pure; every function takes draws in front.

A few starts say little about one endpoint's variance. So it is drawn towards what is expected of it, by as much as the
variances of all endpoints agree with what is expected of them (empirical Bayes: Smyth 2004, doi 10.2202/1544-6115.1027;
where the expected variance differs from one to the next: Sartor et al. 2006, doi 10.1186/1471-2105-7-538).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import digamma, polygamma
from scipy.stats import t as student

LEAST_VARIANCE = 1e-5
"""Of a start's level: starts that agree better than 0.3 % agree by chance."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the variance that are tried as equal for all endpoints; the rest is in proportion to the blocks' own."""
ENDLESS = 1e6


def observe(levels: np.ndarray) -> np.ndarray:
    """The variance of each endpoint's level relative to the other endpoints': `[..., start, endpoint]`."""
    many = levels.shape[-1]
    relative = levels - levels.mean(axis=-1, keepdims=True) if many > 1 else levels
    scale = many / (many - 1) if many > 1 else 1.0
    observed: np.ndarray = np.maximum(relative.var(axis=-2, ddof=1) * scale, LEAST_VARIANCE)
    return observed


def moderate(observed: np.ndarray, within: np.ndarray, own_degrees: float) -> np.ndarray:
    """The moderated variances, from those observed with `own_degrees` degrees of freedom and what the blocks say.

    All endpoints together have `own_degrees` times one less than their number: no variance gets more weight than that.
    """
    many = observed.shape[-1]
    if many < 3:
        return observed
    expected = _expected(observed, within)
    prior_degrees, prior = fit_prior(observed / expected, own_degrees)
    prior_degrees = np.minimum(prior_degrees, own_degrees * (many - 2))
    total = (prior_degrees + own_degrees)[..., None]
    moderated: np.ndarray = (expected * (prior_degrees * prior)[..., None] + own_degrees * observed) / total
    return moderated


def draw_equals(
    variances: np.ndarray, within: np.ndarray, starts: int, draws: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Comparisons of equal endpoints: each one's mean over the starts and the variance it would be given.

    Levels are drawn for every start with the `variances` of one start, then put together as a comparison's are: this is
    the parametric bootstrap, and what it costs to estimate the variances is in it.
    """
    levels = random.normal(0, 1, (draws, starts, len(variances))) * np.sqrt(variances)
    return levels.mean(axis=1), moderate(observe(levels), within, starts - 1) / starts


def largest_t(means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """The largest |t| among all pairs of endpoints, in each draw."""
    largest = np.zeros(len(means))
    for i in range(means.shape[1] - 1):
        difference = np.abs(means[:, i : i + 1] - means[:, i + 1 :])
        errors = np.sqrt(variances[:, i : i + 1] + variances[:, i + 1 :])
        largest = np.maximum(largest, (difference / errors).max(axis=1))
    return largest


def degrees_of(means: np.ndarray, variances: np.ndarray) -> float:
    """The degrees of freedom whose Student's t has the 95 % quantile of a pair's |t|; neighbours stand for all."""
    difference = np.abs(means - np.roll(means, 1, axis=1))
    quantile = float(np.quantile(difference / np.sqrt(variances + np.roll(variances, 1, axis=1)), 0.95))
    low, high = 0.5, ENDLESS
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if student.ppf(0.975, middle) > quantile else (low, middle)
    return low


def _expected(observed: np.ndarray, within: np.ndarray) -> np.ndarray:
    """What is expected of each variance: partly the same for all, partly in proportion to the blocks' own.

    The shares are the likeliest ones for variances that are distributed as chi squares about what is expected.
    """
    if within.min() <= 0:
        return np.broadcast_to(observed.mean(axis=-1, keepdims=True), observed.shape)
    relative = within / math.exp(np.log(within).mean())
    shapes = [share + (1 - share) * relative for share in SHARES]
    scales = [(observed / shape).mean(axis=-1) for shape in shapes]
    fits = [
        observed.shape[-1] * np.log(scale) + np.log(shape).sum() for scale, shape in zip(scales, shapes, strict=True)
    ]
    best = np.argmin(fits, axis=0)
    expected: np.ndarray = np.array(shapes)[best] * np.choose(best, scales)[..., None]
    return expected


def fit_prior(variances: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The prior's degrees of freedom and variance, from sample variances of `degrees` degrees of freedom each.

    Endless degrees of freedom, as 1e6, where the variances differ no more than chance makes them: then the prior is
    their mean.
    """
    logs = np.log(variances) - digamma(degrees / 2) + math.log(degrees / 2)
    middle = logs.mean(axis=-1)
    excess = np.asarray(logs.var(axis=-1, ddof=1) - polygamma(1, degrees / 2))
    differ = excess > 1e-6
    prior_degrees = np.where(differ, 2 * trigamma_inverse(np.where(differ, excess, 1.0)), ENDLESS)
    shift = digamma(prior_degrees / 2) - np.log(prior_degrees / 2)
    return prior_degrees, np.where(differ, np.exp(middle + shift), variances.mean(axis=-1))


def trigamma_inverse(values: np.ndarray) -> np.ndarray:
    """The x with `trigamma(x) == value`, by Newton's method on its reciprocal (Smyth 2004, appendix)."""
    values = np.asarray(values, float)
    x = 0.5 + 1 / values
    for _ in range(12):
        trigamma = polygamma(1, x)
        x = x + trigamma * (1 - trigamma / values) / polygamma(2, x)
    return x
