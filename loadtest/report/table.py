"""One table for every place: the values of a table, and its forms as HTML, GitHub-flavoured Markdown and plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from loadtest.report.markup import Html, breakable, element


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
class Table:
    """A table: every row has one cell a column, `unranked` rows stand below the others however it is sorted."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    unranked: tuple[tuple[Cell, ...], ...] = ()
    note: str = ""
    unranked_title: str = "Shown, not ranked: INVALID or client-limited"
    heads: int = field(default=1)
    """How many of the first columns name the row."""


def without_empty(table: Table) -> Table:
    """The table without the columns that hold no figure in any row."""
    rows = [*table.rows, *table.unranked]
    kept = [
        place
        for place in range(len(table.columns))
        if place < table.heads or any(row[place].text not in ("", "n/a") for row in rows)
    ]

    def cut(row: tuple[Cell, ...]) -> tuple[Cell, ...]:
        return tuple(row[place] for place in kept)

    columns = tuple(table.columns[place] for place in kept)
    return replace(table, columns=columns, rows=tuple(map(cut, table.rows)), unranked=tuple(map(cut, table.unranked)))


def to_html(table: Table) -> Html:
    """The table in a frame that scrolls sideways on a narrow screen."""
    head = element("tr", [_head(index, column) for index, column in enumerate(table.columns)])
    bodies = [element("tbody", [_row(table, row) for row in table.rows])]
    if table.unranked:
        title = element("th", table.unranked_title, colspan=len(table.columns), scope="rowgroup")
        rows = [_row(table, row) for row in table.unranked]
        bodies.append(element("tbody", element("tr", title, class_="divider"), rows, class_="unranked"))
    caption = element("caption", table.caption)
    grid = element("table", caption, element("thead", head), bodies, id=f"table-{table.name}", data_sortable=True)
    frame = element("div", grid, class_="scroll", tabindex=0, role="region", aria_label=table.caption)
    return Html(frame + (element("p", table.note, class_="note") if table.note else ""))


def _head(index: int, column: Column) -> Html:
    return element(
        "th",
        breakable(column.name) if column.name.count("/") > 1 else column.name,
        scope="col",
        class_="number" if column.numeric else None,
        title=column.hint or None,
        data_column=index,
    )


def _row(table: Table, row: Sequence[Cell]) -> Html:
    return element("tr", [_field(table, index, cell) for index, cell in enumerate(row)])


def _field(table: Table, index: int, cell: Cell) -> Html:
    text: str = element("span", cell.text, class_=f"mark {cell.mark}") if cell.mark else cell.text
    if index < table.heads and not cell.mark:
        text = breakable(cell.text)
    detail = element("small", cell.detail) if cell.detail else None
    classes = " ".join(filter(None, ("number" if table.columns[index].numeric else "", "bar" if cell.bar else "")))
    attributes = {
        "class_": classes or None,
        "data_value": None if cell.value is None else repr(cell.value),
        "style": f"--bar:{100 * cell.bar:.1f}%" if cell.bar else None,
    }
    if index < table.heads:
        return element("th", text, detail, scope="row", **attributes)
    return element("td", text, detail, **attributes)


def to_markdown(table: Table) -> str:
    """The same table in GitHub-flavoured Markdown; what is not ranked is marked in its first column."""
    lines = [_line([plain(column.name) for column in table.columns])]
    lines.append(_line([("---:" if column.numeric else "---") for column in table.columns]))
    lines += [_line([_markdown(cell) for cell in row]) for row in table.rows]
    for first, *rest in table.unranked:
        lines.append(_line([f"{_markdown(first)} (not ranked)", *map(_markdown, rest)]))
    return "\n".join(lines) + (f"\n\n{plain(table.note)}" if table.note else "")


def _line(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _markdown(cell: Cell) -> str:
    return plain(cell.text) + (f" ({plain(cell.detail)})" if cell.detail else "")


def plain(text: str) -> str:
    """Text that Markdown leaves as it is, on one line."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))


def to_text(table: Table) -> str:
    """The same table for a terminal: columns in line, figures to the right, no second lines."""
    grid = [[column.name for column in table.columns]]
    grid += [[cell.text for cell in row] for row in table.rows]
    grid += [[f"{row[0].text} (not ranked)", *(cell.text for cell in row[1:])] for row in table.unranked]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = [_aligned(table, row, widths) for row in grid]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _aligned(table: Table, row: Sequence[str], widths: Sequence[int]) -> str:
    fields = (
        text.rjust(width) if column.numeric else text.ljust(width)
        for text, width, column in zip(row, widths, table.columns, strict=True)
    )
    return "  ".join(fields).rstrip()
