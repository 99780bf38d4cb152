"""Tables of what was measured: the endpoints at a glance, every point, the verdicts, the rate that keeps a target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from loadtest.report import text as words
from loadtest.report.format import count, interval, percentile, plural, significant, size
from loadtest.report.table import Cell, Column, Table, without_empty

Report = Mapping[str, Any]
Point = Mapping[str, Any]


def points(report: Report) -> Iterator[tuple[Mapping[str, Any], Point]]:
    """Every endpoint with every scenario that it was measured under."""
    for endpoint in report.get("endpoints") or []:
        for scenario in endpoint.get("scenarios") or []:
            yield endpoint, scenario


def is_ranked(point: Point) -> bool:
    """Whether the point may be compared: VALID, and limited by the server rather than by the client."""
    return point.get("validity", "VALID") == "VALID" and not point.get("client_limited")


def state(point: Point, *, brief: bool = False) -> Cell:
    """VALID, or what keeps the point out of the ranking, with the reasons in full or, in `brief`, in a word."""
    reasons = list(point.get("reasons") or [])
    if brief:
        reasons = [reason.partition(":")[0] for reason in reasons]
    valid, limited = point.get("validity", "VALID") == "VALID", bool(point.get("client_limited"))
    text = "client-limited" if limited else "VALID" if valid else str(point["validity"])
    told = "; ".join(dict.fromkeys(reason for reason in reasons if reason != text))
    return Cell(text, detail=told, mark="warn" if limited else "good" if valid else "bad")


def closed_point(endpoint: Mapping[str, Any]) -> Point | None:
    """The closed-loop scenario with the most users, or None where none was measured."""
    closed = [s for s in endpoint.get("scenarios") or [] if str(s.get("name", "")).startswith("closed")]
    return max(closed, key=lambda s: s.get("users") or 0, default=None)


def scenario_of(endpoint: Mapping[str, Any], name: str) -> Point | None:
    """The scenario called `name`, or None where it was not measured."""
    return next((s for s in endpoint.get("scenarios") or [] if s.get("name") == name), None)


def number_cell(value: float | None, detail: str = "", bar: float | None = None) -> Cell:
    """A figure with three significant digits."""
    return Cell(significant(value), value, detail, bar)


def percentile_cell(point: Point | None, name: str) -> Cell:
    """A latency percentile with its interval."""
    if point is None:
        return Cell("not run")
    value = (point.get("latency_ms") or {}).get(name)
    return Cell(percentile(point, name), value, interval((point.get("latency_ci_ms") or {}).get(name)))


GLANCE = (
    Column("Endpoint", hint="server / artifact / protocol"),
    Column("Engine", hint="how the server is provided"),
    Column("Answers/s", True, "throughput under the most users of the closed loop, with its interval"),
    Column("p99 there, ms", True, "99th percentile of the latency at that load"),
    Column("One user p50, ms", True, "median latency with one user"),
    Column("CPU s per 1,000", True, "CPU seconds of the server's processes for 1,000 requests at that load"),
    Column("Peak memory", True, "largest resident set of the server's process tree"),
    Column("To first answer, s", True, "from start of the process to the first right answer"),
    Column("Sent, B", True, "bytes of one request's body"),
    Column("Received, B", True, "bytes of one answer's body"),
    Column("State", hint="whether the point may be ranked"),
)


def glance_table(report: Report) -> Table:
    """One row an endpoint, the fastest first; what may not be ranked stands below."""
    endpoints = sorted(report.get("endpoints") or [], key=_throughput, reverse=True)
    fastest = max((_throughput(e) for e in endpoints), default=0) or 1
    rows: dict[bool, list[tuple[Cell, ...]]] = {True: [], False: []}
    for endpoint in endpoints:
        point = closed_point(endpoint)
        rows[point is not None and is_ranked(point)].append(_glance_row(endpoint, point, fastest))
    users = max(((closed_point(e) or {}).get("users") or 0 for e in endpoints), default=0)
    caption = f"All endpoints, {users} users in a closed loop" if users else "All endpoints"
    table = Table("glance", caption, GLANCE, tuple(rows[True]), tuple(rows[False]), words.GLANCE)
    return without_empty(table)


def _throughput(endpoint: Mapping[str, Any]) -> float:
    return (closed_point(endpoint) or {}).get("throughput_rps") or 0.0


def _glance_row(endpoint: Mapping[str, Any], point: Point | None, fastest: float) -> tuple[Cell, ...]:
    loaded = point or {}
    rate = loaded.get("throughput_rps")
    return (
        Cell(endpoint["name"]),
        Cell(endpoint.get("engine") or "not known"),
        number_cell(rate, interval(loaded.get("throughput_ci_rps")), None if rate is None else rate / fastest),
        percentile_cell(point, "p99"),
        percentile_cell(scenario_of(endpoint, "single_stream"), "p50"),
        number_cell(loaded.get("cpu_s_per_1000")),
        Cell(size(endpoint.get("peak_rss_bytes")), endpoint.get("peak_rss_bytes")),
        number_cell(endpoint.get("first_answer_s")),
        Cell(count(endpoint.get("request_bytes")), endpoint.get("request_bytes")),
        Cell(count(endpoint.get("response_bytes")), endpoint.get("response_bytes")),
        state(point, brief=True) if point else Cell("not run", mark="warn"),
    )


POINTS = (
    Column("Endpoint"),
    Column("Engine"),
    Column("Scenario"),
    Column("Users or rate", True),
    Column("Requests", True),
    Column("Failures", True),
    Column("Wrong", True, "answers that differ from the expected ones"),
    Column("Answers/s", True),
    Column("Goodput/s", True, "right answers inside the target per second"),
    *(Column(f"{name}, ms" if name != "max" else "Max, ms", True) for name in ("p50", "p90", "p95", "p99", "max")),
    Column("CPU s per 1,000", True),
    Column("Switches per 1,000", True, "context switches of the server's processes for 1,000 requests"),
    Column("State"),
)


def points_table(report: Report) -> Table:
    """Every endpoint under every scenario, with nothing left out."""
    rows: dict[bool, list[tuple[Cell, ...]]] = {True: [], False: []}
    for endpoint, point in points(report):
        rows[is_ranked(point)].append(_point_row(endpoint, point))
    return without_empty(Table("points", "Every point", POINTS, tuple(rows[True]), tuple(rows[False])))


def _point_row(endpoint: Mapping[str, Any], point: Point) -> tuple[Cell, ...]:
    rate = point.get("rate_rps")
    load = Cell(plural(point["users"], "user"), point["users"]) if point.get("users") else Cell("")
    target = point.get("target_ms")
    return (
        Cell(endpoint["name"]),
        Cell(endpoint.get("engine") or "not known"),
        Cell(point["name"], detail="stopped by a quota" if point.get("throttled_s") else ""),
        Cell(f"{significant(rate)}/s", rate) if rate else load,
        Cell(count(point.get("requests")), point.get("requests")),
        _zero_is_good(point.get("failures")),
        _zero_is_good(point.get("wrong_answers")),
        number_cell(point.get("throughput_rps"), interval(point.get("throughput_ci_rps"))),
        number_cell(point.get("goodput_rps"), f"target {target:g} ms" if target else ""),
        *(percentile_cell(point, name) for name in ("p50", "p90", "p95", "p99", "max")),
        number_cell(point.get("cpu_s_per_1000")),
        number_cell(point.get("context_switches_per_1000")),
        state(point),
    )


def _zero_is_good(value: int | None) -> Cell:
    return Cell(count(value), value, mark="bad" if value else "")


OUTCOMES = {
    "a_better": "the first is better",
    "b_better": "the second is better",
    "no_difference": "no difference seen",
    "not_comparable": "not comparable",
}


def verdicts_table(report: Report) -> Table | None:
    """Every comparison of two endpoints, with the interval of their ratio."""
    verdicts = report.get("verdicts") or []
    if not verdicts:
        return None
    engines = {endpoint["name"]: endpoint.get("engine", "") for endpoint in report.get("endpoints") or []}
    columns = (
        Column("Scenario"),
        Column("Metric"),
        Column("Verdict"),
        Column("First"),
        Column("Second"),
        Column("Ratio", True, "interval of first ÷ second, corrected for the number of comparisons"),
        Column("Outcome"),
    )
    rows = tuple(_verdict_row(verdict, engines) for verdict in verdicts)
    return Table("verdicts", "Every pair of endpoints", columns, rows, heads=2)


def _verdict_row(verdict: Mapping[str, Any], engines: Mapping[str, str]) -> tuple[Cell, ...]:
    bounds = (verdict.get("ratio_low"), verdict.get("ratio_high"))
    outcome = str(verdict.get("outcome"))
    return (
        Cell(str(verdict.get("scenario"))),
        Cell(str(verdict.get("metric"))),
        Cell(str(verdict.get("text") or "")),
        *(Cell(str(verdict.get(key)), detail=engines.get(str(verdict.get(key)), "")) for key in ("a", "b")),
        Cell(interval(bounds) or "n/a", bounds[0]),
        Cell(OUTCOMES.get(outcome, outcome)),
    )


def slo_table(report: Report) -> Table | None:
    """The highest rate at which the 99th percentile stays under the target, per endpoint and settings."""
    slo = report.get("slo")
    if not slo or not slo.get("endpoints"):
        return None
    engines = {endpoint["name"]: endpoint.get("engine", "") for endpoint in report.get("endpoints") or []}
    columns = (
        Column("Endpoint"),
        Column("Engine"),
        Column("Settings"),
        Column("Highest rate/s", True),
        Column("Goodput/s", True),
        Column("p99, ms", True),
        Column("CPU share", True),
        Column("Memory", True),
        Column("State"),
    )
    found = sorted(slo["endpoints"], key=lambda e: e.get("rate_rps") or 0, reverse=True)
    rows: dict[bool, list[tuple[Cell, ...]]] = {True: [], False: []}
    for entry in found:
        rows[bool(entry.get("confirmed"))].append(_slo_row(entry, engines))
    caption = f"Highest open-loop rate with p99 under {slo.get('target_ms'):g} ms"
    return Table(
        "slo", caption, columns, tuple(rows[True]), tuple(rows[False]), unranked_title="Not confirmed by a second run"
    )


def _slo_row(entry: Mapping[str, Any], engines: Mapping[str, str]) -> tuple[Cell, ...]:
    share, rate = entry.get("cpu_share"), entry.get("rate_rps")
    # where the client reached its limit first, the server can do more
    text = f"≥ {significant(rate)}" if rate and entry.get("client_limited") else significant(rate)
    return (
        Cell(entry["name"], detail=entry.get("reason") or ""),
        Cell(entry.get("engine") or engines.get(entry["name"]) or "not known"),
        Cell(_settings(entry.get("settings")), detail=_changed(entry.get("setting"))),
        Cell(text, rate),
        number_cell(entry.get("goodput_rps")),
        number_cell(entry.get("p99_ms")),
        Cell("n/a" if share is None else f"{100 * share:.0f} %", share),
        Cell(size(entry.get("rss_bytes")), entry.get("rss_bytes")),
        _slo_state(entry),
    )


def _slo_state(entry: Mapping[str, Any]) -> Cell:
    if entry.get("client_limited"):
        return Cell("client-limited", mark="warn")
    return Cell("confirmed", mark="good") if entry.get("confirmed") else Cell("not confirmed", mark="warn")


def _changed(setting: Any) -> str:
    return "" if setting in (None, "defaults") else str(setting).replace("_", " ")


def _settings(settings: Any) -> str:
    if isinstance(settings, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in sorted(settings.items()))
    return str(settings or "default")


def present(tables: Iterable[Table | None]) -> list[Table]:
    """The tables that there is data for."""
    return [table for table in tables if table is not None and (table.rows or table.unranked)]
