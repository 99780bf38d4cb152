"""The page's script in a real browser: filters, sorting, folds. Skipped where no Chromium is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from loadtest.report.page import render_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: report.js is tried in a browser")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
TELL = """
const choose = (facet, value) => {
  const select = document.querySelector(`#filters select[name=${facet}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const rows = (selector) => [...document.querySelectorAll(selector)].filter((row) => row.getClientRects().length);
const names = () => rows("#tiers-throughput tbody tr[data-server]").map((row) => row.querySelector("th").title);
const tell = (value) => {
  const output = document.createElement("pre");
  output.id = "told";
  output.textContent = JSON.stringify(value);
  document.body.append(output);
};
"""


@pytest.fixture(scope="module")
def page(report):
    return render_html(report)


@pytest.fixture
def run(page, tmp_path):
    def run_script(script, anchor=""):
        path = tmp_path / "page.html"
        path.write_text(page.replace("</body>", f"<script>{TELL}{script}</script></body>"))
        command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", f"file://{path}{anchor}"]
        document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        told = re.search(r'<pre id="told">(.*?)</pre>', document, re.DOTALL)
        assert told, document[-2000:]
        return json.loads(unescape(told[1]))

    return run_script


def test_a_filter_keeps_the_endpoints_that_match(run):
    shown, count = run(
        """choose("server", "onnxruntime"); choose("protocol", "grpc");
        tell([names(), document.querySelector("#filters output").textContent]);"""
    )
    assert shown == ["onnxruntime/pytorch-onnx/grpc", "onnxruntime/tensorflow-onnx/grpc"]
    assert count == "2 of 14 endpoints"


def test_a_filter_hides_empty_tiers_and_rows_of_every_table(run):
    bodies, points = run(
        """choose("server", "torchserve");
        document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
        tell([rows("#tiers-throughput tbody").length, rows("#table-points tbody tr[data-server=tflite]").length]);"""
    )
    assert (bodies, points) == (3, 0)


def test_show_all_brings_everything_back(run):
    shown = run(
        """choose("format", "onnx");
        const filtered = names().length;
        document.querySelector("#filters button").click();
        tell([filtered, names().length]);"""
    )
    assert shown == [6, 14]


def test_a_click_on_a_column_sorts_both_ways(run):
    ascending, descending, state = run(
        """const table = document.querySelector("#table-overhead");
        const head = table.tHead.rows[0].cells[1];
        const values = () => [...table.tBodies[0].rows].map((row) => Number(row.children[1].dataset.value));
        head.querySelector("button").click();
        const first = values();
        head.querySelector("button").click();
        tell([first, values(), head.getAttribute("aria-sort")]);"""
    )
    assert ascending == sorted(ascending)
    assert descending == ascending[::-1]
    assert state == "descending"
    assert len(ascending) == 14


def test_sorting_the_picture_keeps_the_tiers_apart(run):
    before, after = run(
        """const tiers = () => rows("#tiers-throughput tbody tr").map((row) => row.cells[0].textContent);
        const before = tiers();
        document.querySelector("#tiers-throughput thead th[data-column='1'] button").click();
        tell([before, tiers()]);"""
    )
    assert before == after


def test_a_link_to_a_section_opens_its_fold(run):
    opened = run(
        """tell([...document.querySelectorAll("section.fold > details[open]")].map((f) => f.parentNode.id));""", "#slo"
    )
    assert opened == ["slo"]


def test_the_theme_goes_from_the_system_to_light_to_dark(run):
    themes = run(
        """const button = document.getElementById("theme");
        tell([1, 2, 3].map(() => {
          button.click();
          return document.documentElement.dataset.theme ?? "system";
        }));"""
    )
    assert themes == ["light", "dark", "system"]
