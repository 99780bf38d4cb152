"""The page: complete, escaped, self-contained, readable without script, honest about what is ranked."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from loadtest.report.markup import VOID
from loadtest.report.names import Names
from loadtest.report.page import render_html

SECTIONS = (
    "method", "answers", "confidence", "distribution", "throughput", "open", "slo", "resources", "start", "parity",
    "settings", "conformance", "in-process", "training", "environment", "raw", "terms",
)  # fmt: skip


class Outline(HTMLParser):
    """Checks that every element is closed in its turn, and collects references, ids, elements and text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.references, self.ids, self.elements, self.words = [], [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self.references += [value for name, value in attrs if name in {"src", "href", "data", "srcset", "action"}]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def page(report):
    return render_html(report)


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page)


def test_page_is_well_formed_with_unique_ids(outline):
    assert len(outline.ids) == len(set(outline.ids))


def test_page_fetches_nothing(page, outline):
    assert all(reference.startswith(("#", "data:")) for reference in outline.references)
    assert not re.search(r"@import|url\(|https?://|<iframe|<object", page)


def test_sections_stand_in_the_order_of_a_doubter(outline):
    assert [name for name in outline.ids if name in SECTIONS] == list(SECTIONS)


def test_first_screen_comes_before_what_to_choose_and_that_before_the_doubts(outline):
    order = [name for name in outline.ids if name in {"filters", "tiers-throughput", "choose", "overhead", "doubts"}]
    assert order == ["filters", "tiers-throughput", "choose", "overhead", "doubts"]


def test_page_has_landmarks_and_one_heading(outline):
    tags = [tag for tag, _ in outline.elements]
    assert all(tags.count(tag) == 1 for tag in ("main", "header", "footer", "h1"))


def test_page_needs_no_script(page):
    without = re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)
    assert "9,310/s" in without
    assert '<button id="theme" type="button" hidden>' in without
    assert re.search(r'<div id="filters"[^>]* hidden>', without)


@pytest.mark.parametrize(
    ("section", "absent"),
    [
        ("slo", {"slo": None}),
        ("conformance", {"conformance": ()}),
        ("in-process", {"in_process": ()}),
        ("training", {"training": ()}),
        ("parity", {"artifacts": ()}),
    ],
)
def test_page_leaves_out_what_was_not_measured(few, section, absent):
    assert section in Outline(render_html(few)).ids
    assert section not in Outline(render_html(replace(few, **absent))).ids


def test_a_model_of_the_users_own_is_not_described_by_the_twins(few):
    own = replace(few, training=(), endpoints=tuple(replace(e, framework="", format="onnx") for e in few.endpoints))
    words = " ".join(Outline(render_html(own)).words)
    for foreign in (
        "MNIST",
        "twin",
        "image",
        "probability",
        "Which framework",
        "tensorflow_model_server",
        "small network",
    ):
        assert foreign not in words.partition('"use strict"')[0]


def test_a_comparison_without_points_is_still_a_page(few):
    empty = replace(few, endpoints=tuple(replace(endpoint, points=()) for endpoint in few.endpoints))
    assert "No endpoint can be ranked by throughput" in render_html(empty)


def test_every_endpoint_stands_in_the_picture_once_best_first(report, page):
    picture = page[page.index('id="tiers-throughput"') : page.index('id="choose"')]
    rows = re.findall(r'<th scope="row" title="([^"]+)"', picture)
    ranking = report.ranking("throughput")
    assert rows == [*(row.endpoint for row in ranking.ranked), *(row.endpoint for row in ranking.unranked)]
    assert len(rows) == 14


def test_tiers_are_bodies_of_the_picture(report, page):
    picture = page[page.index('id="tiers-throughput"') : page.index('id="choose"')]
    assert picture.count("<tbody") == len(report.ranking("throughput").tiers()) + 1
    assert "95 % interval 8,940 to 9,680" in picture


def test_what_is_not_ranked_says_what_that_means(page):
    assert "not ranked: its speed changed too much to state one figure" in page
    assert "neighbours&#x27; by up to 1.9 times" in page


