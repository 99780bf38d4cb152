"""The page that reads `docs/benchmarks/crosscheck.json` out: Markdown, with date, machine, figures and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def render(found: Mapping[str, Any]) -> str:
    """The page for what `make crosscheck` found."""
    machine, checks = found["environment"]["machine"], found["checks"]
    parts = [
        "# Is the instrument right?",
        f"Measured on {found['date'][:10]}, last with `{found['command']}`, on "
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
        f"intervals reach at most {widths[-1]:.1%} from no difference, half of them at most {_median(widths):.1%}."
    )


def _slowdown(check: Mapping[str, Any]) -> str:
    lines = ["| planted | found | needed | intervals of the ratio lie in |", "|---|---:|---:|---|"]
    for name, one in check["slowdowns"].items():
        needed = "all" if name == "+25%" else "9 of 10"
        span = f"{one['ratio_low']:.2f} to {one['ratio_high']:.2f}"
        lines.append(f"| {name} | {one['found']} of {one['comparisons']} | {needed} | {span} |")
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
            ours, theirs = (_median([run[f"{key}_ms"] for run in tools[tool]]) for tool in ("ours", "loadgen"))
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


def _wrk(check: Mapping[str, Any]) -> str:
    lines = ["| connections | ours, requests/s | wrk | off |", "|---:|---:|---:|---:|"]
    for users, one in check["users"].items():
        ours, theirs = _median(one["ours_rps"]), _median(one["wrk_rps"])
        lines.append(f"| {users} | {ours:,.0f} | {theirs:,.0f} | {one['off']:+.1%} |")
    return (
        "## (d) wrk\n\n"
        f"Closed loops on `{check['endpoint']}`, turn by turn; allowed are 15 %. With few "
        "connections the server waits for its clients, so that the work "
        "between an answer and the next request is part of the loop; wrk's is a few microseconds of C and looks into "
        "no answer, ours checks every one.\n\n" + "\n".join(lines)
    )


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


TITLES = {"aa": "(a) A/A", "slowdown": "(b) planted slowdown", "loadgen": "(c) MLPerf LoadGen", "wrk": "(d) wrk"}
_SECTIONS = {"aa": _aa, "slowdown": _slowdown, "loadgen": _loadgen, "wrk": _wrk}
