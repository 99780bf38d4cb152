"""A section of the report: a question, its short answer, words, charts and tables; as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.report.charts.panels import Panel, figure_of
from loadtest.report.html_table import to_html
from loadtest.report.markup import Html, element
from loadtest.table import Table, plain, to_markdown


@dataclass(frozen=True)
class Figure:
    """Charts under one caption, one a server; `title` names its fold where a section has several."""

    panels: Sequence[Panel]
    caption: str
    title: str = ""


@dataclass(frozen=True)
class Section:
    """What answers one question of a reader; `folded` tables are for those who want every figure."""

    name: str
    title: str
    brief: str = ""
    """The answer in a few words, readable while the section is folded."""
    words: tuple[str, ...] = ()
    legend: Html | None = None
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()
    notes: tuple[Html, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables or self.folded or any(figure.panels for figure in self.figures))


def section_html(section: Section) -> Html:
    """The section as a fold whose summary is the question and its short answer."""
    figures = [figure for figure in section.figures if figure.panels]
    brief = element("span", section.brief, class_="brief") if section.brief else None
    return element(
        "section",
        element(
            "details",
            element("summary", element("h2", section.title), brief),
            [element("p", sentence, class_="note") for sentence in section.words],
            section.legend if figures else None,
            [_figure(figure, opened=place == 0) for place, figure in enumerate(figures)],
            section.notes,
            [to_html(table) for table in section.tables],
            [_fold(table.caption, to_html(table)) for table in section.folded],
        ),
        id=section.name,
        class_="fold",
        aria_label=section.title,
    )


def _figure(figure: Figure, *, opened: bool) -> Html | None:
    drawn = figure_of(figure.panels, figure.caption)
    return _fold(figure.title, drawn, opened=opened) if drawn and figure.title else drawn


def _fold(title: str, content: Html, *, opened: bool = False) -> Html:
    return element("details", element("summary", title), content, open=opened)


def section_markdown(section: Section) -> str:
    """The section as text; its charts are on the page only, its long tables are folded."""
    parts = [f"## {plain(section.title)}", plain(section.brief), *map(plain, section.words)]
    parts += [f"**{plain(table.caption)}**\n\n{to_markdown(table)}" for table in section.tables]
    parts += map(folded_markdown, section.folded)
    return "\n\n".join(part for part in parts if part)


def folded_markdown(table: Table) -> str:
    """A table in a fold that bears its caption."""
    return f"<details><summary>{plain(table.caption)}</summary>\n\n{to_markdown(table)}\n\n</details>"
