"""The blocks of one start: each endpoint's level, after the drift of the machine that all endpoints share. Pure.

The logarithm of a block's figure is modelled as its endpoint's level, plus a drift common to all endpoints, plus noise:

    y = level[endpoint] + drift(time) + noise

The drift is an Ornstein-Uhlenbeck process, whose size and length are chosen by restricted likelihood (Patterson and
Thompson 1971), so that neighbours share it and distant blocks don't: this is the analysis of field trials with a trend
between neighbouring plots (Gilmour, Cullis and Verbyla 1997). Each endpoint's noise has a size of its own and the
long tails of Student's t with four degrees of freedom (Lange, Little and Taylor 1989): a stall in a block has little
say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded

TAIL_DEGREES = 4.0
ITERATIONS = 12
SIZES = (0.0, 0.005, 0.015, 0.05, 0.15, 0.4)
"""Standard deviations of the drift that are tried, of a logarithm."""
LENGTHS = (1.5, 5.0, 20.0, 80.0)
"""Lengths of the drift that are tried, in gaps between neighbouring blocks."""
NEIGHBOURS = 4
"""Blocks to each side whose median stands for the drift at first."""
LEAST_GAP = 1e-6
"""Between two blocks, of the drift's length: no two are at the same moment."""
LEAST_NOISE = 0.003
"""Blocks that agree better than 0.3 % agree by chance."""


@dataclass(frozen=True)
class Levels:
    """The levels (logarithms) of the endpoints in one start, in the order of their numbers."""

    means: np.ndarray
    covariance: np.ndarray
    """Of the means, from the blocks alone: what differs from start to start is not in it."""
    degrees: np.ndarray
    """Degrees of freedom of each endpoint's noise."""
    drift: np.ndarray
    """Of each block, in the order given."""
    residuals: np.ndarray
    """Of each block: what neither its endpoint's level nor the drift explains."""


@dataclass(frozen=True)
class Covariance:
    """The covariance of blocks in the order of their times: drift of a size and length, plus each block's variance.

    The inverse of the drift's covariance has three diagonals (it is a Markov process), so nothing here takes more than
    a time in proportion to the number of blocks.
    """

    times_s: np.ndarray
    variances: np.ndarray
    size: float
    length_s: float

    @cached_property
    def _factored(self) -> tuple[np.ndarray, float]:
        """The factor of the two precisions' sum, and the logarithm of the whole covariance's determinant."""
        decay = np.exp(-np.maximum(np.diff(self.times_s), LEAST_GAP * self.length_s) / self.length_s)
        news = self.size**2 * np.concatenate(([1.0], 1 - decay**2))
        bands = np.zeros((2, len(self.times_s)))
        bands[1] = 1 / news + 1 / self.variances
        bands[1, :-1] += decay**2 / news[1:]
        bands[0, 1:] = -decay / news[1:]
        factor = cholesky_banded(bands)
        return factor, float(np.log(self.variances).sum() + 2 * np.log(factor[1]).sum() + np.log(news).sum())

    @property
    def log_determinant(self) -> float:
        """The logarithm of the determinant."""
        return self._factored[1] if self.size else float(np.log(self.variances).sum())

    def solve(self, right: np.ndarray) -> np.ndarray:
        """The inverse times `right`, a vector or a matrix with a row for each block."""
        variances = self.variances if right.ndim == 1 else self.variances[:, None]
        scaled: np.ndarray = right / variances
        if not self.size:
            return scaled
        solved: np.ndarray = scaled - cho_solve_banded((self._factored[0], False), scaled) / variances
        return solved


def fit_levels(values: np.ndarray, endpoints: np.ndarray, times_s: np.ndarray) -> Levels:
    """Fit one start: logarithms of the blocks' figures, the number of each block's endpoint (0, 1, …), its time."""
    order = np.argsort(times_s, kind="stable")
    levels = _fit_in_order(values[order], endpoints[order], times_s[order])
    back = np.argsort(order)
    return replace(levels, drift=levels.drift[back], residuals=levels.residuals[back])


