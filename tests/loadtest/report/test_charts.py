"""The parts of the charts: scales, labels that do not overlap, panels on common axes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from loadtest.report.charts.curves import last_stated, quantile_panels, shown_percentile, throughput_panels
from loadtest.report.charts.primitives import Scale, from_zero, spanning, spread
from loadtest.report.charts.rows import Question, gap_percentile, gap_rows, memory_row, row_panels
from loadtest.report.modes import modes_panel, modes_tables
from loadtest.report.sections import styler_of

FIXTURE = Path(__file__).with_name("report_fixture.json")


@pytest.fixture(scope="module")
def figures():
    return json.loads(FIXTURE.read_text())


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


def test_panels_cover_every_server_in_its_order(figures):
    panels = throughput_panels(figures, styler_of(figures))
    assert [p.title for p in panels] == [
        "onnxruntime (embedded)",
        "tflite (embedded)",
        "tfserving (embedded)",
        "torchserve (pip)",
    ]


def test_invalid_points_are_drawn_hollow_and_crossed(figures):
    images = [panel.image for panel in throughput_panels(figures, styler_of(figures))]
    assert ["cross" in image for image in images] == [True, True, False, False]
    assert "client-limited: load is 74 %" in images[0]


def test_axis_shows_a_percentile_that_nearly_all_points_have(figures):
    assert shown_percentile(figures) == "p99"
    few = {"name": "closed-8", "latency_ms": {"p50": 1, "p90": 2, "p95": None, "p99": None}}
    assert shown_percentile({"endpoints": [{"scenarios": [few]}]}) == "p90"


def test_quantiles_are_drawn_only_for_a_scenario_that_was_run(figures):
    assert quantile_panels(figures, styler_of(figures), "burst") == []
    assert len(quantile_panels(figures, styler_of(figures), "closed-8")) == 4


def test_a_line_ends_where_its_requests_state_no_more():
    assert last_stated({"latency_ms": {"p50": 1, "p90": 2, "p95": 3, "p99": 4}}) == 99
    assert last_stated({"latency_ms": {"p50": 1, "p90": 2, "p95": None, "p99": None}}) == 90
    assert last_stated({"latency_ms": {"p50": 1}}) == 50


def test_gap_row_shows_both_clocks(figures):
    row = gap_rows(gap_percentile(figures))(figures["endpoints"][0])
    sent, intended = row.dots
    assert sent.hollow
    assert sent.value < intended.value
    assert "intended send" in intended.told


def test_rows_of_one_process_are_merged(figures):
    panels = row_panels(figures, styler_of(figures), Question("memory, MB", memory_row))
    assert "all protocols" in panels[-1].image
    assert "all protocols" not in panels[0].image


def test_modes_are_drawn_with_their_intervals_and_named_in_their_table(figures):
    panel = modes_panel(figures)
    assert panel.image.count("whisker") == 0  # the fixture's rates have no interval of their own
    assert "tensorflow xla" in panel.image
    table = modes_tables(figures)[0]
    assert [column.name for column in table.columns][:4] == ["Framework", "Mode", "Images per s", "Epoch, s"]
    (absent,) = [row for row in table.rows if row[1].detail]
    assert absent[1].detail == "torch.compile needs a C++ compiler: none found"
    assert {cell.text for cell in absent[2:]} == {"n/a"}


def test_modes_are_left_out_where_none_was_measured():
    assert modes_panel({"training_modes": None}) is None
    assert modes_tables({}) == []
