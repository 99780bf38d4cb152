"""The first screen of the report for a terminal: the answer, the tiers with their intervals, and what to choose."""

from __future__ import annotations

import textwrap

from loadtest.analysis.schema import Ranked, Ranking, Report
from loadtest.report.answer import answer_of, notes_of
from loadtest.report.charts.primitives import from_zero
from loadtest.report.format import figure, interval
from loadtest.report.names import Names
from loadtest.report.rankings import caption_of, leading, tells_apart
from loadtest.report.tables.choices import choices_table
from loadtest.report.text import plain_reason
from loadtest.table import to_text

WIDTH = 100
BAR = 30
"""Characters of the drawn axis."""


def render_text(report: Report) -> str:
    """The first screen in at most WIDTH columns."""
    parts = [_wrapped(" ".join(answer_of(report))), *map(_wrapped, notes_of(report))]
    if ranking := leading(report):
        parts.append(_tiers(report, ranking))
        parts.append(_wrapped(report.family.statement) if tells_apart(ranking) else "")
    if choices := choices_table(report):
        parts.append(f"What to choose\n{to_text(choices)}")
    return "\n\n".join(part for part in parts if part)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH)


def _tiers(report: Report, ranking: Ranking) -> str:
    """A line an endpoint, a rule between tiers; what is left out stands below with what that means."""
    names = Names(report.endpoints)
    scale = from_zero([row.figure.high or row.figure.value for row in ranking.ranked], 0, BAR - 1)
    width = max((len(names.short(endpoint.name)) for endpoint in report.endpoints), default=0)
    inferred = tells_apart(ranking)
    lines = [f"{caption_of(report, ranking)}, best first{'; within a tier no difference was seen' if inferred else ''}"]
    for tier in ranking.tiers():
        if inferred:
            lines.append(f"── tier {tier[0].tier} ".ljust(WIDTH, "─"))
        for row in tier:
            bar = _bar(row, [round(scale(value)) for value in _figures(row)])
            bounds = interval(row.figure)
            value = figure(ranking.figure, row.figure.value)
            lines.append(f"{names.short(row.endpoint).ljust(width)}  {bar}  {value.rjust(9)}  {bounds}".rstrip())
    if ranking.unranked:
        lines.append("── not ranked ".ljust(WIDTH, "─"))
    lines += [f"{names.short(left.endpoint).ljust(width)}  {plain_reason(left.reason)}" for left in ranking.unranked]
    return "\n".join(lines)


def _figures(row: Ranked) -> tuple[float, float, float]:
    estimate = row.figure
    low, high = (estimate.value if bound is None else bound for bound in (estimate.low, estimate.high))
    return low, estimate.value, high


def _bar(row: Ranked, places: list[int]) -> str:
    """The interval as a line with the figure on it: `    ├──●──┤`."""
    low, value, high = places
    drawn = [" "] * BAR
    if row.figure.low is not None:
        for place in range(low, high + 1):
            drawn[place] = "─"
        drawn[low], drawn[high] = "├", "┤"
    drawn[value] = "●"
    return "".join(drawn)