def test_a_stand_in_is_called_embedded(page):
    picture = page[page.index('id="tiers-throughput"') : page.index('id="choose"')]
    assert picture.count('title="stands in for tensorflow_model_server">embedded<') == 2


def test_no_paragraph_lists_more_than_four_endpoints(report, page):
    short = Names(report.endpoints).short
    names = [name for endpoint in report.endpoints for name in (endpoint.name, short(endpoint.name))]
    paragraphs = re.findall(r"<(?:p|h1|figcaption)[ >].*?</", page, re.DOTALL)
    assert len(paragraphs) > 20
    assert max(sum(name in paragraph for name in names) for paragraph in paragraphs) <= 4


def test_page_escapes_data(few):
    hostile = "<script>alert(1)</script>\"'&"
    first, *rest = few.endpoints
    page = render_html(replace(few, endpoints=(replace(first, engine=hostile), *rest), command=hostile))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;" in page
    Outline(page)


def test_every_image_says_what_it_shows(outline):
    images = [attributes for tag, attributes in outline.elements if tag == "svg" and "aria-hidden" not in attributes]
    assert len(images) >= 40
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in images)


def test_every_table_scrolls_by_keyboard_and_names_its_columns(outline):
    frames = [attributes for _, attributes in outline.elements if attributes.get("class") == "scroll"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in frames)
    assert all(attributes.get("scope") for tag, attributes in outline.elements if tag == "th")


def test_a_percentile_that_may_not_be_stated_says_what_it_needs(page):
    assert "n/a (needs 662)" in page


def test_points_that_a_chart_can_not_show_are_named_up_to_four(report, page):
    assert "Not drawn, for want of requests to state a p99: torchserve grpc (1 user)" in page
    first = replace(report.endpoints[0], points=tuple(replace(p, p99_ms=None) for p in report.endpoints[0].points))
    lacking = replace(report, endpoints=(first, *report.endpoints[1:]))
    assert "and 2 more." in render_html(lacking)


def test_endpoints_that_meet_the_target_at_no_rate_are_named_and_capped(page):
    assert "Met at no rate by torchserve grpc, torchserve rest-binary and 1 other." in page


def test_replicas_and_cost_stand_in_the_table_of_rates(page):
    assert "1,000 requests/s need 1 replica of tflite rest-binary, tuned settings." in page
    assert "Replicas for 1,000/s" in page
    assert "Cost of a million" in page


def test_what_to_choose_has_every_wish_with_its_figure(page):
    table = page[page.index('id="table-choices"') :].partition("</table>")[0]
    assert re.findall(r'<th scope="row">([^<]+)', table) == [
        "Most answers per second", "Shortest latency alone", "Shortest p95 under load", "Least memory",
        "Least processor time", "Fastest start", "Smallest to ship", "Cheapest million answers",
    ]  # fmt: skip
    assert "at 0.04 per vCPU-hour" in table
    assert "onnxruntime pytorch rest-binary and 3 others" in table


def test_sizes_that_print_alike_are_just_as_good(page):
    table = page[page.index('id="table-choices"') :].partition("</table>")[0]
    smallest = table[table.index("Smallest to ship") :].partition("</tr>")[0]
    assert "11.1 MB" in smallest
    assert "onnxruntime and 2 others" in smallest or "onnxruntime and 5 others" in smallest


def test_first_screen_states_the_error_rate_of_all_of_it(report, page):
    first_screen = page[: page.index('id="choose"')]
    assert report.family.statement in first_screen


def test_without_throughput_the_first_ranking_leads(report):
    alone = replace(report, rankings=report.rankings[1:2])
    assert 'id="tiers-latency-alone"' in render_html(alone).partition('id="choose"')[0]


def test_overhead_is_a_factor_with_its_interval(page):
    table = page[page.index('id="table-overhead"') :].partition("</table>")[0]
    assert "A single user waits 2.2 times (tfserving grpc) to 23 times (torchserve rest) as long" in page
    assert "2.2 ×" in table
    assert "2.08 to 2.34" in table
