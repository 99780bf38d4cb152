"""What every chart of the report shares: one panel a server, the legend, and how protocols and frameworks look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.analysis.figures import EndpointReport, Point
from loadtest.analysis.schema import Report, all_points
from loadtest.report.charts.primitives import BOTTOM, RIGHT, Style, marker, spread, style_of, text
from loadtest.report.format import latency
from loadtest.report.markup import Html, element
from loadtest.report.names import ordered_protocols

Styler = Callable[[str, str], Style]
"""The style of a protocol and an artifact."""


@dataclass(frozen=True)
class Panel:
    """One picture with its title; `facet` is the server that the page's filter knows it by."""

    title: str
    image: Html
    facet: str = ""


def figure_of(panels: Sequence[Panel], caption: str) -> Html | None:
    """The panels side by side under one caption."""
    grid = [
        element("div", element("h3", panel.title), panel.image, class_="panel", data_server=panel.facet or None)
        for panel in panels
    ]
    heading = element("figcaption", caption) if caption else None
    return element("figure", heading, element("div", grid, class_="panels")) if grid else None


def styler_of(report: Report) -> Styler:
    """How protocols and frameworks look, the same in every chart of the report."""
    frameworks = list(dict.fromkeys(endpoint.framework for endpoint in report.endpoints))
    framework_of = {endpoint.artifact: frameworks.index(endpoint.framework) for endpoint in report.endpoints}
    return style_of(ordered_protocols(e.protocol for e in report.endpoints), lambda artifact: framework_of[artifact])


def legend(report: Report, styler: Styler) -> Html:
    """What colours, shapes and strokes mean."""
    artifacts = {endpoint.framework: endpoint.artifact for endpoint in reversed(report.endpoints)}
    protocols = ordered_protocols(endpoint.protocol for endpoint in report.endpoints)
    keys = []
    for protocol in protocols:
        style = styler(protocol, report.endpoints[0].artifact)
        mark = _sample(14, marker(style.shape, 7, 7, "", radius=4.5))
        keys.append(element("span", mark, protocol, class_=f"key hue-{style.hue}"))
    for framework, artifact in reversed(artifacts.items()):
        if len(artifacts) > 1 and framework:
            dashed = " dashed" if styler(protocols[0], artifact).dashed else ""
            stroke = _sample(26, element("line", x1=0, y1=7, x2=26, y2=7, class_=f"curve{dashed}"))
            keys.append(element("span", stroke, framework, class_="key"))
    keys.append(element("span", "⨯ not ranked", class_="key"))
    return element("p", keys, class_="legend")


def _sample(width: int, mark: Html) -> Html:
    return element("svg", mark, viewBox=f"0 0 {width} 14", width=width, height=14, aria_hidden="true")


def by_server(report: Report) -> dict[str, list[EndpointReport]]:
    """The endpoints of each server, servers in the order in which they appear."""
    servers: dict[str, list[EndpointReport]] = {}
    for endpoint in report.endpoints:
        servers.setdefault(endpoint.server, []).append(endpoint)
    return servers


def server_title(server: str, endpoints: Iterable[EndpointReport]) -> str:
    """The server's name with its engine."""
    return f"{server} ({', '.join(dict.fromkeys(endpoint.engine for endpoint in endpoints))})"


def shown_percentile(report: Report, kind: str) -> str:
    """The highest percentile that four of five points of a kind of load have: what a chart's axis shows."""
    points = [point for _, point in all_points(report.endpoints) if point.kind == kind]
    for name in ("p99", "p95", "p90"):
        if points and sum(latency(point, name) is not None for point in points) >= 0.8 * len(points):
            return name
    return "p50"


def undrawn(points: Mapping[str, Point], name: str) -> Html | None:
    """The points that a chart can't show, so that none is missed; `points` by what each is called."""
    lacking = [called for called, point in points.items() if latency(point, name) is None]
    shown, left = lacking[:4], len(lacking) - 4
    more = f" and {left} more" if left > 0 else ""
    sentence = f"Not drawn, for want of requests to state a {name}: {', '.join(shown)}{more}."
    return element("p", sentence, class_="note") if lacking else None


def end_labels(ends: Iterable[tuple[tuple[float, float], EndpointReport]], styler: Styler) -> list[Html]:
    """The protocol at the end of its line, once a protocol."""
    first: dict[str, tuple[float, float, str]] = {}
    for (x, y), endpoint in ends:
        if endpoint.protocol not in first or first[endpoint.protocol][0] < x:
            first[endpoint.protocol] = (x, y, styler(endpoint.protocol, endpoint.artifact).class_)
    heights = spread([y for _, y, _ in first.values()], 12, BOTTOM)
    return [
        text(min(x + 9, RIGHT + 8), y + 3.5, protocol, f"label {class_}")
        for (protocol, (x, _, class_)), y in zip(first.items(), heights, strict=True)
    ]
