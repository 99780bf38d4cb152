"""Tables around the measurement: its design, the load generator, the settings of the servers, machine and versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loadtest.analysis.schema import Design, Report
from loadtest.report import text as words
from loadtest.report.format import count, percent, plural, significant, size
from loadtest.report.names import Names, listed
from loadtest.report.tables.points import count_cell, number_cell
from loadtest.table import Cell, Column, Table, row, without_empty

FACTS = (Column("What"), Column("Value"))


def design_table(report: Report) -> Table:
    """How the comparison was made, fact by fact."""
    design, steadiness = report.design, report.steadiness
    swing = f", fastest over slowest {significant(steadiness.swing, 2)}" if steadiness.swing else ""
    facts = {
        "profile": design.profile,
        "loads": ", ".join(design.scenarios),
        "starts of every server": count(design.starts),
        "blocks of an endpoint": f"{count(design.blocks)} of {significant(design.block_s, 2)} s or more, random order",
        "servers that were up together": "; ".join(listed(group) for group in design.groups),
        "open load": _open_load(design),
        "drift of the machine's speed": f"{percent(steadiness.drift, 0)}{swing}"
        if steadiness.drift is not None
        else "",
        "blocks in which an idle server took more than 1 % of a core": count(steadiness.marked_blocks),
        "seed": str(design.seed),
        "time it took": f"{significant(design.elapsed_s / 60, 2)} minutes" if design.elapsed_s else "",
        "confidence": report.family.statement,
    }
    return Table("design", "The design", FACTS, tuple(row(name, fact) for name, fact in facts.items() if fact))


def _open_load(design: Design) -> str:
    load = design.open_load
    if load is None:
        return ""
    rate = f"{significant(load.rate_rps)} requests/s to every endpoint"
    if load.chosen_by == "user":
        return f"{rate}, the rate that was asked for"
    capacity = f"{load.weakest}, the weakest ({significant(load.weakest_rps)}/s)"
    return f"{rate}: {percent(load.share, 0)} of the capacity of {capacity}"


def clients_table(report: Report) -> Table | None:
    """What the load generator can do against a server that does nothing."""
    columns = (
        Column("Protocol"),
        Column("Ceiling, requests/s", True),
        Column("Floor p50, ms", True),
        Column("Floor p99, ms", True),
        Column("Schedule lag p99, ms", True, "how late the load generator sends against its schedule"),
    )
    rows = tuple(
        row(
            client.protocol,
            *map(
                number_cell, (client.ceiling_rps, client.floor_p50_ms, client.floor_p99_ms, client.schedule_lag_p99_ms)
            ),
        )
        for client in report.clients
    )
    caption = "The load generator against a null server"
    return Table("clients", caption, columns, rows, note=words.CEILING) if rows else None


def in_process_table(report: Report) -> Table | None:
    """The artifacts without any server: the floor that serving adds to."""
    columns = (
        Column("Artifact"),
        Column("Batch size", True),
        Column("p50, ms", True),
        Column("Samples/s", True),
        Column("Runs", True),
    )
    rows = tuple(
        row(
            run.artifact,
            count_cell(run.batch_size),
            Cell(significant(run.latency_p50_ms), run.latency_p50_ms, _bounds(run.latency_low_ms, run.latency_high_ms)),
            number_cell(run.samples_per_s),
            count_cell(run.runs),
        )
        for run in report.in_process
    )
    return Table("in-process", "The artifacts run in process, without a server", columns, rows) if rows else None


def _bounds(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{significant(low)} to {significant(high)}"


def settings_table(report: Report) -> Table | None:
    """The settings that every server ran with."""
    names = Names(report.endpoints)
    keys = sorted({key for endpoint in report.endpoints for key in endpoint.settings or {}})
    if not keys:
        return None
    columns = (Column("Endpoint"), Column("Engine"), *(Column(key.replace("_", " "), True) for key in keys))
    rows = tuple(
        row(
            names.short(endpoint.name),
            endpoint.engine,
            *(count_cell((endpoint.settings or {}).get(key)) for key in keys),
            facets=names.facets(endpoint.name),
        )
        for endpoint in report.endpoints
    )
    return without_empty(Table("settings", "Settings of the servers", columns, rows))


def environment_table(report: Report) -> Table:
    """The machine, the versions and the command."""
    environment, machine = report.environment, report.environment.machine
    pinning = environment.pinning
    facts = {
        "command": report.command,
        "comparison": report.comparison,
        "generated": report.generated,
        "commit": f"{environment.git_commit or ''}{' with changes' if environment.git_dirty else ''}",
        "processor": f"{machine.cpu}, {plural(machine.cores, 'core')}",
        "memory": size(machine.memory_bytes),
        "kernel": machine.kernel,
        "Python": machine.python,
        "cores of the servers": _cpus(pinning.server_cpus),
        "cores of the load generator": _cpus(pinning.client_cpus),
        **dict(_flat("cluster", environment.cluster or {})),
        **environment.versions,
    }
    return Table(
        "environment", "Machine and versions", FACTS, tuple(row(name, fact) for name, fact in facts.items() if fact)
    )


def _cpus(cpus: tuple[int, ...] | None) -> str:
    return "not kept apart" if cpus is None else ", ".join(map(str, cpus))


def _flat(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What a cluster says of itself, key by key."""
    for key, value in values.items():
        name = f"{prefix} {key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(name, value)
        elif value is not None:
            yield name, str(value)
