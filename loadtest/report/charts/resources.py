"""The rows of the charts about memory, start, open load and the rate that keeps a target."""

from __future__ import annotations

from collections.abc import Callable

from loadtest.analysis.facts import Rate
from loadtest.analysis.figures import EndpointReport
from loadtest.analysis.schema import Report
from loadtest.report.charts.rows import Mark, MarkRow
from loadtest.report.format import latency, significant, size
from loadtest.report.tables.points import is_ranked

RowMaker = Callable[[EndpointReport], MarkRow | None]


def _row(endpoint: EndpointReport, marks: tuple[Mark, ...], figure: str, *, ranked: bool = True) -> MarkRow:
    return MarkRow(endpoint.artifact, endpoint.protocol, endpoint.protocol, marks, figure, ranked)


def memory_row(endpoint: EndpointReport) -> MarkRow | None:
    """Steady memory (hollow) and peak memory of the server's processes, in MB."""
    peak, steady = endpoint.peak_rss_bytes, endpoint.steady_rss_bytes
    if not peak:
        return None
    marks = [Mark(peak / 1e6, f"{endpoint.name}\npeak {size(peak)}")]
    if steady:
        marks.insert(0, Mark(steady / 1e6, f"{endpoint.name}\nsteady {size(steady)}", hollow=True))
    return _row(endpoint, tuple(marks), size(peak))


def start_row(endpoint: EndpointReport) -> MarkRow | None:
    """Seconds from the start of the process to live and ready (hollow) and to the first right answer."""
    start = endpoint.cold_start
    if start is None or start.first_answer_s is None:
        return None
    first = start.first_answer_s.value
    steps = [
        Mark(seconds, f"{endpoint.name}\n{step} after {significant(seconds)} s", hollow=True)
        for step, seconds in (("live", start.live_s), ("ready", start.ready_s))
        if seconds
    ]
    last = Mark(first, f"{endpoint.name}\nfirst answer after {significant(first)} s")
    return _row(endpoint, (*steps, last), f"{significant(first)} s")


def gap_row(percentile: str) -> RowMaker:
    """A percentile under open load, counted from the actual send (hollow) and from the intended one."""

    def row(endpoint: EndpointReport) -> MarkRow | None:
        point = endpoint.point("open")
        if point is None or percentile not in point.from_send_ms or not (intended := latency(point, percentile)):
            return None
        sent = point.from_send_ms[percentile]
        marks = (
            Mark(sent, f"{endpoint.name}\n{percentile} from the actual send: {significant(sent)} ms", hollow=True),
            Mark(
                intended.value,
                f"{endpoint.name}\n{percentile} from the intended send: {significant(intended.value)} ms",
            ),
        )
        return _row(endpoint, marks, f"{significant(intended.value)} ms", ranked=is_ranked(point))

    return row


def slo_row(report: Report) -> RowMaker:
    """The highest rate that keeps the target: with default settings (hollow) and the best of the tuned ones."""
    rates = report.slo.rates if report.slo else ()

    def row(endpoint: EndpointReport) -> MarkRow | None:
        met = [rate for rate in rates if rate.name == endpoint.name and rate.rate_rps]
        if not met:
            return None
        best = max(met, key=_rps)
        marks = tuple(Mark(_rps(rate), _hover(rate), rate.settings == "default" and len(met) > 1) for rate in met)
        return _row(endpoint, marks, f"{significant(best.rate_rps)}/s", ranked=best.confirmed)

    return row


def _rps(rate: Rate) -> float:
    return rate.rate_rps or 0.0


def _hover(rate: Rate) -> str:
    return f"{rate.name}, {rate.settings}\n{significant(rate.rate_rps)}/s at p99 {significant(rate.p99_ms)} ms"
