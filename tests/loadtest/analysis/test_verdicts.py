"""Verdicts on simulated rounds: rarely false, sensitive to planted differences, and worded within their interval."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.analysis.verdicts import between, compare, metrics_for

THROUGHPUT, LATENCY, OPEN = metrics_for("p95")


def rounds_of(means: list[float], spread: float, rounds: int, random: np.random.Generator) -> dict[str, list[float]]:
    """Endpoints' figures with a common effect of each round and errors proportional to them."""
    common = random.normal(0, 0.05, rounds)
    return {
        f"e{i:02}": (mean * np.exp(common + random.normal(0, spread, rounds))).tolist() for i, mean in enumerate(means)
    }


@pytest.mark.parametrize(("endpoints", "rounds"), [(2, 3), (2, 5), (14, 3), (14, 5)])
def test_equal_endpoints_are_seldom_told_apart(endpoints: int, rounds: int) -> None:
    random = np.random.default_rng(endpoints)
    pairs, false = endpoints * (endpoints - 1) // 2, 0
    for _ in range(150):
        figures = rounds_of([1000.0] * endpoints, 0.03, rounds, random)
        found = compare(THROUGHPUT, figures, {}, pairs)
        false += any(verdict["outcome"] != "no_difference" for verdict in found)
    assert false / 150 <= 0.04  # 1 % is promised; three standard errors of the simulation beyond it


def test_unequal_noise_does_not_make_false_verdicts() -> None:
    random = np.random.default_rng(3)
    false = 0
    for _ in range(150):
        figures = rounds_of([1000.0] * 10, 0.01, 3, random)
        figures["e00"] = (np.array(figures["e00"]) * np.exp(random.normal(0, 0.08, 3))).tolist()
        found = compare(THROUGHPUT, figures, {}, 45)
        false += any(verdict["outcome"] != "no_difference" for verdict in found)
    assert false / 150 <= 0.15  # an outlier of eight times the noise, in three rounds


@pytest.mark.parametrize(("ratio", "share"), [(1.25, 0.95), (2.0, 1.0)])
def test_a_planted_difference_is_found_among_fourteen(ratio: float, share: float) -> None:
    random, hits = np.random.default_rng(4), 0
    for _ in range(60):
        figures = rounds_of([1000.0 * ratio] + [1000.0] * 13, 0.02, 3, random)
        found = compare(THROUGHPUT, figures, {}, 91)
        hits += all(v["outcome"] == "a_better" for v in found if v["a"] == "e00")
    assert hits / 60 >= share


@pytest.mark.parametrize("metric", [THROUGHPUT, LATENCY, OPEN])
def test_the_better_one_is_named(metric: object) -> None:
    random = np.random.default_rng(1)
    figures = rounds_of([100.0, 300.0], 0.01, 5, random)
    (verdict,) = compare(metric, figures, {}, 1)
    better = "e01" if metric.higher_is_better else "e00"
    assert verdict["outcome"] == ("b_better" if better == "e01" else "a_better")
    assert verdict["ratio_low"] < 1 / 3 < verdict["ratio_high"]
    assert verdict["text"].startswith(better if metric is THROUGHPUT else "e01 takes")


def test_no_difference_states_its_width() -> None:
    figures = {"a": [100.0, 101.0, 99.0], "b": [100.5, 99.5, 100.0]}
    (verdict,) = compare(LATENCY, figures, {}, 1)
    assert verdict["outcome"] == "no_difference"
    assert "no difference seen (±" in verdict["text"]


def test_an_invalid_endpoint_is_never_ranked() -> None:
    found = compare(THROUGHPUT, {"a": [1.0, 1.0], "b": [2.0, 2.0]}, {"c": "INVALID, client-limited"}, 1)
    outcomes = {(v["a"], v["b"]): v["outcome"] for v in found}
    assert outcomes[("a", "c")] == outcomes[("b", "c")] == "not_comparable"
    assert "c is not ranked: INVALID, client-limited" in found[1]["text"]


def test_one_round_tells_nothing() -> None:
    (verdict,) = compare(THROUGHPUT, {"a": [1.0], "b": [2.0]}, {}, 1)
    assert verdict["outcome"] == "not_comparable"
    assert verdict["text"] == "one round can't tell a difference from chance"


@pytest.mark.parametrize(
    ("low", "high", "text"), [(1.81, 2.07, "1.8 to 2.1"), (1.038, 1.09, "1.03 to 1.10"), (30.2, 41.9, "30 to 42")]
)
def test_ratios_are_rounded_outwards(low: float, high: float, text: str) -> None:
    assert between(low, high) == text
