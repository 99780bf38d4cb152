"""Tiers and named comparisons: from fits whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtest.analysis.figures import EndpointReport
from loadtest.analysis.levels import Fit
from loadtest.analysis.tiers import Subject, differs_in, named_questions, order_by, rank

CRITICAL = 4.0


def fit(levels: list[float], error: float = 0.01, starts: int = 2) -> Fit:
    count = len(levels)
    names = tuple(f"e{number}" for number in range(count))
    variances = np.full(count, error**2)
    rest = np.ones(count), variances, np.arange(count)
    return Fit(names, np.array(levels), variances, np.full(count, 12.0), 0.0, starts, *rest)


def subject(levels: list[float], *, higher_is_better: bool = True, starts: int = 2, error: float = 0.01) -> Subject:
    fitted = fit(levels, error, starts)
    values = dict(zip(fitted.names, np.exp(levels).tolist(), strict=True))
    return Subject("throughput", "closed-32", "throughput_rps", higher_is_better, fitted, values)


def endpoint(server: str, framework: str, kind: str, protocol: str, artifact: str = "") -> EndpointReport:
    artifact = artifact or f"{framework}-{kind}"
    name = f"{server}/{artifact}/{protocol}"
    return EndpointReport(name, server, "embedded", artifact, protocol, framework, kind, None, ())


def test_endpoints_without_a_difference_share_a_tier() -> None:
    ranking = rank(subject([2.0, 1.0, 1.98, 1.02, 0.0]), CRITICAL)
    assert [[row.endpoint for row in tier] for tier in ranking.tiers()] == [["e0", "e2"], ["e3", "e1"], ["e4"]]


def test_shorter_is_better_for_latencies() -> None:
    ranking = rank(subject([2.0, 1.0], higher_is_better=False), CRITICAL)
    assert [row.endpoint for row in ranking.ranked] == ["e1", "e0"]
    assert ranking.ranked[1].times_best is not None
    assert ranking.ranked[1].times_best.value == pytest.approx(np.e)


def test_wide_intervals_leave_all_in_one_tier() -> None:
    assert len(rank(subject([2.0, 1.0, 1.5], error=0.5), CRITICAL).tiers()) == 1


def test_one_start_tells_no_difference() -> None:
    ranking = rank(subject([2.0, 1.0], starts=1), CRITICAL)
    assert not ranking.inferred
    assert all(row.times_best is None and row.figure.low is None for row in ranking.ranked)


def test_figures_without_intervals_are_put_in_order() -> None:
    ranking = order_by("memory", "peak_rss_bytes", {"a": 30.0, "b": 10.0, "c": 30.0, "d": None}, "not ours")
    assert [(row.endpoint, row.tier) for row in ranking.ranked] == [("b", 1), ("a", 2), ("c", 2)]
    assert [(row.endpoint, row.reason) for row in ranking.unranked] == [("d", "not ours")]


@pytest.mark.parametrize(
    ("one", "other", "about"),
    [
        (("s", "tensorflow", "onnx", "rest"), ("s", "tensorflow", "onnx", "grpc"), "protocol"),
        (("s", "tensorflow", "onnx", "rest"), ("s", "pytorch", "onnx", "rest"), "framework"),
        (("s", "pytorch", "onnx", "rest"), ("s", "pytorch", "onnx-int8", "rest"), "format"),
        (("s", "pytorch", "onnx", "rest"), ("t", "pytorch", "onnx", "rest"), "server"),
        (("s", "pytorch", "onnx", "rest"), ("t", "pytorch", "onnx", "grpc"), None),
        (("s", "", "onnx", "rest", "a"), ("s", "", "onnx", "rest", "b"), None),
        (("s", "pytorch", "onnx", "rest", "trees50"), ("s", "pytorch", "onnx", "rest", "trees55"), None),
    ],
)
def test_a_named_comparison_differs_in_one_thing(
    one: tuple[str, ...], other: tuple[str, ...], about: str | None
) -> None:
    assert differs_in(endpoint(*one), endpoint(*other)) == about


def test_named_comparisons_say_which_is_better() -> None:
    pair = [endpoint("s", "pytorch", "onnx", protocol) for protocol in ("rest", "grpc")]
    fitted = replace(fit([1.0, 0.5]), names=tuple(e.name for e in pair))
    asked = Subject("throughput", "closed-32", "throughput_rps", True, fitted, {})
    (question,) = named_questions(pair, [asked], CRITICAL)
    assert (question.about, question.a_value, question.b_value) == ("protocol", "rest", "grpc")
    assert question.outcome == "a_better"
    (equal,) = named_questions(pair, [asked], critical=40.0)
    assert equal.outcome == "no_difference"
