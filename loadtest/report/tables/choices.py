"""The table "What to choose": for each wish the endpoints of the first tier; and the overhead of the servers."""

from __future__ import annotations

from loadtest.analysis.schema import Overhead, Ranking, Report
from loadtest.report.format import figure, interval, plural, significant
from loadtest.report.names import Names, capped_groups
from loadtest.report.rankings import EXACT, caption_of, first_tier, price, tells_apart
from loadtest.report.text import JUST_AS_GOOD, MEASURES, OVERHEAD, plain_reason
from loadtest.table import Cell, Column, Row, Table, row

CHOICES = (
    Column("If you want"),
    Column("Choose"),
    Column("Figure", True, "with its 95 % interval"),
    Column("Just as good", hint="the rest of the first tier"),
)


def choices_table(report: Report) -> Table | None:
    """One row for each wish that the comparison can answer, in the order of MEASURES."""
    rankings = {ranking.figure: ranking for ranking in report.rankings}
    rows = [_choice(report, rankings[key]) for key in MEASURES if key in rankings and rankings[key].ranked]
    return Table("choices", "The best for each wish", CHOICES, tuple(rows), note=JUST_AS_GOOD) if rows else None


def _choice(report: Report, ranking: Ranking) -> Row:
    names = Names(report.endpoints)
    first = first_tier(ranking)
    best = first[0]
    groups = names.grouped([row.endpoint for row in first])
    label = next(iter(groups))
    rest = {other: members for other, members in groups.items() if other != label}
    return row(
        Cell(MEASURES[ranking.figure].wish, detail=_condition(report, ranking)),
        label,
        Cell(figure(ranking.figure, best.figure.value), detail=interval(best.figure)),
        _just_as_good(ranking, rest),
    )


def _just_as_good(ranking: Ranking, rest: dict[str, list[str]]) -> str:
    if not tells_apart(ranking) and ranking.figure not in EXACT:
        return "not known"
    return capped_groups(rest, most=1) if rest else "none"


def _condition(report: Report, ranking: Ranking) -> str:
    rate = report.design.open_load
    conditions = {
        "throughput_rps": plural(report.design.users, "user"),
        "p50_ms": "one user, at the median",
        "p95_ms": f"open load, {significant(rate.rate_rps)}/s" if rate else "open load",
        "cpu_s_per_1000": "CPU seconds for 1,000 answers",
        "peak_rss_bytes": "peak of the server's processes",
        "first_answer_s": "process start to first right answer",
        "size_bytes": "the artifact's files",
        "cost_per_million": f"at {price(report)} per vCPU-hour",
    }
    return conditions[ranking.figure]


def overhead_table(report: Report) -> Table | None:
    """What each server adds to its artifact run in process, the least first."""
    names = Names(report.endpoints)
    columns = (
        Column("Endpoint"),
        Column("Times as long", True, "served p50 of a single user ÷ in-process p50"),
        Column("95 % interval", True),
        Column("Served p50, ms", True),
        Column("In process p50, ms", True),
    )
    ordered = sorted(report.overheads, key=lambda overhead: overhead.factor.value)
    most = max((overhead.factor.value for overhead in ordered), default=1.0)
    rows = tuple(_overhead(names, overhead, most) for overhead in ordered)
    return Table("overhead", "A single user, at the median", columns, rows, note=OVERHEAD) if rows else None


def overhead_range(report: Report) -> str:
    """The endpoints that add least and most."""
    names = Names(report.endpoints)
    ordered = sorted(report.overheads, key=lambda overhead: overhead.factor.value)
    ends = dict.fromkeys((ordered[0], ordered[-1]))
    times = " to ".join(f"{significant(end.factor.value, 2)} times ({names.short(end.endpoint)})" for end in ends)
    return f"A single user waits {times} as long as the model alone takes."


def _overhead(names: Names, overhead: Overhead, most: float) -> Row:
    factor = overhead.factor
    return row(
        names.short(overhead.endpoint),
        Cell(f"{significant(factor.value, 2)} ×", factor.value, bar=factor.value / most),
        Cell(interval(factor), factor.low),
        Cell(significant(overhead.served_p50_ms), overhead.served_p50_ms),
        Cell(significant(overhead.in_process_p50_ms), overhead.in_process_p50_ms),
        facets=names.facets(overhead.endpoint),
    )


def ranking_table(report: Report, ranking: Ranking) -> Table:
    """A ranking as plain rows, for Markdown; what it leaves out comes last, with the reason."""
    names = Names(report.endpoints)
    columns = (
        Column("Tier", True),
        Column("Endpoint"),
        Column(MEASURES[ranking.figure].column, True),
        Column("95 % interval", True),
        Column("Note"),
    )
    rows = [
        row(
            str(ranked.tier),
            names.short(ranked.endpoint),
            figure(ranking.figure, ranked.figure.value),
            interval(ranked.figure),
            _stand_in(report, ranked.endpoint),
        )
        for ranked in ranking.ranked
    ]
    rows += [
        row("–", names.short(left.endpoint), "", "", f"not ranked: {plain_reason(left.reason)}")
        for left in ranking.unranked
    ]
    return Table(f"ranking-{ranking.question}", caption_of(report, ranking), columns, tuple(rows), heads=2)


def _stand_in(report: Report, name: str) -> str:
    endpoint = report.endpoint(name)
    return f"{endpoint.engine}, stands in for {endpoint.stands_in_for}" if endpoint and endpoint.stands_in_for else ""
