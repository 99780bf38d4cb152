"""Latency by quantile under one load, one panel a server; the axis stretches towards the slowest requests."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtest.analysis.figures import EndpointReport, Point
from loadtest.analysis.schema import Report
from loadtest.report.charts.panels import Panel, Styler, by_server, end_labels, server_title
from loadtest.report.charts.primitives import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    Scale,
    Style,
    axis_left,
    line,
    marker,
    picture,
    polyline,
    spanning,
    text,
)
from loadtest.report.charts.throughput import hover
from loadtest.report.format import latency
from loadtest.report.markup import Html, element
from loadtest.report.tables.points import is_ranked

QUANTILES = (0.0, 0.5, 0.75, 0.9, 0.95, 0.99)


def quantile_panels(report: Report, styler: Styler, scenario: str) -> list[Panel]:
    """One panel a server that was measured under `scenario`."""
    points = {e.name: point for e in report.endpoints if (point := e.point(scenario)) and point.quantiles_ms}
    values = [value for point in points.values() for value in point.quantiles_ms[:100] if value > 0]
    if not values:
        return []
    up = spanning(values, BOTTOM, TOP)
    panels = []
    for server, endpoints in by_server(report).items():
        drawn = [(endpoint, points[endpoint.name]) for endpoint in endpoints if endpoint.name in points]
        others = [points[e.name] for e in report.endpoints if e.server != server and e.name in points]
        if drawn:
            image = _picture(drawn, others, up, styler, f"{server}: latency by quantile under {scenario}")
            panels.append(Panel(server_title(server, endpoints), image, server))
    return panels


def last_stated(point: Point) -> int:
    """The highest percentile, in per cent, that the point has requests enough to state: where its line ends."""
    return next((rank for rank in (99, 95, 90) if latency(point, f"p{rank}") is not None), 50)


def _rank_place(quantile: float) -> float:
    """Place of a quantile on the horizontal axis: equal steps for 90, 99 per cent."""
    return LEFT + (RIGHT - LEFT) * -math.log10(1 - quantile) / 2


def _picture(
    drawn: Sequence[tuple[EndpointReport, Point]], others: Sequence[Point], up: Scale, styler: Styler, label: str
) -> Html:
    places = {endpoint.name: _places(point, up) for endpoint, point in drawn}
    ghosts = [polyline([*_places(point, up)[:90:6], *_places(point, up)[90::3]], "ghost") for point in others]
    lines = [_line(endpoint, point, places[endpoint.name], styler) for endpoint, point in drawn]
    ends = [(places[endpoint.name][-1], endpoint) for endpoint, _ in drawn]
    left = axis_left(up, LEFT, RIGHT, "latency, ms")
    read_out = f"{label}; the figures are in the table of raw data"
    return picture(HEIGHT, read_out, _axis(), left, ghosts, lines, end_labels(ends, styler))


def _axis() -> list[Html]:
    ticks = [
        part
        for quantile in QUANTILES
        for part in (
            line(_rank_place(quantile), TOP, _rank_place(quantile), BOTTOM, "grid"),
            text(_rank_place(quantile), BOTTOM + 14, f"{100 * quantile:g} %", "tick", "middle"),
        )
    ]
    name = "share of requests that are at least as fast"
    return [*ticks, text((LEFT + RIGHT) / 2, BOTTOM + 30, name, "axis", "middle")]


def _places(point: Point, up: Scale) -> list[tuple[float, float]]:
    stated = point.quantiles_ms[: last_stated(point) + 1]
    return [(_rank_place(rank / 100), up(value)) for rank, value in enumerate(stated) if value > 0]


def _line(endpoint: EndpointReport, point: Point, places: Sequence[tuple[float, float]], styler: Styler) -> Html:
    style = styler(endpoint.protocol, endpoint.artifact)
    return element(
        "g",
        element("title", hover(endpoint, point)),
        polyline(places, "curve"),
        _marks(style, places, point),
        class_=style.class_ + ("" if is_ranked(point) else " invalid"),
        data_format=endpoint.format,
        data_protocol=endpoint.protocol,
    )


def _marks(style: Style, places: Sequence[tuple[float, float]], point: Point) -> list[Html]:
    """Marks at 50, 90 and 99 per cent, so that lines can be told apart without colour."""
    kind = "" if is_ranked(point) else "hollow"
    return [marker(style.shape, *places[i], "", kind, 3.2) for i in (50, 90, 99) if i < len(places)]
