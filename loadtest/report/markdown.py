"""The report as GitHub-flavoured Markdown: the same words and tables as the page, without the charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtest.report.modes import modes_tables
from loadtest.report.page import facts_of, title_of, trust_of
from loadtest.report.table import Table, plain, to_markdown
from loadtest.report.tables.endpoints import glance_table, points_table, present, slo_table, verdicts_table
from loadtest.report.tables.models import (
    artifacts_table,
    clients_table,
    conformance_summary,
    conformance_table,
    environment_table,
    epochs_table,
    in_process_table,
    settings_table,
    training_table,
)
from loadtest.report.tables.split import split_table
from loadtest.report.text import METHOD

Report = Mapping[str, Any]
FOLDED = ("points", "verdicts", "settings", "environment", "epochs")


def render_markdown(report: Report) -> str:
    """The whole report as text; long tables are folded."""
    parts = [f"# {title_of(report)}", plain(" · ".join(facts_of(report)))]
    told = [f"- **{_told(sentence)}**" for sentence in report.get("headline") or []]
    parts.append("\n".join([*told, *(f"- {plain(sentence)}" for sentence in trust_of(report))]))
    parts += [_section(table) for table in tables_of(report)]
    parts.append("## How to read this\n\n" + "\n".join(f"- **{term}.** {meaning}" for term, meaning in METHOD))
    return "\n\n".join(part for part in parts if part) + "\n"


def tables_of(report: Report) -> list[Table]:
    """Every table that there is data for, in reading order."""
    apis = dict.fromkeys(entry["api"] for entry in report.get("conformance") or [])
    return present(
        (
            glance_table(report) if report.get("endpoints") else None,
            split_table(report),
            slo_table(report),
            artifacts_table(report),
            training_table(report),
            epochs_table(report),
            *modes_tables(report),
            clients_table(report),
            in_process_table(report),
            conformance_summary(report),
            *(conformance_table(report, api) for api in apis),
            points_table(report),
            verdicts_table(report),
            settings_table(report),
            environment_table(report),
        )
    )


def _section(table: Table) -> str:
    if table.name in FOLDED or table.name.startswith("conformance-"):
        return f"<details><summary>{table.caption}</summary>\n\n{to_markdown(table)}\n\n</details>"
    return f"## {table.caption}\n\n{to_markdown(table)}"


def _told(sentence: str) -> str:
    """A sentence whose commands stay in backticks."""
    return plain(sentence).replace("\\`", "`")
