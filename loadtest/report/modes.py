"""The training chapter: execution modes, distribution and inference in process, where they were measured.

`training_modes` is an object: `headline` (sentences) or `verdicts` (each with `text`), and any number of lists of rows.
A row names `framework` and `mode`; a figure's unit ends its key, its interval is under the key with `_ci` (`epoch_s`:
`epoch_ci_s` or `epoch_s_ci`) or comes from `runs`, the figures of each round; a mode that could not run has a `reason`
or says what is `missing`. Where there are no sentences, they are made from the rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.report.charts.curves import Panel
from loadtest.report.charts.primitives import SHAPES, Style, from_zero
from loadtest.report.charts.rows import LEFT, RIGHT, Dot, Row, draw
from loadtest.report.format import interval, percent, significant, size
from loadtest.report.markup import Html, element, join
from loadtest.report.table import Cell, Column, Table, to_html, without_empty
from loadtest.report.training import bounds_over_rounds, training_headline

Report = Mapping[str, Any]
Fields = Mapping[str, Any]
NAMES = ("framework", "mode", "artifact", "workers", "batch_size")
"""Keys that say what a row is about: they come first, whatever the order in the file."""
LEADING = ("speedup", "seconds_to_target", "images_per_s", "seconds_per_epoch", "latency_p50_ms", "samples_per_s")
"""Figures that come before the others."""
FIRST = ("modes", "distributed", "inference")
CAPTIONS = {
    "modes": "Training in every execution mode; reference is the loop that articles show",
    "distributed": "Training on several processes, beside a single one",
    "inference": "Inference in process, without a server",
}
REASONS = ("reason", "missing")
PLAIN = ("verdicts", "headline")
UNITS = (("_per_s", " per s"), ("_ms", ", ms"), ("_s", ", s"), ("_bytes", ""))


def modes_section(report: Report) -> Html:
    """What the verdicts say, a chart of the rates, then a table for every list of rows that the benchmark wrote."""
    found = report.get("training_modes") or {}
    told = [str(v.get("text") if isinstance(v, Mapping) else v) for key in PLAIN for v in found.get(key) or []]
    told = told or training_headline(found)
    words = element("ul", [element("li", sentence) for sentence in dict.fromkeys(told)]) if told else None
    return join([words, _chart(report), [to_html(table) for table in modes_tables(report)]])


def modes_tables(report: Report) -> list[Table]:
    """One table for each list of rows: names first, then every figure that any row has."""
    found = _lists(report)
    names = [*(name for name in FIRST if name in found), *(name for name in found if name not in FIRST)]
    tables = (without_empty(_table(name, found[name])) for name in names)
    return [table for table in tables if any(column.numeric for column in table.columns)]


def _lists(report: Report) -> dict[str, list[Fields]]:
    found = report.get("training_modes") or {}
    lists = {key: rows for key, rows in found.items() if isinstance(rows, list) and key not in PLAIN}
    return {key: list(rows) for key, rows in lists.items() if rows and all(isinstance(row, Mapping) for row in rows)}


def modes_panel(report: Report) -> Panel | None:
    """Images per second of every mode, with its interval."""
    rows = [row for found in _lists(report).values() for row in found if row.get("images_per_s") and row.get("mode")]
    if not rows:
        return None
    frameworks = list(dict.fromkeys(str(row.get("framework")) for row in rows))
    drawn = [_row(row) for name in frameworks for row in rows if str(row.get("framework")) == name]
    scale = from_zero([v for row in drawn for v in (*(d.value for d in row.dots), *(row.whisker or ()))], LEFT, RIGHT)

    def styled(_protocol: str, framework: str) -> Style:
        return Style(frameworks.index(framework), SHAPES[frameworks.index(framework) % len(SHAPES)], False)

    return Panel("Steady training", draw("training", drawn, styled, scale, "images per second"))


def _row(row: Fields) -> Row:
    bounds, value = _bounds(row, "images_per_s"), float(row["images_per_s"])
    told = f"{row.get('framework')} {row['mode']}: {significant(value)} images/s"
    whisker = (float(bounds[0]), float(bounds[1])) if bounds else None
    dots = (Dot(value, told),)
    return Row(str(row.get("framework")), "", str(row["mode"]), dots, significant(value), whisker=whisker)


def _chart(report: Report) -> Html | None:
    panel = modes_panel(report)
    if panel is None:
        return None
    return element(
        "figure",
        element("div", element("div", element("h3", panel.title), panel.image, class_="panel"), class_="panels"),
    )


def _table(name: str, rows: Sequence[Fields]) -> Table:
    present = dict.fromkeys(key for row in rows for key in row if _is_shown(key, rows))
    known = (*NAMES, *LEADING)
    keys = [*(key for key in known if key in present), *(key for key in present if key not in known)]
    columns = tuple(Column(_title(key), any(_is_figure(row.get(key)) for row in rows)) for key in keys)
    heads = min(2, len(keys))
    cells = tuple(tuple(_cell(row, key, place == heads - 1) for place, key in enumerate(keys)) for row in rows)
    return Table(f"modes-{name.replace('_', '-')}", CAPTIONS.get(name, _title(name)), columns, cells, heads=heads)


def _is_shown(key: str, rows: Sequence[Fields]) -> bool:
    if key in REASONS or key.endswith("_ci") or "_ci_" in key:
        return False
    return not any(isinstance(row.get(key), list | dict) for row in rows)


def _title(key: str) -> str:
    """`compile_s` → `Compile, s`: the unit in a key becomes the unit in the head."""
    key = key.replace("rss_bytes", "memory_bytes")
    for suffix, unit in UNITS:
        if key.endswith(suffix):
            return (key.removesuffix(suffix).replace("_", " ") + unit).capitalize()
    return key.replace("_", " ").capitalize()


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(row: Fields, key: str, names_the_row: bool) -> Cell:
    value = row.get(key)
    if value is None:
        return Cell("n/a")
    if not _is_figure(value):
        shown = "yes" if value is True else "no" if value is False else str(value)
        reason = next((str(row[name]) for name in REASONS if row.get(name)), "")
        return Cell(shown, detail=reason if names_the_row else "")
    return Cell(_figure(key, value), float(value), interval(_bounds(row, key)))


def _figure(key: str, value: float) -> str:
    if key.endswith("accuracy"):
        return percent(value)
    if key.endswith("_bytes"):
        return size(value)
    return f"{value:,}" if isinstance(value, int) else significant(value)


def _bounds(row: Fields, key: str) -> Sequence[float] | None:
    """The interval of a figure, wherever the report keeps it: `epoch_ci_s`, `epoch_s_ci`."""
    unit = next((suffix for suffix, _ in UNITS if key.endswith(suffix)), "")
    places = (f"{key}_ci", f"{key.removesuffix(unit)}_ci{unit}")
    kept = next((row[place] for place in places if isinstance(row.get(place), list)), None)
    return kept or bounds_over_rounds(row, key)
