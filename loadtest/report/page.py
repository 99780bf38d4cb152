"""The page, report.html: one file that opens offline, in light and dark, on a phone and on paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.report.format import count, plural
from loadtest.report.markup import Html, element, join
from loadtest.report.sections import sections_of
from loadtest.report.tables.endpoints import is_ranked, points
from loadtest.report.text import METHOD

Report = Mapping[str, Any]
FOLDER = Path(__file__).parent / "assets"


def render_html(report: Report) -> str:
    """The whole page as text."""
    sections = sections_of(report)
    links = element(
        "nav",
        [element("a", _short(name), href=f"#{name}") for name, _, _ in sections],
        aria_label="Sections",
        class_="contents",
    )
    body = [
        element("section", element("h2", title, id=f"{name}-title"), content, id=name, aria_labelledby=f"{name}-title")
        for name, title, content in sections
    ]
    main = element("main", _opening(report), links, body, _method(), id="content")
    toggle = element("button", "Theme: as the system", type="button", id="theme", hidden=True)
    script = element("script", Html((FOLDER / "report.js").read_text()))
    page = element(
        "html",
        _head(report),
        element(
            "body",
            element("a", "Skip to the report", href="#content", class_="skip"),
            toggle,
            main,
            _footer(report),
            script,
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def title_of(report: Report) -> str:
    """How many endpoints on how many servers: the heading of the page."""
    endpoints = report.get("endpoints") or []
    servers = len({endpoint.get("server") for endpoint in endpoints})
    return f"{plural(len(endpoints), 'endpoint')} on {plural(servers, 'server')}, measured side by side"


def trust_of(report: Report) -> list[str]:
    """What the reader can rely on, as far as the opening words have not said it."""
    found = list(points(report))
    told = []
    if report.get("complete") is False:
        told.append("This comparison was interrupted: the page holds what was measured until then")
    told.append(f"{sum(is_ranked(point) for _, point in found)} of {plural(len(found), 'point')} may be ranked")
    return told if report.get("headline") else [*told, *_counted(report)]


def _counted(report: Report) -> list[str]:
    sums = {key: sum(p.get(key) or 0 for _, p in points(report)) for key in ("requests", "failures", "wrong_answers")}
    failures, wrong = plural(sums["failures"], "failure"), count(sums["wrong_answers"])
    told = [f"{plural(sums['requests'], 'request')}, every answer checked: {failures}, {wrong} wrong"]
    if any(e.get("server") == "tfserving" and e.get("engine") == "embedded" for e in report.get("endpoints") or []):
        told.append("tfserving ran as the embedded stand-in, not as the genuine server")
    return told


def facts_of(report: Report) -> list[str]:
    """When, how long, on what: one line under the heading."""
    environment = report.get("environment") or {}
    machine = environment.get("machine") or {}
    found = [str(report.get("generated") or "")[:16].replace("T", " ")]
    found.append(f"profile {report['profile']}" if report.get("profile") else "")
    found.append(plural(report["rounds"], "round") if report.get("rounds") else "")
    found.append(f"{machine.get('cpu')}, {plural(machine['cores'], 'core')}" if machine.get("cores") else "")
    commit = str(environment.get("git_commit") or "")[:10]
    found.append(f"commit {commit}{' with changes' if environment.get('git_dirty') else ''}" if commit else "")
    return [fact for fact in found if fact]


def _head(report: Report) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Serving comparison: {title_of(report)}"),
        element("link", rel="icon", href="data:,"),
        element("style", Html((FOLDER / "report.css").read_text())),
    )


def _opening(report: Report) -> Html:
    kicker = element(
        "p",
        f"Serving comparison · {report['comparison']}" if report.get("comparison") else "Serving comparison",
        class_="kicker",
    )
    facts = element("p", " · ".join(facts_of(report)), class_="facts")
    answers = [element("li", _with_names(sentence, report)) for sentence in report.get("headline") or []]
    answer = (
        element("ul", answers, class_="answer")
        if answers
        else element("p", "No verdicts yet: the figures below are shown without a ranking.", class_="answer")
    )
    trust = element("ul", [element("li", sentence) for sentence in trust_of(report)], class_="trust")
    return element("header", kicker, element("h1", title_of(report)), facts, answer, trust)


def _with_names(sentence: str, report: Report) -> Html:
    """The sentence with the names of endpoints, and what stands between backticks, set off."""
    names = sorted((str(endpoint["name"]) for endpoint in report.get("endpoints") or []), key=len, reverse=True)
    parts = re.split("|".join([r"(`[^`]+`)", *(f"({re.escape(name)})" for name in names)]), sentence)
    return join([_set_off(part, names) for part in parts if part])


def _set_off(part: str, names: Sequence[str]) -> str:
    if part in names:
        return element("b", part)
    return element("code", part[1:-1]) if len(part) > 2 and part[0] == part[-1] == "`" else part


def _short(name: str) -> str:
    names = {"glance": "At a glance", "open": "Open loop", "slo": "Target", "all": "Every point", "parity": "Parity"}
    return names.get(name, name.capitalize())


def _method() -> Html:
    terms = [(element("dt", term), element("dd", meaning)) for term, meaning in METHOD]
    return element(
        "section",
        element("details", element("summary", "How to read this"), element("dl", terms)),
        id="method",
        aria_label="How to read this",
    )


def _footer(report: Report) -> Html:
    made = join(
        [
            "Made by ",
            element("code", str(report.get("command") or "make report")),
            ". The figures behind this page are in report.json beside it.",
        ]
    )
    return element("footer", element("p", made))
