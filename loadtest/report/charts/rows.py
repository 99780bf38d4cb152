"""The charts with a row an endpoint: values as marks on a common scale, grouped by artifact, one panel a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from loadtest.analysis.figures import EndpointReport
from loadtest.analysis.schema import Report
from loadtest.report.charts.panels import Panel, Styler, by_server, server_title
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
from loadtest.report.markup import Html, element

START, END, HEIGHT, GROUP = 92.0, WIDTH - 58, 19.0, 22.0
"""Where a row's scale starts and ends, the height of a row and of a group's name."""


@dataclass(frozen=True)
class Mark:
    """A value in a row; `hollow` marks the lesser of two kinds."""

    value: float
    hover: str
    hollow: bool = False


@dataclass(frozen=True)
class MarkRow:
    """A row of marks: what it is about, and whether it may be ranked."""

    artifact: str
    protocol: str
    label: str
    marks: tuple[Mark, ...]
    figure: str
    ranked: bool = True
    whisker: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """One chart: its axis, and how a row is made from an endpoint (None leaves the endpoint out)."""

    axis: str
    row: Callable[[EndpointReport], MarkRow | None]
    log: bool = False
    """From zero with bars where False, logarithmic where True."""


def row_panels(report: Report, styler: Styler, chart: Chart) -> list[Panel]:
    """One panel a server, all on one scale."""
    servers = by_server(report)
    rows = {server: _merged(_in_order(map(chart.row, servers[server]), styler)) for server in servers}
    values = [value for server_rows in rows.values() for row in server_rows for value in _values(row)]
    if not values:
        return []
    scale = (spanning if chart.log else from_zero)(values, START, END)
    return [
        Panel(server_title(server, servers[server]), draw(server, server_rows, styler, scale, chart.axis), server)
        for server, server_rows in rows.items()
        if server_rows
    ]


def _values(row: MarkRow) -> list[float]:
    return [*(mark.value for mark in row.marks), *(row.whisker or ())]


def _in_order(candidates: Sequence[MarkRow | None] | map[MarkRow | None], styler: Styler) -> list[MarkRow]:
    """Artifacts as they come, their protocols as in the legend."""
    rows = [row for row in candidates if row]
    artifacts = list(dict.fromkeys(row.artifact for row in rows))
    return sorted(rows, key=lambda row: (artifacts.index(row.artifact), styler(row.protocol, row.artifact).hue))


def _merged(rows: Sequence[MarkRow]) -> list[MarkRow]:
    """One row for all protocols of an artifact where they share their values, as with memory of one process."""
    merged: list[MarkRow] = []
    for _, members in groupby(rows, key=lambda row: row.artifact):
        group = list(members)
        values = [[mark.value for mark in row.marks] for row in group]
        same = len(group) > 1 and all(value == values[0] for value in values)
        merged += [replace(group[0], label="all protocols")] if same else group
    return merged


def draw(subject: str, rows: Sequence[MarkRow], styler: Styler, scale: Scale, axis: str) -> Html:
    """The picture of some rows, those of one artifact (or other group) under its name."""
    parts: list[Html] = []
    y = 4.0
    for artifact, group in groupby(rows, key=lambda row: row.artifact):
        y += GROUP
        parts.append(text(0, y - 6, artifact, "group"))
        for row in group:
            parts.append(_row(row, y + HEIGHT / 2 - 3, styler(row.protocol, row.artifact), scale))
            y += HEIGHT
    below = axis_below(scale, 8, y + 4, axis)
    return picture(y + 42, f"{subject}: {axis} row by row; the figures are in the tables", below, parts)


def _row(row: MarkRow, y: float, style: Style, scale: Scale) -> Html:
    places = [scale(mark.value) for mark in row.marks]
    parts = [text(8, y + 4, row.label, "tick"), line(START, y, END, y, "track")]
    parts.append(line(min(places) if scale.log else START, y, max(places), y, "stem"))
    if row.whisker:
        parts.append(line(scale(row.whisker[0]), y, scale(row.whisker[1]), y, "whisker"))
    for mark, x in zip(row.marks, places, strict=True):
        parts.append(marker(style.shape, x, y, mark.hover, "hollow" if mark.hollow or not row.ranked else ""))
        if not row.ranked:
            parts.append(cross(x, y))
    parts.append(text(WIDTH, y + 4, row.figure, "figure", "end"))
    return element("g", parts, class_=f"hue-{style.hue}")
