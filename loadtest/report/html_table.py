"""A table as HTML, with what the page's script sorts and filters by."""

from __future__ import annotations

from loadtest.report.markup import Html, breakable, element
from loadtest.table import Cell, Column, Facets, Row, Table


def facet_attributes(facets: Facets) -> dict[str, str | None]:
    """The `data-` attributes that the page's script filters by."""
    return {f"data_{name}": value or None for name, value in vars(facets).items()}


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


def _row(table: Table, row: Row) -> Html:
    cells = [_field(table, index, cell) for index, cell in enumerate(row.cells)]
    return element("tr", cells, **facet_attributes(row.facets))


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
