"""The servers' benchmark as Markdown: the rows, the thresholds, and the conditions. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from loadtest.bench.measure import CHANGING, CONSTANT
from loadtest.table import Cell, of_lines, to_markdown

CONNECTIONS = (1, 8, 32)


def tables(result: Mapping[str, Any]) -> str:
    """All of it."""
    parts = [rows_table(result["systems"]), thresholds_table(result["thresholds"])]
    parts.append(in_process_table(result["in_process"]))
    parts += [f"Not measured: {name} ({reason.splitlines()[0]})" for name, reason in result["missing"].items()]
    return "\n\n".join([*parts, conditions(result)])


def page(result: Mapping[str, Any]) -> str:
    """The page beside the result."""
    head = "# Our own servers, others, and the least code that can do it"
    origin = "Made by `make bench-servers` from the rows in [servers.json](servers.json); every ratio is of one run."
    return f"{head}\n\n{origin}\n\n{tables(result)}\n"


def rows_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """One line for each system, payload and generator; `-` where it was not measured or not looked into.

    Requests are constant but for the samples; under `changing` each has its own headers and body.
    """
    head = ["Server", "Payload", "Load", *(f"req/s, {n} conn." for n in CONNECTIONS), "32, changing"]
    head += ["p50 / p99 ms, 1 conn.", "p50 / p99 ms, 32 conn.", "Wrong", "Failed"]
    lines = []
    for (name, payload, generator), same in groupby(rows, lambda r: (r["name"], r["payload"], r["generator"])):
        by = {(row["connections"], row["traffic"]): row for row in same}
        keys = [*((n, CONSTANT) for n in CONNECTIONS), (32, CHANGING)]
        rates = [f"{by[key]['requests_per_s']:,.0f}" if key in by else "-" for key in keys]
        latencies = [_latency(by.get((n, CONSTANT))) for n in (1, 32)]
        wrong = [row["wrong_answers"] for row in by.values() if row["wrong_answers"] is not None]
        failed = sum(row["failures"] for row in by.values())
        lines.append([name, payload, generator, *rates, *latencies, str(sum(wrong)) if wrong else "-", str(failed)])
    return to_markdown(of_lines(head, lines, words=3))


def thresholds_table(thresholds: Iterable[Mapping[str, Any]]) -> str:
    """What was demanded, what was measured, and whether that is enough."""
    lines: list[list[str | Cell]] = []
    for threshold in thresholds:
        sign = "at most" if threshold["at_most"] else "at least"
        bound = "-" if threshold["bound"] is None else f"{sign} {threshold['bound']:g}"
        unit = f" {threshold['unit']}" if threshold["unit"] else ""
        measured = "not measured"
        if threshold["median"] is not None:
            span = f"({threshold['lowest']:,.3f} to {threshold['highest']:,.3f})"
            measured = f"{threshold['median']:,.3f}{unit} {span}"
        met = {True: Cell("yes"), False: Cell("no", mark="bad"), None: Cell("-")}[threshold["met"]]
        lines.append([threshold["name"], bound, measured, met])
    return to_markdown(of_lines(["Threshold", "Bound", "Median (range of the rounds)", "Met"], lines, words=1))


def in_process_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The runtimes without any server."""
    lines = [
        [row["artifact"], str(row["batch_size"]), f"{row['latency_p50_ms'] * 1e3:,.0f}", f"{row['samples_per_s']:,.0f}"]
        for row in rows
    ]
    return to_markdown(of_lines(["In process", "Batch", "Run µs", "Samples/s"], lines, words=1))


def conditions(result: Mapping[str, Any]) -> str:
    """Where and how it was measured, in a sentence or two."""
    shares = [row["generator_share"] for row in result["systems"] if row["generator_share"] is not None]
    busiest = f"Our generator took at most {max(shares):.0%} of its core. " if shares else ""
    machine, pinned = result["environment"]["machine"], result["environment"]["pinning"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores; server on {pinned['server_cpus']}, load on "
        f"{pinned['client_cpus']}; {result['rounds']} rounds of {result['seconds']:g} s after "
        f"{result['warm_up_s']:g} s of warm-up, medians; commit {result['environment']['git_commit']}. "
        f"{busiest}{result['note']}"
    )


def _latency(row: Mapping[str, Any] | None) -> str:
    return f"{row['p50_ms']:.2f} / {row['p99_ms']:.2f}" if row else "-"
