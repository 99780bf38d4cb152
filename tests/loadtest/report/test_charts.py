"""The parts of the charts: scales, labels that do not overlap, panels on common axes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from loadtest.analysis.figures import Estimate
from loadtest.analysis.training_modes import Mode, TrainingModes
from loadtest.report.charts.panels import shown_percentile, styler_of
from loadtest.report.charts.primitives import Scale, from_zero, spanning, spread
from loadtest.report.charts.quantiles import last_stated, quantile_panels
from loadtest.report.charts.resources import gap_row, memory_row, slo_row
from loadtest.report.charts.rows import Chart, row_panels
from loadtest.report.charts.throughput import throughput_panels
from loadtest.report.charts.tiers import tiers_picture
from loadtest.report.charts.training import modes_panel
from loadtest.report.tables.training import modes_tables, modes_words


def test_scale_is_logarithmic_and_stays_inside():
    scale = Scale(1, 100, 0, 200)
    assert scale(10) == pytest.approx(100)
    assert scale(1000) == 200
    assert scale.ticks() == [1, 2, 5, 10, 20, 50, 100]


def test_scale_from_zero_has_round_ticks():
    assert from_zero([970.0], 0, 100).ticks() == [0, 500, 1000]


def test_scale_over_nothing_is_still_one():
    assert spanning([], 0, 1).ticks()


def test_labels_are_moved_apart_but_not_out_of_the_picture():
    places = spread([10, 11, 99, 100], 12, 100)
    assert all(b - a >= 12 for a, b in pairwise(places))
    assert max(places) <= 100


def test_panels_cover_every_server_in_its_order(report):
    titles = [panel.title for panel in throughput_panels(report, styler_of(report))]
    assert titles == ["tflite (embedded)", "onnxruntime (embedded)", "tfserving (embedded)", "torchserve (pip)"]


def test_unranked_points_are_drawn_hollow_and_crossed(report):
    images = [panel.image for panel in throughput_panels(report, styler_of(report))]
    assert ["cross" in image for image in images] == [False, False, False, True]
    assert "not ranked: its speed changed too much" in images[3]


def test_axis_shows_a_percentile_that_nearly_all_points_have(report):
    assert shown_percentile(report, "closed") == "p99"
    few = tuple(
        replace(e, points=tuple(replace(p, p99_ms=None, p95_ms=None) for p in e.points)) for e in report.endpoints
    )
    assert shown_percentile(replace(report, endpoints=few), "closed") == "p90"


def test_quantiles_are_drawn_only_for_a_load_that_was_run(report):
    assert quantile_panels(report, styler_of(report), "burst") == []
    assert len(quantile_panels(report, styler_of(report), "closed-8")) == 4


@pytest.mark.parametrize(("lacking", "last"), [((), 99), (("p99_ms",), 95), (("p99_ms", "p95_ms", "p90_ms"), 50)])
def test_a_line_ends_where_its_requests_state_no_more(report, lacking, last):
    assert last_stated(replace(report.endpoints[0].points[0], **dict.fromkeys(lacking))) == last


def test_gap_row_shows_both_clocks(report):
    sent, intended = gap_row("p95")(report.endpoints[0]).marks
    assert sent.hollow
    assert sent.value < intended.value
    assert "intended send" in intended.hover


def test_rows_of_one_process_are_merged(report):
    shared = tuple(replace(e, peak_rss_bytes=10**8, steady_rss_bytes=9 * 10**7) for e in report.endpoints)
    chart = Chart("memory, MB", memory_row)
    panels = row_panels(replace(report, endpoints=shared), styler_of(report), chart)
    assert all("all protocols" in panel.image for panel in panels)
    assert "all protocols" not in row_panels(report, styler_of(report), chart)[0].image


def test_rates_are_drawn_for_endpoints_that_meet_the_target(report):
    make = slo_row(report)
    assert [mark.hollow for mark in make(report.endpoints[0]).marks] == [True, False]
    assert make(report.endpoint("torchserve/pytorch-torchscript/grpc")) is None


def test_a_row_without_a_figure_is_left_out(report):
    first = report.endpoints[0]
    bare = replace(first, peak_rss_bytes=None, cold_start=None, points=())
    assert memory_row(bare) is gap_row("p95")(bare) is None


@pytest.mark.parametrize(
    ("factor", "first_tick", "second_tick"), [(1.0, "0", "5k"), (0.001, "10", "1k")], ids=["from zero", "logarithmic"]
)
def test_axis_of_the_tiers_is_logarithmic_where_the_slowest_would_vanish(report, factor, first_tick, second_tick):
    ranking = report.ranking("throughput")
    slow = Estimate(1010 * factor, 970 * factor, 1050 * factor)
    rows = (*ranking.ranked[:-1], replace(ranking.ranked[-1], figure=slow))
    picture = tiers_picture(report, replace(ranking, ranked=rows), "caption")
    axis = picture[: picture.index("</thead>")]
    assert f">{first_tick}</text>" in axis
    assert f">{second_tick}</text>" in axis


def test_training_modes_are_drawn_and_named_in_their_table():
    rate = Estimate(900.0, 890.0, 910.0)
    modes = TrainingModes(
        0.98, 3, (Mode("tensorflow", "xla", images_per_s=rate), Mode("pytorch", "compile", missing="needs a compiler"))
    )
    assert "tensorflow xla: 900 images/s (890 to 910)" in modes_panel(modes).image
    (table,) = modes_tables(modes)
    assert [column.name for column in table.columns] == ["Mode", "Images/s"]
    assert table.rows[1].cells[0].detail == "needs a compiler"
    assert modes_words(modes) == []
