"""The statistics on simulated comparisons whose truth is known: drift of 30 % over seconds, starts that differ by 3 %,
heavy tails and stalls of the machine.

Intervals hold together as they claim, equal endpoints are seldom told apart, planted differences are found. Seeds are
fixed, counts are asserted: no clock is looked at.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from loadtest.analysis.drift import Levels, fit_levels
from loadtest.analysis.family import critical_value, figure, ratio
from loadtest.analysis.levels import Fit, combine, from_starts

GAP_S = 0.33


@dataclass(frozen=True)
class World:
    """What a simulated comparison is made of; sizes are standard deviations of logarithms."""

    endpoints: int = 10
    starts: int = 2
    blocks: int = 6
    drift: float = 0.15
    """Amplitude: the machine's speed swings by this to each side within seconds."""
    start_effect: float = 0.03
    noise: float = 0.04
    tail_degrees: float = 3.0
    stalls: float = 0.02
    """Share of the blocks that meet a stall, which halves their figure or worse."""


def simulate(world: World, truth: np.ndarray, seed: int) -> Fit:
    """One comparison, fitted."""
    random = np.random.default_rng(seed)
    starts = [
        _start(world, truth + random.normal(0, world.start_effect, world.endpoints), random)
        for _ in range(world.starts)
    ]
    return combine([f"e{number}" for number in range(world.endpoints)], starts)


def _start(world: World, levels: np.ndarray, random: np.random.Generator) -> Levels:
    order = np.concatenate([random.permutation(world.endpoints) for _ in range(world.blocks)])
    sweeps = np.arange(len(order)) // world.endpoints
    times = (np.arange(len(order)) + sweeps * 3 * world.endpoints) * GAP_S  # other scenarios in between
    phases = random.uniform(0, 2 * np.pi, 2)
    drift = world.drift * (np.sin(2 * np.pi * times / 7 + phases[0]) + np.sin(2 * np.pi * times / 31 + phases[1])) / 2
    noise = world.noise * random.standard_t(world.tail_degrees, len(order)) / np.sqrt(3)
    stalls = (random.random(len(order)) < world.stalls) * (0.7 + random.exponential(0.5, len(order)))
    return fit_levels(levels[order] + drift + noise - stalls, order, times)


def pairs(fit: Fit) -> list[tuple[str, str]]:
    return list(itertools.combinations(fit.names, 2))


WORLDS = {
    "as the issue has it": World(),
    "three starts": World(starts=3, blocks=8),
    "no drift, no start effects": World(drift=0.0, start_effect=0.0, stalls=0.0),
    "few endpoints": World(endpoints=3, starts=5),
    "normal noise": World(tail_degrees=30.0, stalls=0.0),
}


@pytest.mark.parametrize("name", WORLDS)
def test_equal_endpoints_are_seldom_told_apart(name: str) -> None:
    world, false, compared, families = WORLDS[name], 0, 0, 0
    for seed in range(50):
        fit = simulate(world, np.zeros(world.endpoints), seed)
        critical = critical_value([fit], draws=600)
        wrong = sum(not _holds(fit, a, b, critical, 0.0) for a, b in pairs(fit))
        false, compared, families = false + wrong, compared + len(pairs(fit)), families + (wrong > 0)
    assert world.endpoints < 10 or false / compared <= 0.01  # A/A: at most one false in a hundred pairs
    assert families <= 7  # 5 % of 50 are promised; three standard errors beyond that


def _holds(fit: Fit, a: str, b: str, critical: float, truth: float) -> bool:
    estimate = ratio(fit, a, b, critical)
    assert estimate.low is not None
    assert estimate.high is not None
    return bool(np.log(estimate.low) <= truth <= np.log(estimate.high))


def test_simultaneous_intervals_cover_the_true_ratios() -> None:
    truth, missed = np.linspace(0, 1.5, 10), 0
    for seed in range(50):
        fit = simulate(World(), truth, seed)
        critical = critical_value([fit], draws=600)
        missed += any(
            not _holds(fit, f"e{i}", f"e{j}", critical, truth[i] - truth[j])
            for i, j in itertools.combinations(range(10), 2)
        )
    assert missed <= 7


@pytest.mark.parametrize(
    ("world", "planted"),
    [
        (World(endpoints=14, start_effect=0.02), 1.25),
        (World(endpoints=14, starts=4, blocks=12, start_effect=0.01), 1.10),
    ],
    ids=["quick finds 25 %", "full finds 10 %"],
)
def test_a_planted_difference_is_found(world: World, planted: float) -> None:
    found = 0
    for seed in range(20):
        truth = np.zeros(world.endpoints)
        truth[0] = np.log(planted)
        fit = simulate(world, truth, seed)
        critical = critical_value([fit], draws=600)
        estimate = ratio(fit, "e0", "e1", critical)
        found += estimate.low is not None and estimate.low > 1
    assert found >= 18


def test_a_stall_in_one_block_does_not_decide() -> None:
    calm, moved = World(stalls=0.0, drift=0.0, start_effect=0.0, tail_degrees=30.0), []
    for seed in range(20):
        random = np.random.default_rng(seed)
        order = np.tile(np.arange(6), 8)
        values = random.normal(0, calm.noise, 48)
        before = fit_levels(values, order, np.arange(48) * GAP_S).means[0]
        values[0] -= 2.0  # a seventh of the figure
        moved.append(abs(fit_levels(values, order, np.arange(48) * GAP_S).means[0] - before))
    assert np.median(moved) < 0.02  # the mean of eight blocks would move by 0.25


def test_drift_that_all_share_is_taken_out() -> None:
    errors = {}
    for drift in (0.0, 0.15):
        world = World(drift=drift, start_effect=0.0, stalls=0.0)
        fits = [simulate(world, np.zeros(10), seed) for seed in range(20)]
        errors[drift] = np.std([fit.means[0] - fit.means[1] for fit in fits])
    assert errors[0.15] < 2.5 * errors[0.0] + 0.005
    assert errors[0.15] < 0.03  # block means alone would be off by 0.15 / sqrt(12)


def test_a_figure_by_itself_has_the_machines_swing_in_its_interval() -> None:
    steady = simulate(World(drift=0.0), np.zeros(10), 1)
    starts = np.random.default_rng(2).normal(0, 0.3, 4)[:, None] + np.zeros((4, 10))
    shared = from_starts([f"e{i}" for i in range(10)], np.exp(starts))
    assert (figure(shared, "e0", 1.0).half_width or 0) > 1.5 * (figure(steady, "e0", 1.0).half_width or 1)
    ratio_of_two = ratio(shared, "e0", "e1", 3.0)
    assert ratio_of_two.half_width is not None
    assert ratio_of_two.half_width < 0.02  # and not in a ratio's: both had the same machine
