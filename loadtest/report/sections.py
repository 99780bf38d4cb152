"""The sections below the answer, in the order in which a doubter asks; one whose data is absent is left out."""

from __future__ import annotations

from loadtest.analysis.schema import Report
from loadtest.report import text as words
from loadtest.report.answer import counts
from loadtest.report.charts.panels import Styler, legend, shown_percentile, styler_of, undrawn
from loadtest.report.charts.quantiles import quantile_panels
from loadtest.report.charts.resources import gap_row, memory_row, slo_row, start_row
from loadtest.report.charts.rows import Chart, row_panels
from loadtest.report.charts.throughput import closed_points, throughput_panels
from loadtest.report.charts.training import modes_panel
from loadtest.report.format import count, percent, plural, significant
from loadtest.report.names import Names, capped
from loadtest.report.section import Figure, Section
from loadtest.report.tables.conformance import conformance_summary, conformance_tables
from loadtest.report.tables.design import (
    clients_table,
    design_table,
    environment_table,
    in_process_table,
    settings_table,
)
from loadtest.report.tables.points import answers_table, points_table, questions_table, split_table
from loadtest.report.tables.resources import artifacts_table, resources_table, slo_table, start_table
from loadtest.report.tables.training import epochs_table, modes_tables, modes_words, training_table
from loadtest.table import Table, present


def sections_of(report: Report) -> list[Section]:
    """All sections that there is data for."""
    styler = styler_of(report)
    sections = (
        _method(report),
        _answers(report),
        _confidence(report),
        _distributions(report, styler),
        _throughput(report, styler),
        _open_load(report, styler),
        _slo(report, styler),
        _resources(report, styler),
        _start(report, styler),
        _of_tables(
            "parity", "Do the artifacts answer as the model does, and how large are they?", artifacts_table(report)
        ),
        _of_tables("settings", "How were the servers set?", settings_table(report)),
        _conformance(report),
        _of_tables("in-process", "How fast is the model without a server?", in_process_table(report)),
        _training(report),
        _modes(report),
        _of_tables("environment", "Which machine, which versions?", environment_table(report)),
        _of_tables("raw", "What are all the figures?", points_table(report)),
    )
    return [section for section in sections if section]


def _of_tables(name: str, title: str, *tables: Table | None) -> Section:
    return Section(name, title, tables=present(tables))


def _method(report: Report) -> Section:
    design = report.design
    blocks, starts = plural(design.blocks, "short block"), plural(design.starts, "start")
    brief = f"{blocks} per endpoint in random order, {starts} of each server, every answer checked."
    tables = present((design_table(report), clients_table(report)))
    return Section("method", "How was it measured?", brief, tables=tables)


def _answers(report: Report) -> Section:
    requests, failures, wrong = counts(report)
    good = "Yes" if not failures and not wrong else "No"
    brief = f"{good}: {plural(requests, 'request')}, {plural(failures, 'failure')}, {count(wrong)} wrong."
    return Section(
        "answers", "Was every answer right, and was the work equal?", brief, tables=present((answers_table(report),))
    )


def _confidence(report: Report) -> Section:
    sure = percent(1 - report.family.error_rate, 0)
    brief = f"{plural(report.family.comparisons, 'comparison')}, all true together with {sure} confidence."
    steadiness = report.steadiness
    drift = () if steadiness.drift is None else (f"The machine's own speed drifted by {percent(steadiness.drift, 0)}.",)
    return Section(
        "confidence", "How sure is it?", brief, (*drift, *steadiness.notes), tables=present((questions_table(report),))
    )


def _distributions(report: Report, styler: Styler) -> Section:
    names = dict.fromkeys(
        point.name for endpoint in report.endpoints for point in endpoint.points if point.quantiles_ms
    )
    figures = tuple(Figure(quantile_panels(report, styler, name), "", load_word(report, name)) for name in names)
    tables = present((split_table(report),))
    title = "How slow are the slow answers?"
    return Section(
        "distribution", title, words=(words.QUANTILES,), legend=legend(report, styler), figures=figures, tables=tables
    )


def load_word(report: Report, scenario: str) -> str:
    """A scenario as a reader calls it: `32 users`, `open load, 300/s`."""
    points = (endpoint.point(scenario) for endpoint in report.endpoints)
    point = next(point for point in points if point)
    if point.kind == "closed":
        return plural(point.users, "user")
    rate = f", {significant(point.rate_rps)}/s" if point.rate_rps else ""
    return f"{scenario.replace('_', ' ')} load{rate}"


