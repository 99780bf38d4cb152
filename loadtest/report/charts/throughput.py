"""Answers per second against latency: each endpoint a line from one user to the most users, one panel a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.analysis.figures import EndpointReport, Estimate, Point
from loadtest.analysis.schema import Report, all_points
from loadtest.report.charts.panels import Panel, Styler, by_server, end_labels, server_title, shown_percentile
from loadtest.report.charts.primitives import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    Scale,
    axis_below,
    axis_left,
    cross,
    line,
    marker,
    picture,
    polyline,
    spanning,
    text,
)
from loadtest.report.format import interval, latency, percentile, plural, significant
from loadtest.report.markup import Html, element
from loadtest.report.names import Names
from loadtest.report.tables.points import is_ranked
from loadtest.report.text import plain_reason


@dataclass(frozen=True)
class Place:
    """A point with the two figures that place it."""

    point: Point
    rate: Estimate
    time: Estimate


@dataclass(frozen=True)
class Frame:
    """What the panels share: both axes and every endpoint's curve."""

    report: Report
    styler: Styler
    measure: str
    across: Scale
    up: Scale
    curves: Mapping[str, Sequence[Place]]

    def at(self, place: Place) -> tuple[float, float]:
        """Where a point stands in the picture."""
        return self.across(place.rate.value), self.up(place.time.value)


def throughput_panels(report: Report, styler: Styler) -> list[Panel]:
    """One panel a server, all on the same axes."""
    measure = shown_percentile(report, "closed")
    curves = {endpoint.name: _curve(endpoint, measure) for endpoint in report.endpoints}
    places = [place for curve in curves.values() for place in curve]
    if not places:
        return []
    floors = [run.latency_p50_ms for run in report.in_process if run.batch_size == 1]
    rates = [*(place.rate.value for place in places), *(client.ceiling_rps for client in report.clients)]
    across = spanning(rates, LEFT, RIGHT)
    up = spanning([*(place.time.value for place in places), *floors], BOTTOM, TOP, 1.3)
    frame = Frame(report, styler, measure, across, up, curves)
    return [
        Panel(server_title(server, endpoints), _picture(frame, server, endpoints), server)
        for server, endpoints in by_server(report).items()
    ]


def closed_points(report: Report) -> dict[str, Point]:
    """The closed loops by `endpoint (users)`."""
    names = Names(report.endpoints)
    pairs = [(endpoint, point) for endpoint, point in all_points(report.endpoints) if point.kind == "closed"]
    return {f"{names.short(endpoint.name)} ({plural(point.users, 'user')})": point for endpoint, point in pairs}


def _curve(endpoint: EndpointReport, measure: str) -> list[Place]:
    closed = sorted((p for p in endpoint.points if p.kind == "closed"), key=lambda point: point.users)
    return [
        Place(point, point.throughput_rps, time)
        for point in closed
        if point.throughput_rps and (time := latency(point, measure))
    ]


def _picture(frame: Frame, server: str, endpoints: Sequence[EndpointReport]) -> Html:
    axes = (
        axis_below(frame.across, TOP, BOTTOM, "answers per second"),
        axis_left(frame.up, LEFT, RIGHT, f"{frame.measure} latency, ms"),
    )
    drawn = [endpoint for endpoint in endpoints if frame.curves[endpoint.name]]
    ghosts = [
        polyline([frame.at(place) for place in frame.curves[other.name]], "ghost")
        for other in frame.report.endpoints
        if other.server != server
    ]
    ends = [(frame.at(frame.curves[endpoint.name][-1]), endpoint) for endpoint in drawn]
    label = f"{server}: answers per second against {frame.measure} latency; the figures are in the table of raw data"
    lines = [_line(frame, endpoint) for endpoint in drawn]
    return picture(HEIGHT, label, axes, _reference(frame, endpoints), ghosts, lines, end_labels(ends, frame.styler))


def _line(frame: Frame, endpoint: EndpointReport) -> Html:
    style, curve = frame.styler(endpoint.protocol, endpoint.artifact), frame.curves[endpoint.name]
    parts = [polyline([frame.at(place) for place in curve], "curve")]
    for place in curve:
        x, y = frame.at(place)
        ranked = is_ranked(place.point)
        parts += _whiskers(frame, place)
        parts.append(marker(style.shape, x, y, hover(endpoint, place.point), "" if ranked else "hollow"))
        if not ranked:
            parts.append(cross(x, y))
    return element("g", parts, class_=style.class_, data_format=endpoint.format, data_protocol=endpoint.protocol)


def _whiskers(frame: Frame, place: Place) -> list[Html]:
    x, y = frame.at(place)
    parts = []
    if place.rate.low is not None and place.rate.high is not None:
        parts.append(line(frame.across(place.rate.low), y, frame.across(place.rate.high), y, "whisker"))
    if place.time.low is not None and place.time.high is not None:
        parts.append(line(x, frame.up(place.time.low), x, frame.up(place.time.high), "whisker"))
    return parts


def hover(endpoint: EndpointReport, point: Point) -> str:
    """What a point tells under the pointer."""
    bounds = interval(point.throughput_rps)
    rate = significant(point.throughput_rps.value if point.throughput_rps else None)
    lines = [
        endpoint.name,
        f"{point.name}: {rate} answers/s{f' ({bounds})' if bounds else ''}",
        ", ".join(f"{name} {percentile(point, name)}" for name in ("p50", "p90", "p99")) + " ms",
    ]
    if not is_ranked(point):
        lines.append(f"not ranked: {'; '.join(plain_reason(reason) for reason in point.reasons)}")
    return "\n".join(lines)


def _reference(frame: Frame, endpoints: Sequence[EndpointReport]) -> list[Html]:
    """The floor that the runtime alone sets, and the ceiling of each protocol's load generator."""
    parts = []
    artifacts, protocols = {e.artifact for e in endpoints}, {e.protocol for e in endpoints}
    floors = [r.latency_p50_ms for r in frame.report.in_process if r.batch_size == 1 and r.artifact in artifacts]
    if floors:
        y = frame.up(min(floors))
        parts += [
            line(LEFT, y, RIGHT, y, "floor"),
            text(LEFT + 4, y - 4, "in process, without a server (p50)", "reference"),
        ]
    clients = [client for client in frame.report.clients if client.protocol in protocols]
    for client in clients:
        hue = frame.styler(client.protocol, endpoints[0].artifact).hue
        x = frame.across(client.ceiling_rps)
        title = element("title", f"ceiling of the {client.protocol} load: {significant(client.ceiling_rps)} requests/s")
        parts.append(element("g", title, line(x, TOP, x, BOTTOM, "ceiling"), class_=f"hue-{hue}"))
    if clients:
        x = max(frame.across(client.ceiling_rps) for client in clients)
        parts.append(text(x, TOP - 5, "ceilings of the load generator", "reference", "end"))
    return parts
