"""The tables of the doubter's sections: what they hold, what they leave out."""

from __future__ import annotations

from dataclasses import replace

from loadtest.report.tables.conformance import conformance_summary, conformance_tables
from loadtest.report.tables.design import design_table, environment_table, settings_table
from loadtest.report.tables.points import answers_table, points_table, questions_table, split_table
from loadtest.report.tables.resources import artifacts_table, resources_table, slo_table, start_table


def texts(table):
    return [[cell.text for cell in row.cells] for row in table.rows]


def test_points_that_are_not_ranked_stand_below_with_the_reason(report):
    table = points_table(report)
    assert len(table.rows) + len(table.unranked) == 56
    (invalid,) = table.unranked
    assert invalid.cells[0].text == "torchserve rest"
    assert invalid.cells[-1].text == "INVALID"
    meaning, reason = invalid.cells[-1].detail.split("; ")
    assert meaning == "its speed changed too much to state one figure"
    assert reason == "unstable: its speed differs from its neighbours' by up to 1.9 times"


def test_split_is_shown_for_servers_that_tell_it(report, few):
    assert texts(split_table(few))[0] == ["rest-binary", "32", "3.44", "1.03", "0.687", "1.72", "11.2"]
    silent = tuple(replace(e, points=tuple(replace(p, split=None) for p in e.points)) for e in report.endpoints)
    assert split_table(replace(report, endpoints=silent)) is None


def test_named_comparisons_say_what_differs_and_what_is_better(report):
    rows = texts(questions_table(report))
    assert rows[0] == ["protocol", "grpc", "rest", "tflite tensorflow-tflite", "answers/s", "1.38", "grpc is better"]
    assert rows[3] == [
        "framework",
        "pytorch",
        "tensorflow",
        "onnxruntime onnx rest",
        "answers/s",
        "1.02",
        "no difference seen",
    ]


def test_answers_show_requests_failures_and_bytes(few):
    assert texts(answers_table(few))[0][2:8] == ["32,492", "0", "0", "3,283", "3,410", "201"]


def test_what_was_not_measured_is_not_printed_as_zero(few):
    bare = tuple(replace(e, peak_rss_bytes=None, cold_start=None) for e in few.endpoints[:1])
    report = replace(few, endpoints=(*bare, *few.endpoints[1:]))
    assert texts(resources_table(report))[0][1] == "n/a"
    assert len(start_table(report).rows) == 1


def test_columns_that_nothing_was_measured_for_are_left_out(few):
    bare = replace(few, endpoints=tuple(replace(e, threads=None) for e in few.endpoints))
    assert "Threads" in {column.name for column in resources_table(few).columns}
    assert "Threads" not in {column.name for column in resources_table(bare).columns}


def test_rates_that_no_second_run_confirmed_stand_below(report):
    table = slo_table(report)
    assert {row.cells[0].text for row in table.unranked} == {
        "torchserve grpc",
        "torchserve rest-binary",
        "torchserve rest",
    }
    assert table.unranked[0].cells[2].detail == "p99 is over 5 ms at the lowest rate"


def test_a_rate_that_the_load_generator_limited_is_a_lower_bound(report):
    slo = replace(report.slo, rates=tuple(replace(rate, client_limited=True) for rate in report.slo.rates[:1]))
    assert texts(slo_table(replace(report, slo=slo)))[0][2] == "≥ 5,590"


def test_artifacts_that_were_not_exported_stand_below_with_the_remedy(report):
    table = artifacts_table(report)
    assert [row.cells[0].detail for row in table.unranked] == ["install the extra litert"]
    assert texts(table)[0][:4] == ["tensorflow-tflite", "11.1 MB", "98.53 %", "1.2e-06"]


def test_artifacts_stand_beside_their_speed(report):
    table = artifacts_table(report)
    places = [i for i, column in enumerate(table.columns) if column.name in ("In process p50, ms", "Answers/s")]
    assert [[row[i] for i in places] for row in texts(table)][:2] == [["0.131", "9,310"], ["0.118", "9,120"]]


def test_design_says_where_the_open_load_comes_from(report):
    facts = dict(texts(design_table(report)))
    assert facts["open load"].startswith("300 requests/s to every endpoint: 50 % of the capacity of torchserve/")
    asked = replace(report.design, open_load=replace(report.design.open_load, chosen_by="user"))
    assert dict(texts(design_table(replace(report, design=asked))))["open load"].endswith("the rate that was asked for")


def test_environment_names_machine_and_versions(report):
    facts = dict(texts(environment_table(report)))
    assert facts["cores of the servers"] == "0"
    assert facts["torch"] == "2.9.0"


def test_settings_are_left_out_for_servers_that_ran_elsewhere(few):
    assert texts(settings_table(few))[0][2:] == ["32", "0", "1", "1"]
    assert settings_table(replace(few, endpoints=tuple(replace(e, settings=None) for e in few.endpoints))) is None


def test_conformance_counts_passed_of_tried(report):
    assert texts(conformance_summary(report))[0] == [
        "onnxruntime pytorch rest",
        "embedded",
        "oip-rest",
        "1 of 1",
        "0 of 1",
        "0",
    ]
    (table,) = conformance_tables(report)
    assert texts(table)[1] == ["an unknown model is refused", "SHOULD", "✗ fail", "✗ fail"]
    assert table.rows[1].cells[2].detail == "status 500"