def _throughput(report: Report, styler: Styler) -> Section:
    name = shown_percentile(report, "closed")
    figure = Figure(throughput_panels(report, styler), words.THROUGHPUT.format(percentile=name))
    lacking = undrawn(closed_points(report), name)
    title = "What do more users bring, and what do they cost in latency?"
    notes = (lacking,) if lacking else ()
    return Section("throughput", title, legend=legend(report, styler), figures=(figure,), notes=notes)


def _open_load(report: Report, styler: Styler) -> Section:
    name = shown_percentile(report, "open")
    chart = Chart(f"{name} latency, ms", gap_row(name), log=True)
    figure = Figure(row_panels(report, styler, chart), words.GAP.format(percentile=name))
    return Section("open", "What does a waiting client not see?", legend=legend(report, styler), figures=(figure,))


def _slo(report: Report, styler: Styler) -> Section:
    if report.slo is None:
        return Section("slo", "")
    figure = Figure(row_panels(report, styler, Chart("requests per second", slo_row(report))), words.SLO)
    title = f"How much load keeps p99 under {report.slo.target_ms:g} ms?"
    return Section(
        "slo",
        title,
        _slo_brief(report),
        legend=legend(report, styler),
        figures=(figure,),
        tables=present((slo_table(report),)),
    )


def _slo_brief(report: Report) -> str:
    return " ".join(sentence for sentence in (_replicas(report), _unmet(report)) if sentence)


def _replicas(report: Report) -> str:
    """What carries the rate that was asked for at the least cost; without a price, with the fewest replicas."""
    slo, names = report.slo, Names(report.endpoints)
    able = [rate for rate in slo.rates if rate.confirmed and rate.replicas and names.knows(rate.name)] if slo else []
    if slo is None or slo.asked_rps is None or not able:
        return ""
    best = min(able, key=lambda rate: (rate.cost_per_million or 0, rate.replicas or 0, -(rate.rate_rps or 0)))
    needed = f"{plural(best.replicas or 0, 'replica')} of {names.short(best.name)}"
    return f"{significant(slo.asked_rps)} requests/s need {needed}, {best.settings} settings."


def _unmet(report: Report) -> str:
    """The endpoints that no settings let meet the target: the chart has no row for them."""
    rates = report.slo.rates if report.slo else ()
    met = {rate.name for rate in rates if rate.rate_rps}
    names = Names(report.endpoints)
    missed = [name for name in dict.fromkeys(rate.name for rate in rates) if name not in met]
    shown = capped([names.short(name) if names.knows(name) else name for name in missed])
    return f"Met at no rate by {shown}." if missed else ""


def _resources(report: Report, styler: Styler) -> Section:
    figure = Figure(row_panels(report, styler, Chart("memory, MB", memory_row)), words.MEMORY)
    tables = present((resources_table(report),))
    title = "What does an endpoint cost to run?"
    return Section("resources", title, legend=legend(report, styler), figures=(figure,), tables=tables)


def _start(report: Report, styler: Styler) -> Section:
    figure = Figure(row_panels(report, styler, Chart("seconds from start", start_row)), words.START)
    tables = present((start_table(report),))
    return Section(
        "start", "How long until the first answer?", legend=legend(report, styler), figures=(figure,), tables=tables
    )


def _conformance(report: Report) -> Section:
    failed = sum(case.outcome == "fail" and case.level == "MUST" for e in report.conformance for case in e.cases)
    brief = "Every MUST holds." if not failed else f"{plural(failed, 'MUST')} not met."
    folded = tuple(conformance_tables(report))
    return Section(
        "conformance",
        "Do the endpoints keep to their protocols?",
        brief,
        tables=present((conformance_summary(report),)),
        folded=folded,
    )


def _training(report: Report) -> Section:
    tables, folded = present((training_table(report),)), present((epochs_table(report),))
    return Section("training", "How was the model trained?", tables=tables, folded=folded)


def _modes(report: Report) -> Section:
    modes = report.training_modes
    if modes is None:
        return Section("modes", "")
    panel = modes_panel(modes)
    figures = (Figure((panel,), f"Mean of {significant(modes.rounds, 1)} rounds in random order."),) if panel else ()
    title = "Which way of training is fastest?"
    return Section("modes", title, words=tuple(modes_words(modes)), figures=figures, tables=tuple(modes_tables(modes)))
