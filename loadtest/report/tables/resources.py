"""Tables of what an endpoint costs: memory, processor time, start, sizes, and the rate that keeps a target."""

from __future__ import annotations

from loadtest.analysis.facts import Artifact, Rate, Rates
from loadtest.analysis.figures import EndpointReport, Point
from loadtest.analysis.schema import Report
from loadtest.report.format import count, figure, percent, significant, size
from loadtest.report.names import Names
from loadtest.report.tables.points import count_cell, estimate_cell, is_ranked, number_cell
from loadtest.table import Cell, Column, Row, Table, row, without_empty


def busiest(endpoint: EndpointReport) -> Point | None:
    """The closed load with the most users, None where none was measured."""
    closed = [point for point in endpoint.points if point.kind == "closed"]
    return max(closed, key=lambda point: point.users, default=None)


def resources_table(report: Report) -> Table | None:
    """Memory, processor time and threads of every endpoint."""
    names = Names(report.endpoints)
    columns = (
        Column("Endpoint"),
        Column("Peak memory", True, "largest resident set of the server's process tree"),
        Column("Steady memory", True, "after the load"),
        Column("CPU s per 1,000", True, "processor seconds for 1,000 answers under the most users"),
        Column("Threads", True),
    )
    rows = tuple(
        row(
            names.short(endpoint.name),
            _size(endpoint.peak_rss_bytes),
            _size(endpoint.steady_rss_bytes),
            estimate_cell(point.cpu_s_per_1000 if (point := busiest(endpoint)) else None),
            count_cell(endpoint.threads),
            facets=names.facets(endpoint.name),
        )
        for endpoint in report.endpoints
    )
    table = without_empty(Table("resources", "Memory and processor", columns, rows))
    return table if len(table.columns) > 1 else None


def start_table(report: Report) -> Table | None:
    """How long each server takes from its start to the first right answer."""
    names = Names(report.endpoints)
    columns = (
        Column("Endpoint"),
        Column("Live, s", True, "from the start of the process"),
        Column("Ready, s", True),
        Column("First right answer, s", True),
    )
    rows = tuple(
        row(
            names.short(endpoint.name),
            number_cell(start.live_s),
            number_cell(start.ready_s),
            estimate_cell(start.first_answer_s),
            facets=names.facets(endpoint.name),
        )
        for endpoint in report.endpoints
        if (start := endpoint.cold_start)
    )
    return Table("start", "The start of a server, alone on the machine", columns, rows) if rows else None


def artifacts_table(report: Report) -> Table | None:
    """Parity, accuracy and size of every artifact; what could not be exported stands below with the reason."""
    columns = (
        Column("Artifact"),
        Column("Size", True),
        Column("Test accuracy", True),
        Column("Largest difference", True, "largest absolute difference of an output from the model's own"),
        Column("Same label", True),
        Column("Samples", True, "on which this was checked"),
        Column("Batch sizes"),
        Column("In process p50, ms", True, "one sample, without a server"),
        Column("Answers/s", True, "of its fastest endpoint, under the most users"),
        Column("sha256"),
    )
    rows = tuple(_artifact(report, artifact) for artifact in report.artifacts)
    empty = [Cell("")] * (len(columns) - 1)
    missing = tuple(row(Cell(entry.name, detail=entry.reason), *empty) for entry in report.not_exported)
    caption = "Artifacts against the models they were made from"
    table = Table("artifacts", caption, columns, rows, missing, unranked_title="Not exported")
    return without_empty(table) if rows else None


def _artifact(report: Report, artifact: Artifact) -> Row:
    files, difference = artifact.files_sha256, artifact.max_abs_diff
    digest = next(iter(files.values()))[:12] if len(files) == 1 else f"of {len(files)} files in its manifest"
    return row(
        artifact.name,
        _size(artifact.size_bytes),
        Cell(percent(artifact.test_accuracy), artifact.test_accuracy),
        Cell(f"{difference:.1e}" if difference else significant(difference), difference),
        Cell(percent(artifact.label_agreement), artifact.label_agreement),
        count_cell(artifact.samples),
        ", ".join(map(str, artifact.batch_sizes)),
        number_cell(_in_process_ms(report, artifact.name)),
        number_cell(_most_answers(report, artifact.name)),
        digest if files else "",
    )


def _in_process_ms(report: Report, artifact: str) -> float | None:
    runs = (run for run in report.in_process if run.artifact == artifact and run.batch_size == 1)
    return next((run.latency_p50_ms for run in runs), None)


def _most_answers(report: Report, artifact: str) -> float | None:
    points = [busiest(endpoint) for endpoint in report.endpoints if endpoint.artifact == artifact]
    rates = [point.throughput_rps.value for point in points if point and is_ranked(point) and point.throughput_rps]
    return max(rates, default=None)


def slo_table(report: Report) -> Table | None:
    """The highest rate at which the 99th percentile stays under the target, per endpoint and settings."""
    slo = report.slo
    if slo is None or not slo.rates:
        return None
    columns = (
        Column("Endpoint"),
        Column("Settings"),
        Column("Highest rate/s", True),
        Column("Goodput/s", True),
        Column("p99, ms", True),
        Column("CPU share", True),
        Column("Memory", True),
        Column(f"Replicas for {significant(slo.asked_rps)}/s", True, _headroom(slo)),
        Column("Cost of a million", True, f"at {significant(slo.price_per_vcpu_hour)} per vCPU-hour"),
        Column("State"),
    )
    ordered = sorted(slo.rates, key=lambda rate: rate.rate_rps or 0, reverse=True)
    names = Names(report.endpoints)
    confirmed = tuple(_rate(names, rate) for rate in ordered if rate.confirmed)
    others = tuple(_rate(names, rate) for rate in ordered if not rate.confirmed)
    caption = f"Highest open-loop rate with p99 under {slo.target_ms:g} ms"
    title = "Not confirmed by a second run, or met at no rate"
    return without_empty(Table("slo", caption, columns, confirmed, others, unranked_title=title, heads=2))


def _headroom(slo: Rates) -> str:
    return f"with {percent(slo.headroom, 0)} of each replica's rate left free" if slo.headroom else ""


def _rate(names: Names, rate: Rate) -> Row:
    # where the load generator reached its limit first, the server can do more
    bound = "≥ " if rate.rate_rps and rate.client_limited else ""
    mark, text = ("good", "confirmed") if rate.confirmed else ("warn", "not confirmed")
    return row(
        names.short(rate.name) if names.knows(rate.name) else rate.name,
        Cell(rate.settings, detail="" if rate.settings == "default" else rate.setting.replace("_", " ")),
        Cell(f"{bound}{significant(rate.rate_rps)}", rate.rate_rps, rate.reason),
        number_cell(rate.goodput_rps),
        number_cell(rate.p99_ms),
        Cell(percent(rate.cpu_share, 0), rate.cpu_share),
        _size(rate.rss_bytes),
        Cell(count(rate.replicas), rate.replicas),
        Cell(figure("cost_per_million", rate.cost_per_million), rate.cost_per_million),
        Cell("client-limited", mark="warn") if rate.client_limited else Cell(text, mark=mark),
        facets=names.facets(rate.name) if names.knows(rate.name) else None,
    )


def _size(value: int | None) -> Cell:
    return Cell(size(value), value)
