"""The report as one HTML page: no network, no script needed, readable on a narrow screen, in the dark and on paper."""

from __future__ import annotations

from pathlib import Path

from loadtest.analysis.schema import Report
from loadtest.report.answer import answer_of
from loadtest.report.first_screen import after_the_answer, kicker, opening
from loadtest.report.markup import Html, element
from loadtest.report.section import section_html
from loadtest.report.sections import sections_of
from loadtest.report.text import METHOD

ASSETS = Path(__file__).parent / "assets"


def render_html(report: Report) -> str:
    """The whole page, with style sheet and script inside."""
    main = element(
        "main",
        opening(report),
        after_the_answer(report),
        element("h2", "And if you doubt it", class_="divider", id="doubts"),
        [section_html(section) for section in sections_of(report)],
        _terms(),
        id="content",
    )
    page = element(
        "html",
        _head(report),
        element(
            "body",
            element("a", "Skip to the answer", href="#content", class_="skip"),
            element("button", "Theme", id="theme", type="button", hidden=True),
            main,
            _footer(report),
            element("script", Html((ASSETS / "report.js").read_text())),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _head(report: Report) -> Html:
    verdict = answer_of(report)[:1]
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="description", content=" ".join(verdict)),
        element("title", kicker(report)),
        element("link", rel="icon", href="data:,"),
        element("style", Html((ASSETS / "report.css").read_text())),
    )


def _terms() -> Html:
    terms = [(element("dt", term), element("dd", meaning)) for term, meaning in METHOD]
    fold = element("details", element("summary", element("h2", "What do the words mean?")), element("dl", terms))
    return element("section", fold, id="terms", class_="fold", aria_label="What do the words mean?")


def _footer(report: Report) -> Html:
    words = (
        "Made by ",
        element("code", report.command),
        ". The figures behind this page are in report.json beside it.",
    )
    return element("footer", element("p", words))
