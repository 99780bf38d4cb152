"""One table for every place that prints one: its values, and its forms as GitHub-flavoured Markdown and plain text.

`loadtest.report.html_table` renders the same table as HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Column:
    """The head of a column; `hint` explains it where the name alone doesn't."""

    name: str
    numeric: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Cell:
    """One field: its text, what sorting goes by, a second line, and the length of a bar behind the figure (0…1)."""

    text: str
    value: float | None = None
    detail: str = ""
    bar: float | None = None
    mark: str = ""
    """`bad`, `warn` or `good`: a colour that goes with the text, never instead of it."""


@dataclass(frozen=True)
class Facets:
    """What the page filters by; an empty one matches every choice."""

    server: str = ""
    format: str = ""
    protocol: str = ""
    framework: str = ""


@dataclass(frozen=True)
class Row:
    """The cells of one row, and what the filters of the page know it by."""

    cells: tuple[Cell, ...]
    facets: Facets = Facets()


@dataclass(frozen=True)
class Table:
    """A table: every row has one cell a column, `unranked` rows stand below the others however it is sorted."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    unranked: tuple[Row, ...] = ()
    note: str = ""
    unranked_title: str = "Measured, but left out of the ranking"
    heads: int = field(default=1)
    """How many of the first columns name the row."""

    def only(self, places: Sequence[int]) -> Table:
        """The table with the columns at `places` alone."""

        def narrowed(rows: tuple[Row, ...]) -> tuple[Row, ...]:
            return tuple(replace(row, cells=tuple(row.cells[place] for place in places)) for row in rows)

        columns = tuple(self.columns[place] for place in places)
        return replace(self, columns=columns, rows=narrowed(self.rows), unranked=narrowed(self.unranked))


def row(*cells: Cell | str, facets: Facets | None = None) -> Row:
    """A row of cells; a string becomes a cell of that text."""
    return Row(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells), facets or Facets())


def of_lines(head: Sequence[str], lines: Iterable[Sequence[str | Cell]], words: int = 1) -> Table:
    """A table without a caption whose first `words` columns are words, the others figures."""
    columns = tuple(Column(name, place >= words) for place, name in enumerate(head))
    return Table("figures", "", columns, tuple(row(*cells) for cells in lines))


def present(tables: Iterable[Table | None]) -> tuple[Table, ...]:
    """The tables that there is data for."""
    return tuple(table for table in tables if table is not None and (table.rows or table.unranked))


def without_empty(table: Table) -> Table:
    """The table without the columns that hold no figure in any row."""
    rows = [*table.rows, *table.unranked]
    kept = [
        place
        for place in range(len(table.columns))
        if place < table.heads or any(row.cells[place].text not in ("", "n/a") for row in rows)
    ]
    return table.only(kept)


def to_markdown(table: Table) -> str:
    """The same table in GitHub-flavoured Markdown; what is not ranked is marked in its first column."""
    lines = [_line([plain(column.name) for column in table.columns])]
    lines.append(_line([("---:" if column.numeric else "---") for column in table.columns]))
    lines += [_line([_markdown(cell) for cell in row.cells]) for row in table.rows]
    for row in table.unranked:
        first, *rest = row.cells
        lines.append(_line([f"{_markdown(first)} (not ranked)", *map(_markdown, rest)]))
    return "\n".join(lines) + (f"\n\n{plain(table.note)}" if table.note else "")


def _line(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _markdown(cell: Cell) -> str:
    text = f"**{plain(cell.text)}**" if cell.mark in ("bad", "warn") else plain(cell.text)
    return text + (f" ({plain(cell.detail)})" if cell.detail else "")


def plain(text: str) -> str:
    """Text that Markdown leaves as it is, on one line; an underscore inside a word means nothing to it."""
    return re.sub(r"([\\`*|<>\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def to_text(table: Table) -> str:
    """The same table for a terminal: columns in line, figures to the right, no second lines."""
    grid = [[column.name for column in table.columns]]
    grid += [[cell.text for cell in row.cells] for row in table.rows]
    for row in table.unranked:
        first, *rest = row.cells
        grid.append([f"{first.text} (not ranked)", *(cell.text for cell in rest)])
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = [_aligned(table, fields, widths) for fields in grid]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _aligned(table: Table, texts: Sequence[str], widths: Sequence[int]) -> str:
    fields = (
        text.rjust(width) if column.numeric else text.ljust(width)
        for text, width, column in zip(texts, widths, table.columns, strict=True)
    )
    return "  ".join(fields).rstrip()
