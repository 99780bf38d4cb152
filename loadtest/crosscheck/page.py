"""The page that reads `docs/benchmarks/crosscheck.json` out: Markdown, with date, machine, figures and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any


def render(result: Mapping[str, Any]) -> str:
    """The page for what `make crosscheck` found."""
    machine, checks = result["environment"]["machine"], result["checks"]
    parts = [
        "# Is the instrument right?",
        f"Measured on {result['date'][:10]}, last with `{result['command']}`, on "
        f"{machine['cores']} cores of {machine['cpu']}, {machine['kernel']}, Python {machine['python']}. The figures "
        "are in [crosscheck.json](crosscheck.json); `make crosscheck` makes them again and writes this page.",
        _summary(checks),
        *(_SECTIONS[key](check) for key, check in checks.items() if check["outcome"] != "not made"),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(checks: Mapping[str, Any]) -> str:
    lines = ["| check | outcome | found | when, commit |", "|---|---|---|---|"]
    for key, check in checks.items():
        made = f"{check['date'][:16].replace('T', ' ')}, {str(check['git_commit'])[:7]}"
        lines.append(f"| {TITLES[key]} | **{check['outcome']}** | {check['text']} | {made} |")
    return "\n".join(lines)


def _aa(check: Mapping[str, Any]) -> str:
    widths = sorted(max(v["ratio_high"] - 1, 1 - v["ratio_low"]) for verdicts in check["verdicts"] for v in verdicts)
    return (
        "## (a) The same endpoint under two names\n\n"
        f"{check['comparisons']} comparisons of `{check['endpoint']}` with itself, {check['rounds']} rounds each in "
        "random order, the server started anew for every comparison; judged by throughput with 32 users and by the "
        f"median latency of one user. {check['false_differences']} saw a difference; at most one in twenty may. The "
        f"intervals reach at most {widths[-1]:.1%} from no difference, half of them at most {median(widths):.1%}."
    )


def _slowdown(check: Mapping[str, Any]) -> str:
    lines = ["| planted | found | needed | intervals of the ratio lie in |", "|---|---:|---:|---|"]
    for name, slowdown in check["slowdowns"].items():
        needed = "all" if name == "+25%" else "9 of 10"
        span = f"{slowdown['ratio_low']:.2f} to {slowdown['ratio_high']:.2f}"
        lines.append(f"| {name} | {slowdown['found']} of {slowdown['comparisons']} | {needed} | {span} |")
    return (
        "## (b) A planted slowdown\n\n"
        f"Two null servers that keep the processor busy for {check['service_ms']:g} ms on every request, one of "
        f"them for longer, started anew for each of {check['rounds']} rounds.\n\n" + "\n".join(lines)
    )


def _loadgen(check: Mapping[str, Any]) -> str:
    lines = [
        "| scenario | p50 ours, ms | p50 LoadGen | off | p99 ours | p99 LoadGen | off |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, tools in check["figures"].items():
        cells = [name]
        for key in ("p50", "p99"):
            ours, theirs = (median([run[f"{key}_ms"] for run in tools[tool]]) for tool in ("ours", "loadgen"))
            cells += [f"{ours:.3f}", f"{theirs:.3f}", f"{check['off'][name][key]:+.1%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return (
        "## (c) MLPerf LoadGen\n\n"
        f"LoadGen's SingleStream and Server scenario (Poisson, {check['rate_rps']:g} queries per second) and our "
        f"`single_stream` and `open` on `{check['endpoint']}`, turn by turn, {check['repeats']} times "
        f"{check['seconds']:g} s; medians over the repeats, and how far ours is off by the median ratio of "
        "neighbouring turns. LoadGen keeps its own clock and computes its own "
        "percentiles; allowed are 10 % at p50 and 15 % at p99.\n\n" + "\n".join(lines)
    )


def _clients(check: Mapping[str, Any]) -> str:
    lines = [
        "| endpoint | client | answers/s ours | theirs | ours is off by | p50 ours, ms | theirs | ours is off by |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, side in check["endpoints"].items():
        cells = [name, side["client"]]
        for figure, form in (("requests_per_s", ",.0f"), ("p50_ms", ".3f")):
            tools = ("ours", side["client"])
            ours, theirs = (median(row[figure] for row in side["measurements"][tool]) for tool in tools)
            off = side["differences"][figure]
            cells += [
                f"{ours:{form}}",
                f"{theirs:{form}}",
                f"{off['mean']:+.1%} ({off['low']:+.1%} to {off['high']:+.1%})",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return (
        "## (d) Clients that we didn't write\n\n"
        f"wrk over REST and h2load over gRPC, {check['connections']} connections in a closed loop, {check['repeats']} "
        f"turns of {check['seconds']:g} s each, in turn with ours at the same endpoint and with the same requests. "
        "Medians; the differences are of neighbouring turns, with 95 % intervals; allowed are "
        f"{check['bound']:.0%} on answers per second. The other clients are C and look into no answer; ours checks "
        "every one, and the work between an answer and the next request is part of a closed loop.\n\n"
        + "\n".join(lines)
    )


TITLES = {
    "aa": "(a) A/A",
    "slowdown": "(b) planted slowdown",
    "loadgen": "(c) MLPerf LoadGen",
    "clients": "(d) wrk, h2load",
}
_SECTIONS = {"aa": _aa, "slowdown": _slowdown, "loadgen": _loadgen, "clients": _clients}
