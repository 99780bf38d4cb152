"""Counts against LoadGen's own table, quantiles against published values, intervals against their promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import polygamma

from loadtest.analysis.intervals import (
    certainly_over,
    mean_interval,
    order_interval,
    quantile,
    ratio_interval,
    requests_needed,
    student_quantile,
    upper_bound,
)
from loadtest.analysis.moderation import fit_prior, trigamma_inverse


@pytest.mark.parametrize(
    ("share", "counts"),
    [
        (0.90, {0: 44, 1: 64, 5: 127, 10: 197}),
        (0.95, {0: 90, 1: 130, 5: 259, 10: 398}),
        (0.99, {0: 459, 1: 662, 5: 1307, 10: 2010}),
        (0.999, {0: 4603, 1: 6636, 5: 13105, 10: 20140}),
    ],
)
def test_counts_are_loadgens(share: float, counts: dict[int, int]) -> None:
    assert {over: requests_needed(share, over) for over in counts} == counts


def test_too_many_over_are_seen_as_the_binomial_says() -> None:
    # 15 expected of 1,500: P[X >= 25] = 0.0108, P[X >= 26] = 0.0059
    assert not certainly_over(1500, 25, 0.99)
    assert certainly_over(1500, 26, 0.99)
    assert not certainly_over(10, 0, 0.99)


def test_a_percentile_is_an_element() -> None:
    ordered = np.arange(100.0)
    assert [quantile(ordered, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0.0, 50.0, 99.0, 99.0]


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [(0.975, 2, 4.302653), (0.975, 10, 2.228139), (0.995, 4, 4.604095), (0.95, 30, 1.697261), (0.975, 1e6, 1.959966)],
)
def test_student_quantiles_are_the_published_ones(probability: float, degrees: float, expected: float) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(expected, abs=2e-6)


def test_an_upper_bound_needs_enough_requests() -> None:
    ordered = np.arange(662.0)
    assert upper_bound(ordered, 0.99) == 660.0
    assert upper_bound(ordered[:459], 0.99) == 458.0
    assert upper_bound(ordered[:458], 0.99) is None


def test_order_intervals_cover_what_they_promise() -> None:
    random = np.random.default_rng(5)
    true = -np.log(1 - 0.9)
    hits = 0
    for _ in range(400):
        low, high = order_interval(np.sort(random.exponential(1.0, 300)), 0.9) or (0.0, 0.0)
        hits += low <= true <= high
    assert 0.93 <= hits / 400 <= 1.0


def test_order_intervals_are_none_for_too_few() -> None:
    assert order_interval(np.arange(5.0), 0.99) is None
    assert order_interval(np.zeros(0), 0.5) is None


def test_mean_intervals_cover_what_they_promise() -> None:
    random = np.random.default_rng(6)
    intervals = [mean_interval(random.normal(10, 1, 3).tolist()) for _ in range(600)]
    hits = sum(found is not None and found[0] <= 10 <= found[1] for found in intervals)
    assert 0.93 <= hits / 600 <= 0.97


def test_one_round_has_no_interval() -> None:
    assert mean_interval([1.0]) is None
    assert ratio_interval([1.0, 0.0]) is None


def test_trigamma_is_inverted() -> None:
    assert trigamma_inverse(math.pi**2 / 6) == pytest.approx(1.0)
    assert trigamma_inverse(polygamma(1, 7.5)) == pytest.approx(7.5)


def test_a_prior_is_found_again() -> None:
    random = np.random.default_rng(7)
    true = 8 * 0.5 / random.chisquare(8, 4000)
    degrees, variance = fit_prior(true * random.chisquare(4, 4000) / 4, 4)
    assert degrees == pytest.approx(8, rel=0.25)
    assert variance == pytest.approx(0.5, rel=0.1)
