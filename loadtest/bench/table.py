"""The servers' benchmark as Markdown: the rows, the bars, and what they were measured on. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

CONNECTIONS = (1, 8, 32)


def tables(result: Mapping[str, Any]) -> str:
    """All of it."""
    parts = [rows_table(result["contenders"]), bars_table(result["bars"]), in_process_table(result["in_process"])]
    parts += [f"Not measured: {name} ({reason.splitlines()[0]})" for name, reason in result["missing"].items()]
    return "\n\n".join([*parts, conditions(result)])


def page(result: Mapping[str, Any]) -> str:
    """The page beside the result."""
    head = "# Our own servers, others, and the least code that can do it\n\n![requests per second](servers.svg)"
    told = "Made by `make bench-servers` from the rows in [servers.json](servers.json); every ratio is of one run."
    return f"{head}\n\n{told}\n\n{tables(result)}\n"


def rows_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """One line for each contender, payload and generator; `-` where it was not measured or not looked into."""
    head = ["Server", "Payload", "Load", *(f"req/s, {n} conn." for n in CONNECTIONS), "p50 / p99 ms, 1 conn."]
    lines = []
    for (name, payload, generator), same in groupby(rows, lambda r: (r["name"], r["payload"], r["generator"])):
        by = {row["connections"]: row for row in same}
        rates = [f"{by[n]['requests_per_s']:,.0f}" if n in by else "-" for n in CONNECTIONS]
        wrong = [row["wrong_answers"] for row in by.values() if row["wrong_answers"] is not None]
        failed = sum(row["failures"] for row in by.values())
        counts = [str(sum(wrong)) if wrong else "-", str(failed)]
        lines.append([name, payload, generator, *rates, _latency(by.get(1)), _latency(by.get(32)), *counts])
    return _markdown([*head, "p50 / p99 ms, 32 conn.", "Wrong", "Failed"], lines, left=3)


def bars_table(bars: Iterable[Mapping[str, Any]]) -> str:
    """What was demanded, what was found, and whether that is enough."""
    lines = []
    for bar in bars:
        sign = "at most" if bar["at_most"] else "at least"
        bound = "-" if bar["bound"] is None else f"{sign} {bar['bound']:g}"
        unit = f" {bar['unit']}" if bar["unit"] else ""
        found = "not measured"
        if bar["found"] is not None:
            found = f"{bar['found']:,.3f}{unit} ({bar['lowest']:,.3f} to {bar['highest']:,.3f})"
        met = {True: "yes", False: "**no**", None: "-"}[bar["met"]]
        lines.append([bar["name"], bound, found, met])
    return _markdown(["Bar", "Bound", "Found: median (range of the rounds)", "Met"], lines, left=1)


def in_process_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The runtimes without any server."""
    lines = [
        [row["artifact"], str(row["batch_size"]), f"{row['latency_p50_ms'] * 1e3:,.0f}", f"{row['samples_per_s']:,.0f}"]
        for row in rows
    ]
    return _markdown(["In process", "Batch", "Run µs", "Samples/s"], lines, left=1)


def conditions(result: Mapping[str, Any]) -> str:
    """Where and how it was measured, in a sentence or two."""
    shares = [row["generator_share"] for row in result["contenders"] if row["generator_share"] is not None]
    busiest = f"The own generator took at most {max(shares):.0%} of its core. " if shares else ""
    machine, pinned = result["environment"]["machine"], result["environment"]["pinning"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores; server on {pinned['server_cpus']}, load on "
        f"{pinned['client_cpus']}; {result['rounds']} rounds of {result['seconds']:g} s after "
        f"{result['warm_up_s']:g} s of warm-up, medians; commit {result['environment']['git_commit']}. "
        f"{busiest}{result['note']}"
    )


def _latency(row: Mapping[str, Any] | None) -> str:
    return f"{row['p50_ms']:.2f} / {row['p99_ms']:.2f}" if row else "-"


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]], left: int) -> str:
    rule = ["---" if index < left else "---:" for index in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