def _fit_in_order(values: np.ndarray, endpoints: np.ndarray, times_s: np.ndarray) -> Levels:
    count = int(endpoints.max()) + 1
    design = (endpoints[:, None] == np.arange(count)).astype(float)
    noise, weights = _first_noise(values, endpoints, times_s, count)
    size, length_s = 0.0, 1.0
    for iteration in range(ITERATIONS):
        variances = noise[endpoints] / weights
        if iteration in (0, 4, 8):  # the noise has to be known for the drift, and the drift for the noise
            size, length_s = _likeliest(values, design, times_s, variances)
        means, drift, spread = _solve(values, design, Covariance(times_s, variances, size, length_s))
        residuals = values - design @ means - drift
        squares = residuals**2 + spread
        weights = (TAIL_DEGREES + 1) / (TAIL_DEGREES + squares / noise[endpoints])
        noise = _moderated(weights * squares, endpoints, count)
    whole = Covariance(times_s, noise[endpoints] / weights, size, length_s)
    covariance = np.linalg.inv(design.T @ whole.solve(design))
    blocks = design.sum(axis=0)
    tail = (TAIL_DEGREES + 3) / (TAIL_DEGREES + 1)  # the information that weighted tails carry, less than the weights'
    return Levels(means, covariance * tail, np.maximum(blocks - 1, 1), drift, residuals)


def _gap_s(times_s: np.ndarray) -> float:
    gaps = np.diff(np.sort(times_s))
    positive = gaps[gaps > 0]
    return float(np.median(positive)) if len(positive) else 1.0


def _first_noise(
    values: np.ndarray, endpoints: np.ndarray, times_s: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each endpoint's variance and each block's weight to begin with, from medians: a stall must not pass for drift."""
    residuals = values - np.array([np.median(values[endpoints == number]) for number in range(count)])[endpoints]
    order = np.argsort(times_s)
    windows = [order[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1] for place in range(len(order))]
    local = np.empty(len(values))
    local[order] = [np.median(residuals[window]) for window in windows]
    residuals = residuals - local
    typical = max(1.4826 * float(np.median(np.abs(residuals))), LEAST_NOISE) ** 2
    noise = np.empty(count)
    for number in range(count):
        deviation = 1.4826 * float(np.median(np.abs(residuals[endpoints == number])))
        noise[number] = max(deviation**2, typical / 4)
    return noise, (TAIL_DEGREES + 1) / (TAIL_DEGREES + residuals**2 / noise[endpoints])


def _moderated(squares: np.ndarray, endpoints: np.ndarray, count: int) -> np.ndarray:
    """Each endpoint's variance, drawn towards that of all by as much as two blocks would.

    `squares` have the uncertainty of level and drift in them, so each block counts for one degree of freedom.
    """
    sums = np.bincount(endpoints, squares, count)
    blocks = np.bincount(endpoints, minlength=count)
    variances = np.maximum(sums / np.maximum(blocks, 1), LEAST_NOISE**2)
    typical = float(np.exp(np.log(variances).mean()))
    moderated: np.ndarray = np.maximum((2 * typical + sums) / (2 + blocks), LEAST_NOISE**2)
    return moderated


def _likeliest(
    values: np.ndarray, design: np.ndarray, times_s: np.ndarray, variances: np.ndarray
) -> tuple[float, float]:
    """The drift's size and length with the largest restricted likelihood among those that are tried."""
    lengths_s: Sequence[float] = [factor * _gap_s(times_s) for factor in LENGTHS]
    tried = [(size, length_s) for size in SIZES for length_s in (lengths_s if size else lengths_s[:1])]
    return max(tried, key=lambda drift: _log_likelihood(values, design, Covariance(times_s, variances, *drift)))


def _log_likelihood(values: np.ndarray, design: np.ndarray, covariance: Covariance) -> float:
    whitened = covariance.solve(design)
    information = design.T @ whitened
    residuals = values - design @ np.linalg.solve(information, whitened.T @ values)
    determinants = covariance.log_determinant + float(np.linalg.slogdet(information)[1])
    return -0.5 * (determinants + float(residuals @ covariance.solve(residuals)))


def _solve(values: np.ndarray, design: np.ndarray, covariance: Covariance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels by generalised least squares, the drift at each block, and how uncertain level and drift together are."""
    whitened, variances = covariance.solve(design), covariance.variances
    inverse = np.linalg.inv(design.T @ whitened)
    means = inverse @ (whitened.T @ values)
    residuals = values - design @ means
    drift = residuals - variances * covariance.solve(residuals)
    diagonal = np.diag(covariance.solve(np.eye(len(values)))) - ((whitened @ inverse) * whitened).sum(axis=1)
    spread = variances - variances**2 * diagonal
    return means, drift, np.clip(spread, 0.0, variances)
