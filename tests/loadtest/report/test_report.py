"""The report from a fixture of invented figures: complete, escaped, self-contained, honest about what is ranked."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadtest.report import command
from loadtest.report.markdown import render_markdown, tables_of
from loadtest.report.markup import VOID
from loadtest.report.page import render_html
from loadtest.report.tables.endpoints import glance_table

FIXTURE = Path(__file__).with_name("report_fixture.json")
SECTIONS = {
    **dict.fromkeys(("glance", "throughput", "distribution", "open", "cost"), ("endpoints",)),
    "slo": ("slo",),
    "parity": ("artifacts",),
    "training": ("training",),
    "modes": ("training_modes",),
    "clients": ("clients", "in_process"),
    "conformance": ("conformance",),
    "all": ("endpoints", "verdicts"),
    "environment": ("environment", "endpoints", "command", "seed", "rounds", "profile", "comparison", "generated"),
}


@pytest.fixture(scope="module")
def figures():
    return json.loads(FIXTURE.read_text())


@pytest.fixture(scope="module")
def few(figures):
    """Two endpoints are enough where the page is rendered again and again."""
    return {**figures, "endpoints": figures["endpoints"][:2], "verdicts": figures["verdicts"][:1]}


@pytest.fixture(scope="module")
def page(figures):
    return render_html(figures)


class Outline(HTMLParser):
    """Checks that every element is closed in its turn, and collects references, ids and text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.references, self.ids, self.elements, self.words = [], [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.elements.append((tag, found))
        self.references += [value for name, value in attrs if name in {"src", "href", "data", "srcset", "action"}]
        self.ids += [found["id"]] if "id" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_page_is_well_formed_with_unique_ids(page):
    ids = Outline(page).ids
    assert len(ids) == len(set(ids))


def test_page_fetches_nothing(page):
    assert all(reference.startswith(("#", "data:")) for reference in Outline(page).references)
    assert not re.search(r"@import|url\(|https?://|<iframe|<object", page)


def test_page_names_every_section_and_links_to_it(page):
    outline = Outline(page)
    assert set(SECTIONS) | {"method"} <= set(outline.ids)
    assert {f"#{name}" for name in SECTIONS} <= set(outline.references)


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_page_leaves_out_what_was_not_measured(few, section):
    assert section in Outline(render_html(few)).ids
    lacking = {**few, **dict.fromkeys(SECTIONS[section])}
    assert section not in Outline(render_html(lacking)).ids


def test_page_and_markdown_of_an_interrupted_comparison_are_written(figures):
    lacking = {"endpoints": [{**figures["endpoints"][0], "scenarios": []}], "headline": []}
    assert "not run" in render_html(lacking)
    assert "not run" in render_markdown(lacking)


def test_page_shows_every_endpoint_with_its_engine(figures, page):
    words = "".join(Outline(page).words)
    for endpoint in figures["endpoints"]:
        assert endpoint["name"] in words
        assert f"{endpoint['server']} ({endpoint['engine']})" in words


def test_page_escapes_data(few):
    hostile = "<script>alert(1)</script>\"'&"
    text = json.dumps(few).replace("onnxruntime", json.dumps(hostile)[1:-1])
    found = render_html(json.loads(text))
    assert "<script>alert" not in found
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;" in found
    Outline(found)


def test_every_chart_says_what_it_shows(page):
    images = [found for tag, found in Outline(page).elements if tag == "svg" and found.get("aria-hidden") != "true"]
    assert len(images) >= 20
    assert all(found.get("role") == "img" and found.get("aria-label") for found in images)


def test_every_table_scrolls_by_keyboard_and_names_its_columns(page):
    elements = Outline(page).elements
    frames = [found for _, found in elements if found.get("class") == "scroll"]
    assert all(found.get("tabindex") == "0" and found.get("aria-label") for found in frames)
    assert all(found.get("scope") for tag, found in elements if tag == "th")


def test_invalid_points_stand_below_and_are_marked(figures):
    table = glance_table(figures)
    ranked, unranked = ([row[0].text for row in rows] for rows in (table.rows, table.unranked))
    assert set(unranked) == {"onnxruntime/tensorflow-onnx/rest-binary", "tflite/pytorch-tflite/grpc"}
    assert len(ranked) + len(unranked) == len(figures["endpoints"])
    assert {row[-1].text for row in table.unranked} == {"INVALID", "client-limited"}
    assert any("unstable" in row[-1].detail for row in table.unranked)


def test_ranked_rows_come_fastest_first(figures):
    rates = [row[2].value for row in glance_table(figures).rows]
    assert rates == sorted(rates, reverse=True)


def test_a_percentile_that_may_not_be_stated_says_what_it_needs(page, figures):
    assert "n/a (needs 662)" in page
    assert "n/a (needs 662)" in render_markdown(figures)


def test_points_that_a_chart_can_not_show_are_named(page):
    told = page[page.index("Not drawn") :].partition("</p>")[0]
    assert "torchserve/pytorch-torchscript/rest (single_stream)" in told
    assert "onnxruntime" not in told


def test_endpoints_that_met_the_target_at_no_rate_are_named(figures):
    for entry in figures["slo"]["endpoints"]:
        if entry["name"].startswith("torchserve/"):
            entry["rate_rps"] = None
    said = "At no rate that was searched it was met by torchserve/pytorch-torchscript/grpc, torchserve/"
    assert said in render_html(figures)
    for entry in figures["slo"]["endpoints"]:
        entry["rate_rps"] = 1000
    assert "At no rate" not in render_html(figures)


def test_headline_leads_the_page_and_the_markdown(figures, page):
    body = "".join(Outline(page).words)
    assert body.index(figures["headline"][0]) < body.index("Which endpoint answers most")
    assert render_markdown(figures).index(figures["headline"][0]) < render_markdown(figures).index("| Endpoint |")


def test_markdown_escapes_data(figures):
    assert "An invented processor \\<for tests\\>" in render_markdown(figures)


def test_markdown_tables_have_a_field_for_every_column(figures):
    for block in re.findall(r"(?:^\|.*\n)+", render_markdown(figures), re.MULTILINE):
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_markdown_has_every_endpoint_and_every_table(figures):
    found = render_markdown(figures)
    assert all(f"| {endpoint['name']}" in found.replace("\\", "") for endpoint in figures["endpoints"])
    names = {table.name for table in tables_of(figures)}
    assert {"glance", "slo", "artifacts", "training", "clients", "points", "verdicts"} <= names


def test_an_interrupted_comparison_says_so(few):
    assert "was interrupted" in render_html({**few, "complete": False})
    assert "was interrupted" not in render_html({**few, "complete": True})


def test_unmeasured_figures_are_not_printed_as_zero(figures):
    bare = copy.deepcopy(figures)
    bare["endpoints"][-1].update(peak_rss_bytes=None, first_answer_s=None)
    row = next(row for row in glance_table(bare).rows if row[0].text == bare["endpoints"][-1]["name"])
    assert row[6].text == row[7].text == "n/a"


def test_columns_that_nothing_was_measured_for_are_left_out(figures):
    bare = copy.deepcopy(figures)
    for endpoint in bare["endpoints"]:
        endpoint["peak_rss_bytes"] = None
    assert "Peak memory" in {column.name for column in glance_table(figures).columns}
    assert "Peak memory" not in {column.name for column in glance_table(bare).columns}


def test_report_writes_three_forms_and_prints_the_table(tmp_path, capsys):
    assert command.main(["--from", str(FIXTURE), "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "onnxruntime/pytorch-onnx/rest-binary" in printed
    assert printed.rstrip().endswith("report.html")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md", "report.json"}
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(FIXTURE.read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "run `make compare`"), ("{", "is not JSON"), ("[]", "has no key `endpoints`")],
)
def test_report_refuses_what_is_no_report(tmp_path, capsys, content, message):
    path = tmp_path / "found.json"
    if content is not None:
        path.write_text(content)
    assert command.main(["--from", str(path), "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
