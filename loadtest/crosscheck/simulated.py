"""Simulated comparisons whose truth is known: what the statistics are held against. Pure.

A block's figure is its endpoint's level, what differs from start to start, a drift of the machine that all share, noise
with heavy tails, and now and then a stall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.analysis.drift import Levels, fit_levels
from loadtest.analysis.levels import Fit, combine

GAP_S = 0.33
"""From one block to the next."""
OTHER_SCENARIOS = 3
"""Sweeps of other scenarios between two sweeps of this one."""
PERIODS_S = (7.0, 31.0)
"""Of the drift's two waves."""


@dataclass(frozen=True)
class World:
    """What a simulated comparison is made of; sizes are standard deviations of logarithms unless they say otherwise."""

    endpoints: int = 10
    starts: int = 2
    blocks: int = 6
    drift: float = 0.15
    """Amplitude: the machine's speed swings by this to each side within seconds."""
    start_effect: float = 0.03
    noise: float = 0.04
    uneven: float = 0.0
    """Of the endpoints' own noises and start effects, about those above."""
    response: float = 0.0
    """Of how much of the drift an endpoint feels, about all of it."""
    tail_degrees: float = 3.0
    """Of Student's t, of which the noise is."""
    stalls: float = 0.02
    """Share of the blocks that meet a stall, which halves their figure or worse."""


def simulate(world: World, truth: np.ndarray, seed: int) -> Fit:
    """One figure of one comparison, fitted; `truth` has the logarithm of each endpoint's level."""
    random = np.random.default_rng(seed)
    sizes = np.exp(world.uneven * random.normal(0, 1, world.endpoints))
    effects = world.start_effect * sizes
    response = 1 + world.response * random.normal(0, 1, world.endpoints)
    starts = [
        _start(world, truth + effects * random.normal(0, 1, world.endpoints), sizes, response, random)
        for _ in range(world.starts)
    ]
    return combine([f"e{number}" for number in range(world.endpoints)], starts)


def _start(
    world: World, levels: np.ndarray, sizes: np.ndarray, response: np.ndarray, random: np.random.Generator
) -> Levels:
    order = np.concatenate([random.permutation(world.endpoints) for _ in range(world.blocks)])
    sweeps = np.arange(len(order)) // world.endpoints
    times_s = (np.arange(len(order)) + sweeps * OTHER_SCENARIOS * world.endpoints) * GAP_S
    phases = random.uniform(0, 2 * np.pi, len(PERIODS_S))
    waves = [np.sin(2 * np.pi * times_s / period + phase) for period, phase in zip(PERIODS_S, phases, strict=True)]
    drift = world.drift * np.mean(waves, axis=0) * response[order]
    noise = world.noise * sizes[order] * heavy_tailed(world.tail_degrees, len(order), random)
    stalls = (random.random(len(order)) < world.stalls) * (0.7 + random.exponential(0.5, len(order)))
    return fit_levels(levels[order] + drift + noise - stalls, order, times_s)


def heavy_tailed(degrees: float, count: int, random: np.random.Generator) -> np.ndarray:
    """Draws of Student's t, scaled to a standard deviation of 1."""
    draws: np.ndarray = random.standard_t(degrees, count) * np.sqrt((degrees - 2) / degrees)
    return draws
