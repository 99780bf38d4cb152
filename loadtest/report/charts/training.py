"""Training in every execution mode: images per second as rows, grouped by framework."""

from __future__ import annotations

from loadtest.analysis.figures import Estimate
from loadtest.analysis.training_modes import Mode, TrainingModes
from loadtest.report.charts.panels import Panel
from loadtest.report.charts.primitives import SHAPES, Style, from_zero
from loadtest.report.charts.rows import END, START, Mark, MarkRow, draw
from loadtest.report.format import interval, significant


def modes_panel(modes: TrainingModes) -> Panel | None:
    """Images per second of every mode, with its interval."""
    measured = [(mode, rate) for mode in modes.modes if (rate := mode.images_per_s)]
    if not measured:
        return None
    frameworks = list(dict.fromkeys(mode.framework for mode, _ in measured))
    rows = [_row(mode, rate) for name in frameworks for mode, rate in measured if mode.framework == name]
    scale = from_zero([v for row in rows for v in (*(m.value for m in row.marks), *(row.whisker or ()))], START, END)

    def styled(_protocol: str, framework: str) -> Style:
        place = frameworks.index(framework)
        return Style(place, SHAPES[place % len(SHAPES)], False)

    return Panel("Steady training", draw("training", rows, styled, scale, "images per second"))


def _row(mode: Mode, rate: Estimate) -> MarkRow:
    hover = f"{mode.name}: {significant(rate.value)} images/s ({interval(rate)})"
    whisker = (rate.low, rate.high) if rate.low is not None and rate.high is not None else None
    mark = Mark(rate.value, hover)
    return MarkRow(mode.framework, "", mode.mode, (mark,), significant(rate.value), whisker=whisker)
