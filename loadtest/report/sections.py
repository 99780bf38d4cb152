"""The sections of the page, each answering one question; a section whose data is absent is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.report import text as words
from loadtest.report.charts.curves import Panel, Styler, is_closed, quantile_panels, shown_percentile, throughput_panels
from loadtest.report.charts.primitives import marker, style_of
from loadtest.report.charts.rows import (
    Question,
    cpu_row,
    gap_percentile,
    gap_rows,
    memory_row,
    row_panels,
    slo_rows,
    start_row,
)
from loadtest.report.markup import Html, element, join
from loadtest.report.modes import modes_section
from loadtest.report.table import Table, to_html
from loadtest.report.tables.endpoints import (
    glance_table,
    points,
    points_table,
    present,
    slo_table,
    verdicts_table,
)
from loadtest.report.tables.models import (
    artifacts_table,
    clients_table,
    conformance_summary,
    conformance_table,
    environment_table,
    epochs_table,
    in_process_table,
    settings_table,
    training_table,
)
from loadtest.report.tables.split import split_table
from loadtest.report.twins import diff_view

PROTOCOLS = ("rest", "rest-binary", "grpc")
"""The order in which protocols are shown; any other comes after."""
Report = Mapping[str, Any]
Section = tuple[str, str, Html]
"""Anchor, title, content."""


def styler_of(report: Report) -> Styler:
    """How protocols and frameworks look, the same in every chart of the report."""
    found = {str(e["protocol"]) for e in report.get("endpoints") or []} | {
        str(c["protocol"]) for c in report.get("clients") or []
    }
    protocols = [*PROTOCOLS, *sorted(found.difference(PROTOCOLS))]
    frameworks = list(dict.fromkeys(str(a.get("framework")) for a in report.get("artifacts") or []))
    framework_of = {a["name"]: frameworks.index(str(a.get("framework"))) for a in report.get("artifacts") or []}
    return style_of(protocols, lambda artifact: framework_of.get(artifact, 0))


def sections_of(report: Report) -> list[Section]:
    """All sections that there is data for, in reading order."""
    styler = styler_of(report)
    found = [
        ("glance", "Which endpoint answers most, and how fast?", _glance(report)),
        ("throughput", "What does more load buy, and what does it cost in latency?", _throughput(report, styler)),
        ("distribution", "How slow are the slow answers?", _distribution(report, styler)),
        ("open", "What does a schedule see that a waiting client hides?", _gap(report, styler)),
        ("slo", _slo_title(report), _slo(report, styler)),
        ("cost", "What does an endpoint cost to run?", _cost(report, styler)),
        ("parity", "Do all artifacts answer as the trained models do?", _tables(artifacts_table(report))),
        ("training", "How did the twins train?", _training(report)),
        ("modes", "Which way of training is fastest?", modes_section(report)),
        ("clients", "Could the client keep up?", _clients(report)),
        ("conformance", "Do the endpoints keep to their protocols?", _conformance(report)),
        ("all", "What exactly was measured?", _everything(report)),
        ("environment", "Where and how was it measured?", _tables(environment_table(report), settings_table(report))),
    ]
    return [(name, title, content) for name, title, content in found if content]


def _tables(*tables: Table | None) -> Html:
    return join([to_html(table) for table in present(tables)])


def _fold(title: str, *content: Html | None, opened: bool = False) -> Html:
    inner = join(content)
    return element("details", element("summary", title), inner, open=opened) if inner else Html("")


def _figure(panels: Sequence[Panel], caption: str) -> Html:
    if not panels:
        return Html("")
    grid = [element("div", element("h3", panel.title), panel.image, class_="panel") for panel in panels]
    return element("figure", element("figcaption", caption), element("div", grid, class_="panels"))


def legend(report: Report, styler: Styler) -> Html:
    """What colours, shapes and strokes mean."""
    artifacts = {str(a.get("framework")): a["name"] for a in reversed(report.get("artifacts") or [])}
    found = {str(e["protocol"]) for e in report.get("endpoints") or []}
    protocols = [*(p for p in PROTOCOLS if p in found), *sorted(found.difference(PROTOCOLS))]
    some = next(iter(artifacts.values()), "")
    keys = []
    for protocol in protocols:
        style = styler(protocol, some)
        mark = element(
            "svg",
            marker(style.shape, 7, 7, "", radius=4.5),
            viewBox="0 0 14 14",
            width=14,
            height=14,
            aria_hidden="true",
        )
        keys.append(element("span", mark, protocol, class_=f"key hue-{style.hue}"))
    for framework, artifact in reversed(artifacts.items()):
        kind = "dashed" if styler(next(iter(protocols), "rest"), artifact).dashed else ""
        stroke = element(
            "svg",
            element("line", x1=0, y1=7, x2=26, y2=7, class_=f"curve {kind}"),
            viewBox="0 0 26 14",
            width=26,
            height=14,
            aria_hidden="true",
        )
        keys.append(element("span", stroke, framework, class_="key"))
    keys.append(element("span", "⨯ not ranked (INVALID or client-limited)", class_="key"))
    return element("p", keys, class_="legend")


def _glance(report: Report) -> Html:
    return _tables(glance_table(report), split_table(report)) if report.get("endpoints") else Html("")


def _throughput(report: Report, styler: Styler) -> Html:
    panels = throughput_panels(report, styler)
    if not panels:
        return Html("")
    name = shown_percentile(report)
    figure = _figure(panels, words.THROUGHPUT.format(percentile=name))
    return Html(legend(report, styler) + figure + _undrawn(report, name))


def _undrawn(report: Report, name: str) -> Html:
    """The points that a chart can't show, so that none is missed."""
    lacking = [
        f"{endpoint['name']} ({point['name']})"
        for endpoint, point in points(report)
        if is_closed(point) and (point.get("latency_ms") or {}).get(name) is None
    ]
    told = f"Not drawn, for want of requests to state a {name}: {', '.join(lacking)}."
    return element("p", told, class_="note") if lacking else Html("")


