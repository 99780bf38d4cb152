"""The picture of a ranking: a table whose rows are endpoints, best first, each with its interval on a common axis.

It is a table, so that a screen reader reads it, a filter shortens it and a narrow screen keeps its text; only the
intervals are drawn.
"""

from __future__ import annotations

from loadtest.analysis.figures import Estimate
from loadtest.analysis.schema import Ranked, Ranking, Report, Unranked
from loadtest.report.charts.primitives import Scale, from_zero, significant_tick, spanning
from loadtest.report.format import figure, interval, size
from loadtest.report.html_table import facet_attributes
from loadtest.report.markup import Html, element
from loadtest.report.names import Names
from loadtest.report.rankings import tells_apart
from loadtest.report.text import MEASURES, plain_reason

WIDE = 40.0
"""A span of figures above which the axis is logarithmic."""


def tiers_picture(report: Report, ranking: Ranking, caption: str) -> Html:
    """Every endpoint of the ranking, tier by tier, then those that it leaves out."""
    names = Names(report.endpoints)
    scale = _scale(ranking)
    head = element(
        "tr",
        element("th", "Tier" if tells_apart(ranking) else "Place", scope="col", class_="rank", data_column=0),
        element("th", "Endpoint", scope="col", data_column=1),
        element("th", _axis(ranking.figure, scale), scope="col", class_="range", aria_label="interval, drawn"),
        element("th", MEASURES[ranking.figure].column, scope="col", class_="number", data_column=3),
        element("th", "95 % interval" if tells_apart(ranking) else None, scope="col", class_="bounds", data_column=4),
    )
    tiers = ranking.tiers() if tells_apart(ranking) else [list(ranking.ranked)]
    bodies = [element("tbody", [_row(report, names, ranking, row, scale) for row in tier]) for tier in tiers]
    left_out = [_left_out(report, names, row) for row in ranking.unranked]
    columns = [element("col", class_=name) for name in ("rank", "name", "range", "figure", "bounds")]
    return element(
        "table",
        element("caption", caption),
        element("colgroup", columns),
        element("thead", head),
        bodies,
        element("tbody", left_out, class_="unranked") if left_out else None,
        class_="tiers" if tells_apart(ranking) else "tiers plain",
        id=f"tiers-{ranking.question.replace('_', '-')}",
        data_sortable=True,
    )


def _scale(ranking: Ranking) -> Scale:
    """From zero, or logarithmic where the slowest would vanish beside the fastest; places in per cent of the cell."""
    values = [bound for row in ranking.ranked for bound in _bounds(row.figure)]
    if values and min(values) > 0 and max(values) / min(values) > WIDE:
        return spanning(values, 0, 100)
    return from_zero(values, 0, 100)


def _bounds(estimate: Estimate) -> tuple[float, ...]:
    return tuple(value for value in (estimate.low, estimate.value, estimate.high) if value is not None)


def _percent(place: float) -> str:
    return f"{place:.2f}%"


def _axis(kind: str, scale: Scale) -> Html:
    ticks = [
        element(
            "text",
            size(tick) if kind.endswith("_bytes") else significant_tick(tick),
            x=_percent(scale(tick)),
            y=13,
            class_="tick",
            text_anchor=_anchor(scale(tick)),
        )
        for tick in scale.ticks()
    ]
    return element("svg", ticks, aria_hidden="true", focusable="false")


def _anchor(place: float) -> str:
    """Ticks at either end of the axis stay inside it."""
    return "start" if place < 1 else "end" if place > 92 else "middle"


def _row(report: Report, names: Names, ranking: Ranking, row: Ranked, scale: Scale) -> Html:
    return element(
        "tr",
        element("td", str(row.tier), class_="rank", data_value=row.tier),
        element("th", names.short(row.endpoint), _tag(report, row.endpoint), scope="row", title=row.endpoint),
        element("td", _drawn(names.short(row.endpoint), ranking, row, scale), class_="range"),
        element("td", figure(ranking.figure, row.figure.value), class_="number", data_value=repr(row.figure.value)),
        element("td", interval(row.figure), class_="bounds number"),
        **facet_attributes(names.facets(row.endpoint)),
    )


def _drawn(name: str, ranking: Ranking, row: Ranked, scale: Scale) -> Html:
    """The interval as a bar over the axis, the figure as a dot, with faint lines at the ticks."""
    bounds = interval(row.figure)
    title = f"{name}: {figure(ranking.figure, row.figure.value)}" + (f", 95 % interval {bounds}" if bounds else "")
    grid = [element("line", x1=x, x2=x, y1=0, y2=18, class_="grid") for x in map(_percent, map(scale, scale.ticks()))]
    x = _percent(scale(row.figure.value))
    parts = [element("title", title), grid, element("line", x1="0", x2=x, y1=9, y2=9, class_="track")]
    if row.figure.low is not None and row.figure.high is not None:
        low, high = (_percent(scale(bound)) for bound in (row.figure.low, row.figure.high))
        parts.append(element("line", x1=low, x2=high, y1=9, y2=9, class_="span"))
    parts.append(element("circle", cx=x, cy=9, r=4))
    return element("svg", parts, role="img", aria_label=title, focusable="false")


def _tag(report: Report, name: str) -> Html | None:
    """`stand-in` beside an endpoint whose server is not the genuine one."""
    endpoint = report.endpoint(name)
    if endpoint is None or not endpoint.stands_in_for:
        return None
    return element("span", endpoint.engine, class_="tag", title=f"stands in for {endpoint.stands_in_for}")


def _left_out(report: Report, names: Names, row: Unranked) -> Html:
    return element(
        "tr",
        element("td", "–", class_="rank"),
        element("th", names.short(row.endpoint), _tag(report, row.endpoint), scope="row", title=row.endpoint),
        element("td", f"not ranked: {plain_reason(row.reason)}", colspan=2, class_="reason"),
        element("td", class_="bounds"),
        **facet_attributes(names.facets(row.endpoint)),
    )
