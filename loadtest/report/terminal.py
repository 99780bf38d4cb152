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
from loadtest.table import Table, to_text

WIDTH = 100
"""Columns, where the terminal has as many."""
BAR = 30
"""The most characters of the drawn axis."""
FIGURES = 32
"""Characters of a figure and its interval beside the axis."""


def render_text(report: Report, width: int = WIDTH) -> str:
    """The first screen in at most `width` columns, 80 or more."""
    texts = [" ".join(answer_of(report)), *notes_of(report)]
    parts = [textwrap.fill(text, width) for text in texts]
    if ranking := leading(report):
        parts.append(_tiers(report, ranking, width))
        parts.append(textwrap.fill(report.family.statement, width) if tells_apart(ranking) else "")
    if choices := choices_table(report):
        parts.append(f"What to choose\n{_choices(choices, width)}")
    return "\n\n".join(part for part in parts if part)


def _choices(table: Table, width: int) -> str:
    """The table, without its last column where that doesn't fit."""
    text = to_text(table)
    fits = max(map(len, text.splitlines())) <= width
    return text if fits else to_text(table.only(range(len(table.columns) - 1)))


def _tiers(report: Report, ranking: Ranking, width: int) -> str:
    """A line an endpoint, a rule between tiers; what is left out stands below with what that means."""
    names = Names(report.endpoints)
    longest = max((len(names.short(endpoint.name)) for endpoint in report.endpoints), default=0)
    axis = min(BAR, max(0, width - longest - FIGURES))
    inferred = tells_apart(ranking)
    seen = "; within a tier no difference was seen" if inferred else ""
    lines = [textwrap.fill(f"{caption_of(report, ranking)}, best first{seen}", width)]
    for tier in ranking.tiers():
        if inferred:
            lines.append(f"── tier {tier[0].tier} ".ljust(width, "─"))
        lines += [_line(names.short(row.endpoint).ljust(longest), ranking, row, axis) for row in tier]
    if ranking.unranked:
        lines.append("── not ranked ".ljust(width, "─"))
    for left in ranking.unranked:
        name = f"{names.short(left.endpoint).ljust(longest)}  "
        lines += textwrap.wrap(name + plain_reason(left.reason), width, subsequent_indent=" " * len(name))
    return "\n".join(lines)


def _line(name: str, ranking: Ranking, row: Ranked, axis: int) -> str:
    bar = f"  {_bar(ranking, row, axis)}" if axis > 9 else ""
    return f"{name}{bar}  {figure(ranking.figure, row.figure.value).rjust(9)}  {interval(row.figure)}".rstrip()


def _bar(ranking: Ranking, row: Ranked, axis: int) -> str:
    """The interval as a line with the figure on it: `    ├──●──┤`."""
    scale = from_zero([other.figure.high or other.figure.value for other in ranking.ranked], 0, axis - 1)
    drawn = [" "] * axis
    if row.figure.low is not None and row.figure.high is not None:
        low, high = round(scale(row.figure.low)), round(scale(row.figure.high))
        drawn[low : high + 1] = "─" * (high + 1 - low)
        drawn[low], drawn[high] = "├", "┤"
    drawn[round(scale(row.figure.value))] = "●"
    return "".join(drawn)
