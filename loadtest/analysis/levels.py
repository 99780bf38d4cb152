"""The starts of a comparison put together: one level an endpoint, and how sure it is. Pure.

The starts are the independent repeats of a comparison: an endpoint's level differs from one to the next by what its
blocks leave open, by what the start itself makes of the server, and by what is left of the drift. So the variance of a
level is that between starts, moderated by those of all endpoints (`loadtest.analysis.moderation`). What all endpoints
of a start share is taken out: it is the machine's. With one start there are only the blocks to go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtest.analysis.drift import Levels
from loadtest.analysis.moderation import degrees_of, draw_equals, moderate, observe

DEGREES_DRAWS, SEED = 1000, 10_000


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
    within: np.ndarray
    """Variance of a start's level by its blocks alone; of all endpoints that were fitted, as `fitted_variances`."""
    fitted_variances: np.ndarray
    """Of each mean."""
    places: np.ndarray
    """Of `names` among all endpoints that were fitted."""

    def index(self, name: str) -> int:
        """The number of an endpoint."""
        return self.names.index(name)

    def only(self, names: Sequence[str]) -> Fit:
        """The fit of some of its endpoints; the others still have their say in the variances."""
        kept = [self.index(name) for name in names]
        return replace(
            self,
            names=tuple(names),
            means=self.means[kept],
            variances=self.variances[kept],
            degrees=self.degrees[kept],
            places=self.places[kept],
        )


def combine(names: Sequence[str], starts: Sequence[Levels]) -> Fit:
    """Put the starts together; every start has a level for every name, in the same order."""
    levels = np.array([start.means for start in starts])
    count, many = levels.shape
    within = np.mean([_relative(start.covariance) for start in starts], axis=0)
    variances, degrees = within, np.sum([start.degrees for start in starts], axis=0)
    if count > 1:
        variances = moderate(observe(levels), within, count - 1)
        degrees = np.full(many, _degrees(variances, within, count))
    common = levels.mean(axis=1)
    from_blocks = np.mean([start.covariance.mean() for start in starts])
    shared = max(float(common.var(ddof=1)) if count > 1 else 0.0, float(from_blocks)) / count
    return Fit(
        names=tuple(names),
        means=levels.mean(axis=0),
        variances=variances / count,
        degrees=degrees,
        common_variance=shared if many > 1 else 0.0,
        starts=count,
        within=within,
        fitted_variances=variances / count,
        places=np.arange(many),
    )


def _degrees(variances: np.ndarray, within: np.ndarray, starts: int) -> float:
    """Degrees of freedom of a moderated variance, by drawing; by theory where there is nothing to moderate it with."""
    if len(variances) < 3:
        return float(starts - 1)
    return degrees_of(*draw_equals(variances, within, starts, DEGREES_DRAWS, np.random.default_rng(SEED)))


def _relative(covariance: np.ndarray) -> np.ndarray:
    """Variances of the levels less the share that all endpoints have in common."""
    count = len(covariance)
    if count == 1:
        return np.diag(covariance).copy()
    centre = np.eye(count) - 1 / count
    relative: np.ndarray = np.diag(centre @ covariance @ centre) * count / (count - 1)
    return relative


def from_starts(names: Sequence[str], figures: np.ndarray) -> Fit:
    """A figure that each start has once: `figures` has a row for each start."""
    many = len(names)
    nothing = np.zeros(0)
    starts = [Levels(row, np.zeros((many, many)), np.zeros(many), nothing, nothing) for row in np.log(figures)]
    return combine(names, starts)
