"""The report as GitHub-flavoured Markdown: the same words and tables as the page, without the charts."""

from __future__ import annotations

from loadtest.analysis.schema import Report
from loadtest.report.answer import answer_of, notes_of
from loadtest.report.first_screen import facts_of, kicker
from loadtest.report.rankings import caption_of, further, leading, tells_apart
from loadtest.report.section import folded_markdown, section_markdown
from loadtest.report.sections import sections_of
from loadtest.report.tables.choices import choices_table, overhead_range, overhead_table, ranking_table
from loadtest.report.text import METHOD, NO_DIFFERENCE
from loadtest.table import Table, plain, present, to_markdown


def render_markdown(report: Report) -> str:
    """The whole report as text; long tables are folded."""
    verdict, *rest = answer_of(report) or ["Nothing was measured."]
    parts = [f"# {plain(verdict)}", plain(" ".join(rest)), plain(f"{kicker(report)} · {' · '.join(facts_of(report))}")]
    parts.append("\n".join(f"> {plain(note)}  " for note in notes_of(report)))
    if ranking := leading(report):
        parts += [
            _titled(caption_of(report, ranking), ranking_table(report, ranking)),
            f"{NO_DIFFERENCE} {plain(report.family.statement)}" if tells_apart(ranking) else "",
        ]
    parts += [_titled("What to choose", table) for table in present((choices_table(report),))]
    parts += [folded_markdown(ranking_table(report, ranking)) for ranking in further(report)]
    if overheads := overhead_table(report):
        parts += [_titled("What does a server add to the model?", overheads), overhead_range(report)]
    parts += [section_markdown(section) for section in sections_of(report)]
    parts.append("## What do the words mean?\n\n" + "\n".join(f"- **{term}.** {meaning}" for term, meaning in METHOD))
    return "\n\n".join(part for part in parts if part) + "\n"


def _titled(title: str, table: Table) -> str:
    return f"## {plain(title)}\n\n{to_markdown(table)}"
