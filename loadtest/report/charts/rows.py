"""The charts with a row an endpoint: values as marks on a common scale, grouped by artifact, one panel a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from loadtest.report.charts.curves import Panel, Report, Styler, server_title, servers_of, shared_percentile
from loadtest.report.charts.primitives import (
    WIDTH,
    Scale,
    Style,
    axis_below,
    cross,
    from_zero,
    line,
    marker,
    picture,
    spanning,
    text,
)
from loadtest.report.format import significant, size
from loadtest.report.markup import Html, element
from loadtest.report.tables.endpoints import closed_point, is_ranked, points, scenario_of

LEFT, RIGHT, ROW, GROUP = 92.0, WIDTH - 58, 19.0, 22.0


@dataclass(frozen=True)
class Dot:
    """A value in a row; `hollow` marks the lesser of two kinds."""

    value: float
    told: str
    hollow: bool = False


@dataclass(frozen=True)
class Row:
    """A row of marks: who it is about, and whether it may be ranked."""

    artifact: str
    protocol: str
    label: str
    dots: tuple[Dot, ...]
    figure: str
    valid: bool = True
    whisker: tuple[float, float] | None = None


@dataclass(frozen=True)
class Question:
    """One chart: its axis, and how a row is made from an endpoint (None leaves the endpoint out)."""

    axis: str
    row: Callable[[Mapping[str, Any]], Row | None]
    log: bool = False
    """From zero with bars where False, logarithmic where True."""


def row_panels(report: Report, styler: Styler, question: Question) -> list[Panel]:
    """One panel a server, all on one scale."""
    rows = {
        server: _merged(_in_order([question.row(e) for e in report["endpoints"] if e.get("server") == server], styler))
        for server in servers_of(report)
    }
    values = [
        v for found in rows.values() for row in found for v in (*(d.value for d in row.dots), *(row.whisker or ()))
    ]
    if not values:
        return []
    scale = (spanning if question.log else from_zero)(values, LEFT, RIGHT)
    return [
        Panel(server_title(report, s), draw(s, found, styler, scale, question.axis))
        for s, found in rows.items()
        if found
    ]


def _in_order(rows: Sequence[Row | None], styler: Styler) -> list[Row]:
    """Artifacts as they come, their protocols as in the legend."""
    found = [row for row in rows if row]
    artifacts = list(dict.fromkeys(row.artifact for row in found))
    return sorted(found, key=lambda row: (artifacts.index(row.artifact), styler(row.protocol, row.artifact).hue))


def _merged(rows: Sequence[Row]) -> list[Row]:
    """One row for all protocols of an artifact where they share their values, as with memory of one process."""
    merged: list[Row] = []
    for _, group in groupby(rows, key=lambda row: row.artifact):
        found = list(group)
        same = len(found) > 1 and all([d.value for d in row.dots] == [d.value for d in found[0].dots] for row in found)
        merged += [Row(**{**vars(found[0]), "label": "all protocols"})] if same else found
    return merged


def draw(subject: str, rows: Sequence[Row], styler: Styler, scale: Scale, axis: str) -> Html:
    """The picture of some rows, those of one artifact (or other group) under its name."""
    parts: list[Html] = []
    y = 4.0
    for artifact, group in groupby(rows, key=lambda row: row.artifact):
        y += GROUP
        parts.append(text(0, y - 6, artifact, "group"))
        for row in group:
            parts.append(_row(row, y + ROW / 2 - 3, styler(row.protocol, row.artifact), scale))
            y += ROW
    below = axis_below(scale, 8, y + 4, axis)
    return picture(y + 42, f"{subject}: {axis} row by row; the figures are in the tables", below, parts)


def _row(row: Row, y: float, style: Style, scale: Scale) -> Html:
    places = [scale(dot.value) for dot in row.dots]
    parts = [text(8, y + 4, row.label, "tick"), line(LEFT, y, RIGHT, y, "track")]
    start = LEFT if not scale.log else min(places)
    parts.append(line(start, y, max(places), y, "stem"))
    if row.whisker:
        parts.append(line(scale(row.whisker[0]), y, scale(row.whisker[1]), y, "whisker"))
    for dot, x in zip(row.dots, places, strict=True):
        parts.append(marker(style.shape, x, y, dot.told, "hollow" if dot.hollow or not row.valid else ""))
        if not row.valid:
            parts.append(cross(x, y))
    parts.append(text(WIDTH, y + 4, row.figure, "figure", "end"))
    return element("g", parts, class_=f"hue-{style.hue}")


def _base(endpoint: Mapping[str, Any]) -> tuple[str, str, str]:
    return endpoint["artifact"], endpoint["protocol"], endpoint["protocol"]


def memory_row(endpoint: Mapping[str, Any]) -> Row | None:
    """Steady memory (hollow) and peak memory of the server's processes, in MB."""
    peak, steady = endpoint.get("peak_rss_bytes"), endpoint.get("steady_rss_bytes")
    if not peak:
        return None
    dots = [Dot(peak / 1e6, f"{endpoint['name']}\npeak {size(peak)}")]
    if steady:
        dots.insert(0, Dot(steady / 1e6, f"{endpoint['name']}\nsteady {size(steady)}", hollow=True))
    return Row(*_base(endpoint), tuple(dots), size(peak))


