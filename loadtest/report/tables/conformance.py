"""Tables of conformance: a score for each endpoint, and every case of every API."""

from __future__ import annotations

from loadtest.analysis.facts import Case, Conformance
from loadtest.analysis.schema import Report
from loadtest.report.names import Names
from loadtest.report.tables.points import count_cell
from loadtest.table import Cell, Column, Row, Table, row


def conformance_summary(report: Report) -> Table | None:
    """How many cases of each level every endpoint passes."""
    columns = (
        Column("Endpoint"),
        Column("Engine"),
        Column("API"),
        Column("MUST", True, "cases that the specification demands: passed of tried"),
        Column("SHOULD", True, "cases that the specification calls typical, or its reference server shows"),
        Column("Observed", True, "cases that the specification leaves open"),
    )
    names = Names(report.endpoints)
    rows = tuple(
        row(
            names.short(entry.endpoint) if names.knows(entry.endpoint) else entry.endpoint,
            entry.engine or "not known",
            entry.api,
            *(_score(entry, level) for level in ("MUST", "SHOULD")),
            count_cell(sum(case.outcome == "observed" for case in entry.cases)),
            facets=names.facets(entry.endpoint) if names.knows(entry.endpoint) else None,
        )
        for entry in report.conformance
    )
    return Table("conformance", "Conformance at a glance", columns, rows) if rows else None


def _score(entry: Conformance, level: str) -> Cell:
    outcomes = [case.outcome for case in entry.cases if case.level == level and case.outcome in ("pass", "fail")]
    if not outcomes:
        return Cell("none applies")
    passed = outcomes.count("pass")
    good = passed == len(outcomes)
    return Cell(f"{passed} of {len(outcomes)}", passed / len(outcomes), mark="good" if good else "bad")


def conformance_tables(report: Report) -> list[Table]:
    """A table for each API: its cases as rows, the endpoints that speak it as columns."""
    return [_conformance(report, api) for api in dict.fromkeys(entry.api for entry in report.conformance)]


def _conformance(report: Report, api: str) -> Table:
    names = Names(report.endpoints)
    entries = [entry for entry in report.conformance if entry.api == api]
    cases = {case.name: case for entry in entries for case in entry.cases}
    outcomes = [{case.name: case for case in entry.cases} for entry in entries]
    rows = tuple(_case(case, [passed.get(name) for passed in outcomes]) for name, case in cases.items())
    heads = (names.short(e.endpoint) if names.knows(e.endpoint) else e.endpoint for e in entries)
    columns = (Column("Case"), Column("Level"), *map(Column, heads))
    return Table(f"conformance-{api}", f"Every case of {api}", columns, rows)


def _case(case: Case, outcomes: list[Case | None]) -> Row:
    return row(Cell(case.name, detail=case.source), case.level, *map(_outcome, outcomes))


def _outcome(case: Case | None) -> Cell:
    if case is None:
        return Cell("not run")
    text = {"pass": "✓ pass", "fail": "✗ fail"}
    mark = {"pass": "good", "fail": "bad"}
    known = case.outcome in text
    return Cell(
        text[case.outcome] if known else case.outcome,
        detail="" if case.outcome == "pass" else case.observed,
        mark=mark[case.outcome] if known else "",
    )
