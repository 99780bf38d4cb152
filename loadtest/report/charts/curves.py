"""The charts with curves: throughput against latency, latency by quantile. One panel a server, on the same axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.report.charts.primitives import (
    WIDTH,
    Scale,
    Style,
    axis_below,
    axis_left,
    cross,
    line,
    marker,
    picture,
    polyline,
    spanning,
    spread,
    text,
)
from loadtest.report.format import interval, percentile, significant
from loadtest.report.markup import Html, element
from loadtest.report.tables.endpoints import is_ranked, points, scenario_of

Report = Mapping[str, Any]
Styler = Callable[[str, str], Style]
LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 38.0, WIDTH - 78, 30.0, 262.0, 300.0


@dataclass(frozen=True)
class Panel:
    """One picture with its title."""

    title: str
    image: Html


def servers_of(report: Report) -> list[str]:
    """The servers in the order in which they appear."""
    return list(dict.fromkeys(str(endpoint.get("server")) for endpoint in report.get("endpoints") or []))


def server_title(report: Report, server: str) -> str:
    """The server's name with its engine."""
    engines = dict.fromkeys(
        str(e.get("engine") or "not known") for e in report.get("endpoints") or [] if e.get("server") == server
    )
    return f"{server} ({', '.join(engines)})"


def shown_percentile(report: Report) -> str:
    """The highest percentile that nearly every closed-loop point has: what the chart's vertical axis shows."""
    return shared_percentile([point.get("latency_ms") or {} for _, point in points(report) if is_closed(point)])


def shared_percentile(latencies: Sequence[Mapping[str, Any]]) -> str:
    """The highest percentile that four of five points have, so that one chart shows one measure."""
    for name in ("p99", "p95", "p90"):
        if sum(latency.get(name) is not None for latency in latencies) >= 0.8 * len(latencies):
            return name
    return "p50"


def is_closed(point: Mapping[str, Any]) -> bool:
    """Whether users waited for their answers: one in single_stream, several in closed-N."""
    name = str(point.get("name"))
    return name == "single_stream" or name.startswith("closed")


def throughput_panels(report: Report, styler: Styler) -> list[Panel]:
    """Answers per second against latency: each endpoint a line from one user to the most users."""
    measure = shown_percentile(report)
    curves = {e["name"]: _curve(e, measure) for e in report.get("endpoints") or []}
    drawn = [point for curve in curves.values() for point in curve]
    if not drawn:
        return []
    floors = [entry["latency_p50_ms"] for entry in _single(report)]
    ceilings = [c["ceiling_rps"] for c in report.get("clients") or [] if c.get("ceiling_rps")]
    across = spanning([*(p["throughput_rps"] for p in drawn), *ceilings], LEFT, RIGHT)
    up = spanning([*(p["latency_ms"][measure] for p in drawn), *floors], BOTTOM, TOP, 1.3)
    frame = _Frame(report, styler, measure, across, up, curves)
    return [Panel(server_title(report, server), _throughput_picture(frame, server)) for server in servers_of(report)]


@dataclass(frozen=True)
class _Frame:
    report: Report
    styler: Styler
    measure: str
    across: Scale
    up: Scale
    curves: Mapping[str, list[Mapping[str, Any]]]


def _curve(endpoint: Mapping[str, Any], measure: str) -> list[Mapping[str, Any]]:
    found = [p for p in endpoint.get("scenarios") or [] if is_closed(p) and p.get("throughput_rps")]
    return sorted((p for p in found if (p.get("latency_ms") or {}).get(measure)), key=lambda p: p.get("users") or 1)


def _single(report: Report) -> list[Mapping[str, Any]]:
    return [e for e in report.get("in_process") or [] if e.get("batch_size") == 1 and e.get("latency_p50_ms")]


