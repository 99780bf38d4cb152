"""The first screen of the page: the answer, the picture of the tiers; then what to choose and what a server adds."""

from __future__ import annotations

from loadtest.analysis.schema import Report
from loadtest.report.answer import answer_of, notes_of
from loadtest.report.charts.tiers import tiers_picture
from loadtest.report.format import plural
from loadtest.report.html_table import to_html
from loadtest.report.markup import Html, element, join
from loadtest.report.rankings import caption_of, further, leading, tells_apart
from loadtest.report.tables.choices import choices_table, overhead_range, overhead_table
from loadtest.report.text import TIERS


def opening(report: Report) -> Html:
    """The answer and the picture of throughput: what fits on one screen."""
    verdict, *rest = answer_of(report) or ["Nothing was measured."]
    warnings = [element("p", note, class_="warning", role="note") for note in report.steadiness.notes]
    asides = [note for note in notes_of(report) if note not in report.steadiness.notes]
    return element(
        "header",
        element("p", kicker(report), class_="kicker"),
        element("h1", verdict),
        element("p", " ".join(rest), class_="answer") if rest else None,
        warnings,
        element("div", id="filters", role="group", aria_label="Filter every table by", hidden=True),
        _picture(report),
        element("p", report.family.statement, class_="aside") if any(map(tells_apart, report.rankings)) else None,
        [element("p", note, class_="aside") for note in asides],
        element("p", " · ".join(facts_of(report)), class_="aside"),
    )


def _picture(report: Report) -> Html | None:
    ranking = leading(report)
    if ranking is None:
        return None
    caption = f"{caption_of(report, ranking)}, best first. {TIERS if tells_apart(ranking) else ''}"
    return tiers_picture(report, ranking, caption.strip())


def choose(report: Report) -> Html | None:
    """What to choose, by wish, with every ranking behind it in a fold."""
    table = choices_table(report)
    if table is None:
        return None
    folds = [
        element(
            "details",
            element("summary", caption_of(report, ranking)),
            tiers_picture(report, ranking, f"{caption_of(report, ranking)}, best first."),
        )
        for ranking in further(report)
    ]
    every = element("p", "Every endpoint, by each of these:", class_="note") if folds else None
    return element("section", element("h2", "What to choose"), to_html(table), every, folds, id="choose")


def overhead(report: Report) -> Html | None:
    """What each server adds to the same artifact run in process."""
    table = overhead_table(report)
    if table is None:
        return None
    title = element("h2", "What does a server add to the model?")
    return element("section", title, element("p", overhead_range(report), class_="note"), to_html(table), id="overhead")


def kicker(report: Report) -> str:
    """How many endpoints on how many servers."""
    servers = len({endpoint.server for endpoint in report.endpoints})
    return f"{plural(len(report.endpoints), 'endpoint')} on {plural(servers, 'server')}"


def facts_of(report: Report) -> list[str]:
    """When, how and on what it was measured."""
    machine, design = report.environment.machine, report.design
    commit = (report.environment.git_commit or "")[:10]
    return [
        report.generated[:16].replace("T", " "),
        f"profile {design.profile}",
        f"{plural(design.starts, 'start')} of each server, {plural(design.blocks, 'block')}",
        f"{machine.cpu}, {plural(machine.cores, 'core')}",
        *([f"commit {commit}{' with changes' if report.environment.git_dirty else ''}"] if commit else []),
    ]


def after_the_answer(report: Report) -> Html:
    """The two sections that follow the first screen, unfolded."""
    return join([choose(report), overhead(report)])
