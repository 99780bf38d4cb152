"""Tables of what was measured: every point, every named comparison, the bytes and the answers of each endpoint."""

from __future__ import annotations

from loadtest.analysis.figures import EndpointReport, Estimate, Point
from loadtest.analysis.schema import Question, Report, all_points
from loadtest.report.format import count, interval, latency, percentile, plural, significant
from loadtest.report.names import Names
from loadtest.report.text import EQUAL_WORK, SPLIT, plain_reason
from loadtest.table import Cell, Column, Facets, Row, Table, row, without_empty

PERCENTILES = ("p50", "p90", "p95", "p99")


def is_ranked(point: Point) -> bool:
    """Whether the point may be compared: VALID, and limited by the server rather than by the load generator."""
    return point.validity == "VALID" and not point.client_limited


def estimate_cell(estimate: Estimate | None) -> Cell:
    """A figure with its interval in a second line."""
    if estimate is None:
        return Cell("n/a")
    return Cell(significant(estimate.value), estimate.value, interval(estimate))


def number_cell(value: float | None) -> Cell:
    """A figure with three significant digits."""
    return Cell(significant(value), value)


def count_cell(value: int | None, *, zero_is_good: bool = False) -> Cell:
    """A whole number; where zero is good, any other is marked bad."""
    return Cell(count(value), value, mark="bad" if zero_is_good and value else "")


def state(point: Point) -> Cell:
    """`ranked`, or what keeps the point out of the ranking and what that means."""
    if is_ranked(point):
        return Cell("ranked", mark="good")
    meanings = dict.fromkeys(plain_reason(reason) for reason in point.reasons)
    detail = "; ".join(dict.fromkeys((*meanings, *point.reasons)))
    return Cell("client-limited" if point.client_limited else "INVALID", detail=detail, mark="warn")


def answers_table(report: Report) -> Table | None:
    """The requests, failures, wrong answers and bytes of each endpoint."""
    names = Names(report.endpoints)
    columns = (
        Column("Endpoint"),
        Column("Engine", hint="how the server is provided"),
        Column("Requests", True, "under all loads together"),
        Column("Failures", True),
        Column("Wrong answers", True, "answers that differ from the expected ones"),
        Column("Request, B", True, "the body of one request"),
        Column("Request on the wire, B", True, "with its headers"),
        Column("Answer, B", True, "the body of one answer"),
        Column("Samples sha256"),
    )
    rows = tuple(_answers(names, endpoint) for endpoint in report.endpoints if endpoint.points)
    table = Table("answers", "Requests and answers, endpoint by endpoint", columns, rows, note=EQUAL_WORK)
    return without_empty(table) if rows else None


def _answers(names: Names, endpoint: EndpointReport) -> Row:
    return row(
        Cell(
            names.short(endpoint.name), detail="; ".join(text for p in endpoint.points for text in p.explanations[:1])
        ),
        endpoint.engine,
        count_cell(sum(point.requests for point in endpoint.points)),
        count_cell(sum(point.failures for point in endpoint.points), zero_is_good=True),
        count_cell(sum(point.wrong_answers for point in endpoint.points), zero_is_good=True),
        count_cell(endpoint.request_bytes),
        count_cell(endpoint.request_wire_bytes),
        count_cell(endpoint.response_bytes),
        endpoint.samples_sha256[:12],
        facets=names.facets(endpoint.name),
    )


POINTS = (
    Column("Endpoint"),
    Column("Load"),
    Column("Users or rate", True),
    Column("Requests", True),
    Column("Blocks", True, "pieces in which it was measured, over all starts"),
    Column("Answers/s", True),
    Column("Goodput/s", True, "right answers inside the target per second"),
    *(Column(f"{name}, ms", True) for name in PERCENTILES),
    Column("Max, ms", True),
    Column("CPU s per 1,000", True, "processor seconds of the server's processes for 1,000 answers"),
    Column("Switches per 1,000", True, "context switches of the server's processes for 1,000 answers"),
    Column("State"),
)


def points_table(report: Report) -> Table | None:
    """Every endpoint under every load, with nothing left out."""
    names = Names(report.endpoints)
    points = all_points(report.endpoints)
    ranked = tuple(_point(names, endpoint, point) for endpoint, point in points if is_ranked(point))
    unranked = tuple(_point(names, endpoint, point) for endpoint, point in points if not is_ranked(point))
    caption = f"Every endpoint under every load; goodput counts answers within {report.design.target_ms:g} ms"
    return without_empty(Table("points", caption, POINTS, ranked, unranked, heads=2)) if points else None