def _throughput_picture(frame: _Frame, server: str) -> Html:
    axes = (
        axis_below(frame.across, TOP, BOTTOM, "answers per second"),
        axis_left(frame.up, LEFT, RIGHT, f"{frame.measure} latency, ms"),
    )
    endpoints = frame.report.get("endpoints") or []
    ghosts = [polyline(_places(frame, e["name"]), "ghost") for e in endpoints if e.get("server") != server]
    own = [e for e in endpoints if e.get("server") == server]
    lines = [_throughput_line(frame, endpoint) for endpoint in own if frame.curves[endpoint["name"]]]
    ends = [(_places(frame, e["name"])[-1], e) for e in own if frame.curves[e["name"]]]
    label = f"{server}: answers per second against {frame.measure} latency; the figures are in the table of all points"
    return picture(HEIGHT, label, axes, _reference(frame, own), ghosts, lines, _end_labels(ends, frame.styler))


def _places(frame: _Frame, name: str) -> list[tuple[float, float]]:
    return [(frame.across(p["throughput_rps"]), frame.up(p["latency_ms"][frame.measure])) for p in frame.curves[name]]


def _throughput_line(frame: _Frame, endpoint: Mapping[str, Any]) -> Html:
    style = frame.styler(endpoint["protocol"], endpoint["artifact"])
    parts = [polyline(_places(frame, endpoint["name"]), "curve")]
    for point, (x, y) in zip(frame.curves[endpoint["name"]], _places(frame, endpoint["name"]), strict=True):
        parts += _whiskers(frame, point, x, y)
        valid = is_ranked(point)
        parts.append(marker(style.shape, x, y, _told(endpoint, point), "" if valid else "hollow"))
        if not valid:
            parts.append(cross(x, y))
    return element("g", parts, class_=style.class_)


def _whiskers(frame: _Frame, point: Mapping[str, Any], x: float, y: float) -> list[Html]:
    parts = []
    across, up = point.get("throughput_ci_rps"), (point.get("latency_ci_ms") or {}).get(frame.measure)
    if across and None not in across:
        parts.append(line(frame.across(across[0]), y, frame.across(across[1]), y, "whisker"))
    if up and None not in up:
        parts.append(line(x, frame.up(up[0]), x, frame.up(up[1]), "whisker"))
    return parts