def start_row(endpoint: Mapping[str, Any]) -> Row | None:
    """Seconds from the start of the process to live and ready (hollow) and to the first right answer."""
    first = endpoint.get("first_answer_s")
    if not first:
        return None
    steps = [(key, endpoint.get(f"{key}_s")) for key in ("live", "ready")]
    dots = [
        Dot(value, f"{endpoint['name']}\n{key} after {significant(value)} s", hollow=True)
        for key, value in steps
        if value
    ]
    return Row(
        *_base(endpoint),
        (*dots, Dot(first, f"{endpoint['name']}\nfirst answer after {significant(first)} s")),
        f"{significant(first)} s",
    )


def gap_percentile(report: Report) -> str:
    """The highest percentile that nearly every endpoint has under open load."""
    return shared_percentile(
        [p.get("latency_from_send_ms") or {} for _, p in points(report) if p.get("name") == "open"]
    )


def gap_rows(name: str) -> Callable[[Mapping[str, Any]], Row | None]:
    """A percentile under open load, counted from the actual send (hollow) and from the intended one."""

    def row(endpoint: Mapping[str, Any]) -> Row | None:
        point = scenario_of(endpoint, "open")
        intended = ((point or {}).get("latency_ms") or {}).get(name)
        sent = ((point or {}).get("latency_from_send_ms") or {}).get(name)
        if not point or not intended or not sent:
            return None
        dots = (
            Dot(sent, f"{endpoint['name']}\n{name} from the actual send: {significant(sent)} ms", hollow=True),
            Dot(intended, f"{endpoint['name']}\n{name} from the intended send: {significant(intended)} ms"),
        )
        return Row(*_base(endpoint), dots, f"{significant(intended)} ms", is_ranked(point))

    return row


def cpu_row(endpoint: Mapping[str, Any]) -> Row | None:
    """CPU seconds for 1,000 requests under the most users of the closed loop."""
    point = closed_point(endpoint)
    value = (point or {}).get("cpu_s_per_1000")
    if not point or not value:
        return None
    return Row(
        *_base(endpoint),
        (Dot(value, f"{endpoint['name']}\n{significant(value)} CPU s per 1,000 requests"),),
        significant(value),
        is_ranked(point),
    )


def _slo_told(entry: Mapping[str, Any]) -> str:
    found = f"{significant(entry['rate_rps'])}/s at p99 {significant(entry.get('p99_ms'))} ms"
    return f"{entry['name']}, {entry.get('settings')}\n{found}"


def slo_rows(report: Report) -> Callable[[Mapping[str, Any]], Row | None]:
    """The highest rate that keeps the target: with default settings (hollow) and the best of the tuned ones."""
    entries: Iterable[Mapping[str, Any]] = (report.get("slo") or {}).get("endpoints") or []

    def row(endpoint: Mapping[str, Any]) -> Row | None:
        found = [e for e in entries if e["name"] == endpoint["name"] and e.get("rate_rps")]
        if not found:
            return None
        dots = tuple(Dot(e["rate_rps"], _slo_told(e), e.get("settings") == "default" and len(found) > 1) for e in found)
        best = max(found, key=lambda e: e["rate_rps"])
        return Row(*_base(endpoint), dots, f"{significant(best['rate_rps'])}/s", bool(best.get("confirmed")))

    return row
