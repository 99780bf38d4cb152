"""The training chapter: execution modes, distribution and inference in process, where they were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.report_format import interval, percent, significant, size
from loadtest.report_markup import Html, element, join
from loadtest.report_tables import Cell, Column, Table, to_html

Report = Mapping[str, Any]


def modes_section(report: Report) -> Html:
    """What the verdicts say, then a table for every list of rows that the benchmark wrote."""
    found = report.get("training_modes") or {}
    told = [
        str(verdict.get("text") if isinstance(verdict, Mapping) else verdict)
        for verdict in found.get("headline") or found.get("verdicts") or []
    ]
    words = element("ul", [element("li", sentence) for sentence in told]) if told else Html("")
    return join([words, [to_html(table) for table in modes_tables(report)]])


def modes_tables(report: Report) -> list[Table]:
    """One table for each list of rows: the columns are the keys that the rows have, in their order."""
    found = report.get("training_modes") or {}
    lists = {
        key: rows
        for key, rows in found.items()
        if isinstance(rows, list) and rows and key not in ("verdicts", "headline")
    }
    return [_table(key, [row for row in rows if isinstance(row, Mapping)]) for key, rows in lists.items()]


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    keys = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if not key.endswith("_ci") and "_ci_" not in key and key != "reason"
    ]
    columns = tuple(Column(_title(key), any(_is_figure(row.get(key)) for row in rows)) for key in keys)
    heads = min(2, len(keys))
    cells = tuple(tuple(_cell(row, key, place == heads - 1) for place, key in enumerate(keys)) for row in rows)
    return Table(f"modes-{name.replace('_', '-')}", _title(name), columns, cells, heads=heads)


def _title(key: str) -> str:
    """`compile_s` → `Compile, s`: the unit in a key becomes the unit in the head."""
    key = key.replace("rss_bytes", "memory_bytes")
    units = {"s": "s", "ms": "ms", "bytes": "", "per_s": "per s"}
    for suffix, unit in sorted(units.items(), key=lambda entry: -len(entry[0])):
        if key.endswith(f"_{suffix}"):
            words = key.removesuffix(f"_{suffix}").replace("_", " ")
            return (
                (f"{words}, {unit}" if unit else words).capitalize()
                if unit != "per s"
                else f"{words} per s".capitalize()
            )
    return key.replace("_", " ").capitalize()


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(row: Mapping[str, Any], key: str, names_the_row: bool) -> Cell:
    value = row.get(key)
    if value is None:
        return Cell("n/a")
    if not _is_figure(value):
        shown = "yes" if value is True else "no" if value is False else str(value)
        return Cell(shown, detail=str(row.get("reason") or "") if names_the_row else "")
    bounds = next((row[k] for k in (f"{key}_ci", _with_ci(key)) if isinstance(row.get(k), list)), None)
    shown = (
        percent(value)
        if key.endswith("accuracy")
        else size(value)
        if key.endswith("_bytes")
        else str(value)
        if isinstance(value, int) and value < 10_000
        else significant(value)
    )
    return Cell(shown, float(value), interval(bounds))


def _with_ci(key: str) -> str:
    """`epoch_s` → `epoch_ci_s`, where the report keeps the interval of a figure."""
    stem, _, unit = key.rpartition("_")
    return f"{stem}_ci_{unit}"