def _told(endpoint: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    bounds = interval(point.get("throughput_ci_rps"))
    lines = [
        endpoint["name"],
        f"{point['name']}: {significant(point['throughput_rps'])} answers/s{f' ({bounds})' if bounds else ''}",
        ", ".join(f"{name} {percentile(point, name)}" for name in ("p50", "p90", "p99")) + " ms",
    ]
    if not is_ranked(point):
        kind = "client-limited" if point.get("client_limited") else str(point.get("validity"))
        lines.append(f"{kind}: {'; '.join(point.get('reasons') or [])}")
    return "\n".join(lines)


def _reference(frame: _Frame, own: Sequence[Mapping[str, Any]]) -> list[Html]:
    """The floor that the runtime alone sets, and the ceiling of each client that this server was measured with."""
    parts = []
    artifacts, protocols = {e["artifact"] for e in own}, {e["protocol"] for e in own}
    floors = [e["latency_p50_ms"] for e in _single(frame.report) if e["artifact"] in artifacts]
    if floors:
        y = frame.up(min(floors))
        parts += [
            line(LEFT, y, RIGHT, y, "floor"),
            text(LEFT + 4, y - 4, "in process, without a server (p50)", "reference"),
        ]
    clients = [c for c in frame.report.get("clients") or [] if c.get("ceiling_rps") and c["protocol"] in protocols]
    for client in clients:
        hue = frame.styler(client["protocol"], own[0]["artifact"]).hue
        x = frame.across(client["ceiling_rps"])
        told = element(
            "title", f"{client['protocol']} client's ceiling: {significant(client['ceiling_rps'])} requests/s"
        )
        parts.append(element("g", told, line(x, TOP, x, BOTTOM, "ceiling"), class_=f"hue-{hue}"))
    if clients:
        x = max(frame.across(client["ceiling_rps"]) for client in clients)
        parts.append(text(x, TOP - 5, "client ceilings", "reference", "end"))
    return parts


def _end_labels(ends: Iterable[tuple[tuple[float, float], Mapping[str, Any]]], styler: Styler) -> list[Html]:
    """The protocol at the end of its line, once a protocol."""
    first: dict[str, tuple[float, float, str]] = {}
    for (x, y), endpoint in ends:
        if endpoint["protocol"] not in first or first[endpoint["protocol"]][0] < x:
            first[endpoint["protocol"]] = (x, y, styler(endpoint["protocol"], endpoint["artifact"]).class_)
    heights = spread([y for _, y, _ in first.values()], 12, BOTTOM)
    return [
        text(min(x + 9, RIGHT + 8), y + 3.5, protocol, f"label {class_}")
        for (protocol, (x, _, class_)), y in zip(first.items(), heights, strict=True)
    ]


QUANTILES = (0.0, 0.5, 0.75, 0.9, 0.95, 0.99)


def quantile_panels(report: Report, styler: Styler, scenario: str) -> list[Panel]:
    """Latency by quantile under `scenario`; the axis stretches towards the slowest requests."""
    found = {
        e["name"]: p
        for e in report.get("endpoints") or []
        if (p := scenario_of(e, scenario)) and p.get("latency_quantiles_ms")
    }
    values = [v for point in found.values() for v in point["latency_quantiles_ms"][:100] if v]
    if not values:
        return []
    up = spanning(values, BOTTOM, TOP)
    return [
        Panel(server_title(report, server), _quantile_picture(report, styler, found, up, server, scenario))
        for server in servers_of(report)
        if any(e["name"] in found for e in report["endpoints"] if e.get("server") == server)
    ]


def last_stated(point: Mapping[str, Any]) -> int:
    """The highest percentile, in per cent, that the point has requests enough to state: where its line ends."""
    latency = point.get("latency_ms") or {}
    return next((rank for rank in (99, 95, 90) if latency.get(f"p{rank}") is not None), 50)


def _rank_place(quantile: float) -> float:
    """Place of a quantile on the horizontal axis: equal steps for 90, 99 per cent."""
    return LEFT + (RIGHT - LEFT) * -math.log10(1 - quantile) / 2


def _quantile_picture(
    report: Report, styler: Styler, found: Mapping[str, Mapping[str, Any]], up: Scale, server: str, scenario: str
) -> Html:
    ticks = [
        (
            line(_rank_place(q), TOP, _rank_place(q), BOTTOM, "grid"),
            text(_rank_place(q), BOTTOM + 14, f"{100 * q:g} %", "tick", "middle"),
        )
        for q in QUANTILES
    ]
    name = text((LEFT + RIGHT) / 2, BOTTOM + 30, "share of requests that are at least as fast", "axis", "middle")
    parts: list[Html] = []
    ends = []
    for endpoint in report["endpoints"]:
        point = found.get(endpoint["name"])
        if point is None:
            continue
        stated = point["latency_quantiles_ms"][: last_stated(point) + 1]
        places = [(_rank_place(i / 100), up(v)) for i, v in enumerate(stated) if v]
        if endpoint.get("server") != server:
            parts.insert(0, polyline([*places[:90:6], *places[90::3]], "ghost"))
            continue
        style = styler(endpoint["protocol"], endpoint["artifact"])
        ends.append((places[-1], endpoint))
        told = element("title", _told(endpoint, point))
        valid = "" if is_ranked(point) else " invalid"
        parts.append(
            element("g", told, polyline(places, "curve"), _medians(style, places, point), class_=style.class_ + valid)
        )
    label = f"{server}: latency by quantile under {scenario}; the figures are in the table of all points"
    return picture(
        HEIGHT, label, ticks, name, axis_left(up, LEFT, RIGHT, "latency, ms"), parts, _end_labels(ends, styler)
    )


def _medians(style: Style, places: Sequence[tuple[float, float]], point: Mapping[str, Any]) -> list[Html]:
    """Marks at 50, 90 and 99 per cent, so that lines can be told apart without colour."""
    kind = "" if is_ranked(point) else "hollow"
    return [marker(style.shape, *places[i], "", kind, 3.2) for i in (50, 90, 99) if i < len(places)]
