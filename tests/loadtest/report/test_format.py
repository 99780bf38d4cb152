"""How figures are printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.analysis.figures import Estimate
from loadtest.report.format import figure, interval, percent, percentile, significant, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (float("nan"), "n/a"),
        (0, "0"),
        (0.41234, "0.412"),
        (9.996, "10.0"),
        (99.96, "100"),
        (12345.0, "12,300"),
        (0.0009, "9.00e-04"),
        (-4.567, "-4.57"),
    ],
)
def test_significant_keeps_three_digits(value, text):
    assert significant(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "n/a"), (812, "812 B"), (3338, "3.34 kB"), (11_100_000, "11.1 MB"), (2.5e9, "2.50 GB")]
)
def test_size_takes_the_unit_that_fits(value, text):
    assert size(value) == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [("throughput_rps", "1.50/s"), ("p50_ms", "1.50 ms"), ("first_answer_s", "1.50 s"), ("cost_per_million", "1.50")],
)
def test_figure_has_the_unit_of_its_name(kind, text):
    assert figure(kind, 1.5) == text


def test_interval_is_left_out_where_a_bound_is_unknown():
    assert interval(Estimate(1.5, 1.0, 2.0)) == "1.00 to 2.00"
    assert interval(Estimate(1.5, None, 2.0)) == interval(None) == ""


def test_percentile_tells_what_it_needs(report):
    point = report.endpoints[0].points[0]
    assert percentile(point, "p50") == "0.405"
    assert percentile(replace(point, p99_ms=None, needs={"p99": 662}), "p99") == "n/a (needs 662)"
    assert percentile(replace(point, p95_ms=None), "p95") == "n/a"


def test_percent_keeps_the_decimals_of_an_accuracy():
    assert percent(0.9853) == "98.53 %"