def _distribution(report: Report, styler: Styler) -> Html:
    names = dict.fromkeys(point["name"] for _, point in points(report) if point.get("latency_quantiles_ms"))
    parts = []
    for place, name in enumerate(sorted(names, key=_scenario_order)):
        figure = _figure(quantile_panels(report, styler, name), words.QUANTILES)
        parts.append(_fold(f"Scenario {name}", figure, opened=place == 0))
    return Html(legend(report, styler) + join(parts)) if parts else Html("")


def _scenario_order(name: str) -> tuple[int, str]:
    preferred = ("closed-8", "open", "single_stream", "closed-32")
    return (preferred.index(name) if name in preferred else len(preferred), name)


def _gap(report: Report, styler: Styler) -> Html:
    name = gap_percentile(report)
    question = Question(f"{name} latency, ms", gap_rows(name), log=True)
    return _figure(row_panels(report, styler, question), words.GAP.format(percentile=name))


def _slo_title(report: Report) -> str:
    return f"How much load keeps p99 under {(report.get('slo') or {}).get('target_ms') or 0:g} ms?"


def _slo(report: Report, styler: Styler) -> Html:
    table = slo_table(report)
    if table is None:
        return Html("")
    caption = f"{words.SLO}{_unmet(report)}"
    figure = _figure(row_panels(report, styler, Question("requests per second", slo_rows(report))), caption)
    return Html(figure + _fold("The figures, with goodput, processor and memory at that rate", to_html(table)))


def _unmet(report: Report) -> str:
    """The endpoints that no settings let meet the target, in words: the chart has no row for them."""
    entries = (report.get("slo") or {}).get("endpoints") or []
    met = {entry["name"] for entry in entries if entry.get("rate_rps")}
    missed = sorted({entry["name"] for entry in entries} - met)
    return f" At no rate that was searched it was met by {', '.join(missed)}." if missed else ""


def _cost(report: Report, styler: Styler) -> Html:
    charts = (
        ("How much memory does it take?", Question("memory, MB", memory_row), words.MEMORY),
        ("How long until the first answer?", Question("seconds from start", start_row), words.START),
        (
            "How much processor time do 1,000 requests take?",
            Question("CPU seconds per 1,000 requests", cpu_row),
            words.CPU,
        ),
    )
    drawn = [(title, _figure(row_panels(report, styler, question), caption)) for title, question, caption in charts]
    return join([_fold(title, figure, opened=place == 0) for place, (title, figure) in enumerate(drawn)])


def _training(report: Report) -> Html:
    if not report.get("training"):
        return Html("")
    return Html(
        _tables(training_table(report), epochs_table(report)) + _fold("The twins' code side by side", diff_view())
    )


def _clients(report: Report) -> Html:
    return _tables(clients_table(report), in_process_table(report))


def _conformance(report: Report) -> Html:
    apis = dict.fromkeys(entry["api"] for entry in report.get("conformance") or [])
    folds = [_fold(f"Every case of {api}", to_html(conformance_table(report, api))) for api in apis]
    return join([_tables(conformance_summary(report)), folds])


def _everything(report: Report) -> Html:
    return Html(
        _fold("Every point, with what keeps it out of the ranking", _tables(points_table(report)))
        + _fold("Every pair of endpoints, with its verdict", _tables(verdicts_table(report)))
    )