def _point(names: Names, endpoint: EndpointReport, point: Point) -> Row:
    load = Cell(f"{significant(point.rate_rps)}/s", point.rate_rps) if point.rate_rps else _users(point)
    return row(
        names.short(endpoint.name),
        Cell(point.name, detail="slowed down by a processor quota" if point.throttled_s else ""),
        load,
        count_cell(point.requests),
        count_cell(point.blocks),
        estimate_cell(point.throughput_rps),
        estimate_cell(point.goodput_rps),
        *(_percentile(point, name) for name in PERCENTILES),
        number_cell(point.max_ms),
        estimate_cell(point.cpu_s_per_1000),
        number_cell(point.context_switches_per_1000),
        state(point),
        facets=names.facets(endpoint.name),
    )


def _users(point: Point) -> Cell:
    return Cell(plural(point.users, "user"), point.users)


def _percentile(point: Point, name: str) -> Cell:
    estimate = latency(point, name)
    return Cell(percentile(point, name), estimate.value if estimate else None, interval(estimate))


def questions_table(report: Report) -> Table | None:
    """The named comparisons: two endpoints that differ in one thing only."""
    columns = (
        Column("What differs"),
        Column("First"),
        Column("Second"),
        Column("Everything else"),
        Column("Measure"),
        Column("First ÷ second", True, "with the interval that holds together with all others of the report"),
        Column("Outcome"),
    )
    names = Names(report.endpoints)
    rows = tuple(_question(report, names, question) for question in report.questions)
    caption = "Pairs of endpoints that differ in one thing only"
    return Table("questions", caption, columns, rows, note=report.family.statement) if rows else None


QUESTIONS = {"throughput": "answers/s", "latency_alone": "median, one user", "latency_open": "p95, open load"}


def _question(report: Report, names: Names, question: Question) -> Row:
    better = {"a_better": question.a_value, "b_better": question.b_value, "no_difference": ""}[question.outcome]
    return row(
        question.about,
        question.a_value,
        question.b_value,
        _rest(report, question),
        QUESTIONS[question.question],
        estimate_cell(question.ratio),
        Cell(f"{better} is better" if better else "no difference seen", mark="good" if better else ""),
        facets=_shared_facets(names.facets(question.a), names.facets(question.b)),
    )


def _shared_facets(first: Facets, second: Facets) -> Facets:
    """What both endpoints can be filtered by."""
    shared = {key: value for key, value in vars(first).items() if vars(second)[key] == value}
    return Facets(**shared)


def _rest(report: Report, question: Question) -> str:
    """What the two endpoints have in common."""
    endpoint = report.endpoint(question.a)
    if endpoint is None:
        return question.a
    parts = {"server": endpoint.server, "artifact": endpoint.artifact, "protocol": endpoint.protocol}
    if question.about in ("framework", "format"):
        kept = endpoint.format if question.about == "framework" else endpoint.framework
        parts["artifact"] = kept
    elif question.about in parts:
        del parts[question.about]
    return " ".join(part for part in parts.values() if part)


def split_table(report: Report) -> Table | None:
    """Where the time of a request goes, for each endpoint whose server tells queue and compute."""
    columns = (
        Column("Endpoint"),
        Column("Users", True),
        Column("Latency, ms", True, "of the requests that asked for the split"),
        Column("Queue, ms", True, "from the server's queue to the start of the run"),
        Column("Compute, ms", True, "the run of the model that the request shared"),
        Column("Rest, ms", True, "HTTP or gRPC, decoding and encoding, the way there and back, the client"),
        Column("Rows of the run", True),
    )
    names = Names(report.endpoints)
    rows = tuple(
        row(
            names.short(endpoint.name),
            count_cell(split.users),
            *map(number_cell, (split.latency_ms, split.queue_ms, split.compute_ms, split.rest_ms, split.batch_rows)),
            facets=names.facets(endpoint.name),
        )
        for endpoint, point in all_points(report.endpoints)
        if (split := point.split)
    )
    return Table("split", "Where the time of a request goes", columns, rows, note=SPLIT) if rows else None
