"""The report as Markdown and the first screen in a terminal: the same words as on the page."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from loadtest.report.answer import answer_of
from loadtest.report.markdown import render_markdown
from loadtest.report.terminal import WIDTH, render_text


@pytest.fixture(scope="module")
def markdown(report):
    return render_markdown(report)


@pytest.fixture(scope="module")
def screen(report):
    return render_text(report)


def test_markdown_begins_with_the_answer(report, markdown):
    verdict, *rest = answer_of(report)
    assert markdown.startswith(f"# {verdict}\n\n{' '.join(rest)}\n")


def test_markdown_escapes_data(markdown):
    assert "An invented processor \\<for tests\\>" in markdown


def test_markdown_tables_have_a_field_for_every_column(markdown):
    tables = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    assert len(tables) >= 20
    for table in tables:
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_markdown_folds_long_tables(markdown):
    assert markdown.count("<details>") == markdown.count("</details>") >= 8
    assert "<details><summary>Every case of oip-rest</summary>" in markdown


def test_markdown_marks_what_is_not_ranked(markdown):
    assert "torchserve rest (not ranked)" in markdown
    assert "not ranked: its speed changed too much to state one figure" in markdown


def test_terminal_begins_with_the_answer_and_fits(report, screen):
    assert screen.replace("\n", " ").startswith(" ".join(answer_of(report)))
    assert max(map(len, screen.splitlines())) <= WIDTH


def test_a_narrow_terminal_has_a_shorter_axis_and_fewer_columns(report):
    narrow = render_text(report, 80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert len([line for line in narrow.splitlines() if "●" in line]) == 13
    assert "Just as good" not in narrow


def test_terminal_shows_every_endpoint_once_with_its_interval(report, screen):
    lines = [line for line in screen.splitlines() if "●" in line]
    assert len(lines) == 13
    assert re.search(r"^tflite rest-binary .*├.*●.*┤.* 9,310/s  8,940 to 9,680$", lines[0])


def test_terminal_separates_tiers_and_what_is_not_ranked(report, screen):
    rules = [line.strip("─ ") for line in screen.splitlines() if line.startswith("──")]
    assert rules == [*(f"tier {number}" for number in range(1, 8)), "not ranked"]
    assert "torchserve rest  " in screen.partition("── not ranked")[2]


def test_both_state_the_error_rate(report, markdown, screen):
    assert report.family.statement in markdown
    assert report.family.statement in screen


def test_terminal_says_what_to_choose(screen):
    assert re.search(r"^Fastest start +tflite +0.346 s +none$", screen, re.MULTILINE)
    assert "Cheapest million answers" in screen


def test_terminal_without_rankings_says_only_what_it_knows(few):
    assert "tier" not in render_text(few)
    assert render_text(replace(few, complete=False)).endswith("what was measured until then.")


def test_terminal_draws_no_tiers_where_nothing_tells_apart(report):
    plain = tuple(replace(ranking, inferred=False) for ranking in report.rankings)
    screen = render_text(replace(report, rankings=plain))
    assert "tier" not in screen
    assert re.search(r"^Most answers per second +tflite rest-binary +9,310/s +not known$", screen, re.MULTILINE)
