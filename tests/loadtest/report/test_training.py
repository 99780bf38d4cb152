"""Verdicts on the ways of training: from rounds, never from one, and never on what was not measured."""

from __future__ import annotations

import pytest

from loadtest.report.modes import modes_section, modes_tables
from loadtest.report.training import bounds_over_rounds, training_headline, training_verdicts


def row(framework, mode, seconds, missing=None):
    runs = [{"round": i, "seconds_to_target": s, "images_per_s": 1000 / s} for i, s in enumerate(seconds)]
    middle = sorted(seconds)[len(seconds) // 2] if seconds else None
    return {"framework": framework, "mode": mode, "seconds_to_target": middle, "runs": runs, "missing": missing}


@pytest.fixture
def found():
    rows = [
        row("tensorflow", "reference", [60.0, 61.0, 60.5]),
        row("tensorflow", "xla", [12.0, 12.1, 12.2]),
        row("tensorflow", "graph", [14.0, 14.2, 14.1]),
        row("pytorch", "reference", [90.0, 91.0, 90.2]),
        row("pytorch", "eager", [12.1, 12.0, 12.2]),
        row("pytorch", "compile", [], "needs a C++ compiler"),
    ]
    return {"modes": rows}


def test_headline_sets_the_fastest_against_the_reference_and_each_other(found):
    said = training_headline(found)
    assert len(said) == 3
    assert any(s.startswith("tensorflow reference takes 4") and "as long as tensorflow xla" in s for s in said)
    assert any(s.startswith("pytorch reference takes 7") and "as long as pytorch eager" in s for s in said)
    assert any("no difference seen" in s and "tensorflow xla" in s for s in said)


def test_a_missing_mode_is_not_compared(found):
    about = [v for v in training_verdicts(found) if "pytorch compile" in (v["a"], v["b"])]
    assert {v["outcome"] for v in about} == {"not_comparable"}
    assert all("needs a C++ compiler" in v["text"] for v in about)


def test_one_round_gives_no_verdict(found):
    for mode in found["modes"]:
        mode["runs"] = mode["runs"][:1]
    assert {v["outcome"] for v in training_verdicts(found)} == {"not_comparable"}


def test_intervals_come_from_the_rounds(found):
    low, high = bounds_over_rounds(found["modes"][1], "seconds_to_target")
    assert low < 12.1 < high
    assert bounds_over_rounds({"runs": [0.5, 0.6], "latency_p50_ms": 0.55}, "latency_p50_ms")[0] < 0.55
    assert bounds_over_rounds({"seconds_to_target": 1.0}, "seconds_to_target") is None


def test_a_comparison_that_has_only_begun_shows_no_empty_table():
    begun = {"counts": [{"framework": "pytorch", "mode": "eager", "tried": []}], "modes": [row("pytorch", "eager", [])]}
    assert modes_section({"training_modes": begun}) == ""


def test_chapter_leads_with_the_verdicts_and_hides_the_rounds(found):
    section = modes_section({"training_modes": found})
    assert section.index("as long as tensorflow xla") < section.index("<table")
    (table,) = modes_tables({"training_modes": found})
    assert "Runs" not in {column.name for column in table.columns}
    assert any(cell.detail == "needs a C++ compiler" for cells in table.rows for cell in cells)
