"""The statistics on simulated comparisons whose truth is known: drift of 30 % over seconds, starts that differ by 3 %,
heavy tails and stalls of the machine.

Intervals hold together as they claim, equal endpoints are seldom told apart, planted differences are found. Seeds are
fixed, counts are asserted: no clock is looked at.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from loadtest.analysis.drift import Covariance, fit_levels
from loadtest.analysis.family import critical_value, figure, ratio
from loadtest.analysis.levels import Fit, from_starts
from loadtest.crosscheck.coverage import design
from loadtest.crosscheck.simulated import GAP_S, World, simulate

QUICK, FULL = design("quick", 14), design("full", 14)


def pairs(fit: Fit) -> list[tuple[str, str]]:
    return list(itertools.combinations(fit.names, 2))


WORLDS = {
    "quick": (QUICK, 250),
    "quick, starts that differ by 1 %": (replace(QUICK, start_effect=0.01), 100),
    "quick, no drift, no start effects": (replace(QUICK, drift=0.0, start_effect=0.0, stalls=0.0), 100),
    "quick, normal noise": (replace(QUICK, tail_degrees=30.0, stalls=0.0), 100),
    "quick, three endpoints": (design("quick", 3), 100),
    "full": (FULL, 20),
}


@pytest.mark.parametrize("name", WORLDS)
def test_equal_endpoints_are_seldom_told_apart(name: str) -> None:
    world, comparisons = WORLDS[name]
    false, compared, families = 0, 0, 0
    for seed in range(comparisons):
        fit = simulate(world, np.zeros(world.endpoints), seed)
        critical = critical_value([fit], draws=600)
        wrong = sum(not _holds(fit, a, b, critical, 0.0) for a, b in pairs(fit))
        false, compared, families = false + wrong, compared + len(pairs(fit)), families + (wrong > 0)
    assert world.endpoints < 10 or false / compared <= 0.01  # A/A: at most one false in a hundred pairs
    assert families <= 0.05 * comparisons + 3 * (0.05 * 0.95 * comparisons) ** 0.5  # 5 % are promised


def test_two_endpoints_are_compared_by_students_t() -> None:
    starts = np.exp(np.random.default_rng(3).normal(0, 0.03, (6, 2)))
    fit = from_starts(["a", "b"], starts)
    differences = np.log(starts[:, 0] / starts[:, 1])
    assert critical_value([fit]) == pytest.approx(student.ppf(0.975, 5), rel=0.06)
    assert ratio(fit, "a", "b", 1.0).error == pytest.approx(differences.std(ddof=1) / 6**0.5)
    assert ratio(fit, "a", "b", 1.0).degrees == 5


def test_endpoints_that_may_not_be_ranked_still_tell_how_starts_vary() -> None:
    fit = simulate(QUICK, np.zeros(14), 1)
    two = fit.only(["e3", "e9"])
    assert two.variances.tolist() == fit.variances[[3, 9]].tolist()
    assert critical_value([two]) == pytest.approx(student.ppf(0.975, fit.degrees[3]), rel=0.1)  # 1 degree: 12.7
    assert critical_value([two]) < critical_value([fit])


@pytest.mark.parametrize(("world", "covers"), [(QUICK, 0.94), (design("quick", 3), 0.94)])
def test_a_pairs_own_interval_covers_too(world: World, covers: float) -> None:
    held = []
    for seed in range(100):
        fit = simulate(world, np.zeros(world.endpoints), seed)
        critical = float(student.ppf(0.975, fit.degrees[0]))
        held += [_holds(fit, a, b, critical, 0.0) for a, b in pairs(fit)]
    assert np.mean(held) >= covers


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
    [(replace(QUICK, start_effect=0.01), 1.25), (replace(FULL, start_effect=0.01), 1.10)],
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


def test_the_covariance_of_blocks_is_solved_as_the_whole_matrix_would_be() -> None:
    random = np.random.default_rng(4)
    times_s, variances, right = np.sort(random.uniform(0, 60, 40)), random.uniform(0.1, 2, 40), random.normal(0, 1, 40)
    fast = Covariance(times_s, variances, 0.5, 8.0)
    whole = 0.25 * np.exp(-np.abs(times_s[:, None] - times_s) / 8.0) + np.diag(variances)
    assert fast.solve(right) == pytest.approx(np.linalg.solve(whole, right))
    assert fast.solve(np.eye(40)) == pytest.approx(np.linalg.inv(whole))
    assert fast.log_determinant == pytest.approx(np.linalg.slogdet(whole)[1])


def test_the_order_of_the_blocks_is_no_matter() -> None:
    random = np.random.default_rng(5)
    values, endpoints, times_s = random.normal(0, 1, 30), np.tile(np.arange(3), 10), np.arange(30.0)
    mixed = random.permutation(30)
    one, other = fit_levels(values, endpoints, times_s), fit_levels(values[mixed], endpoints[mixed], times_s[mixed])
    assert other.means == pytest.approx(one.means)
    assert other.residuals == pytest.approx(one.residuals[mixed])
