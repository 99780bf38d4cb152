"""Says of the machine itself whether it was steady enough to measure on: what slowed all endpoints alike. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from loadtest.analysis.aggregate import MARKED_SHARE
from loadtest.analysis.fits import Fitted, Measured
from loadtest.analysis.schema import Steadiness
from loadtest.analysis.validity import spread_of

UNSTEADY_SWING = 1.6
"""Fastest over slowest common speed, from which on the machine is called unsteady."""
UNSTEADY_NOISE = 0.20
"""Typical standard deviation of an endpoint's blocks, from which on it is as well."""
REMEDY = "Close other programs, or take a machine of your own, and measure again."
MARKED_BLOCKS = 0.25
"""Share of the blocks in which idle servers were busy, from which on that is said."""


def judge_machine(
    fits: Mapping[str, Mapping[str, Fitted | None]], measured: Mapping[str, Mapping[str, Measured]]
) -> Steadiness:
    """The common drift of the speed over all closed loops, and what the reader should know of it."""
    closed = [by["throughput_rps"] for name, by in fits.items() if name.startswith(("closed", "single"))]
    fitted = [each for each in closed if each is not None]
    drifts = [drift for each in fitted for drift in each.drifts]
    uses = [use for runs in measured.values() for each in runs.values() for r in each.results for use in r.blocks]
    marked = sum((use.idle_cpu_share or 0.0) > MARKED_SHARE for use in uses)
    if not drifts:
        return Steadiness(True, None, None, marked)
    joined = np.concatenate(drifts)
    deviation = float(joined.std())
    low, high = np.quantile(joined, [0.05, 0.95])
    swing = float(np.exp(high - low))
    noise = float(np.median([spread_of(residuals) for each in fitted for residuals in each.residuals.values()]))
    notes = []
    if noise > UNSTEADY_NOISE:
        notes.append(
            f"The machine was unsteady: blocks of the same endpoint differ by ±{noise:.0%} for all endpoints alike. "
            f"The intervals are wider for it. {REMEDY}"
        )
    elif swing > UNSTEADY_SWING:
        notes.append(
            f"The machine was unsteady: its speed changed {swing:.1f}-fold under all endpoints alike. The intervals "
            f"are wider for it. {REMEDY}"
        )
    if marked > MARKED_BLOCKS * len(uses):
        notes.append(
            f"In {marked} of {len(uses)} blocks servers that should have been idle took more than {MARKED_SHARE:.0%} "
            "of a core."
        )
    steady = swing <= UNSTEADY_SWING and noise <= UNSTEADY_NOISE
    return Steadiness(steady, deviation, swing, marked, tuple(notes))
