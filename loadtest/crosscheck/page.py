"""The page that reads `docs/benchmarks/crosscheck.json` out: Markdown, with date, machine, figures and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from loadtest.table import Cell, of_lines, to_markdown


def render(result: Mapping[str, Any]) -> str:
    """The page for what `make crosscheck` found."""
    machine, checks = result["environment"]["machine"], result["checks"]
    parts = [
        "# Is the instrument right?",
        f"Measured on {result['date'][:10]}, last with `{result['command']}`, on "
        f"{machine['cores']} cores of {machine['cpu']}, {machine['kernel']}, Python {machine['python']}. The figures "
        "are in [crosscheck.json](crosscheck.json); `make crosscheck` makes them again and writes this page.",
        _summary(checks),
        *(_SECTIONS[_kind(key)](key, check) for key, check in checks.items() if check["outcome"] != "not made"),
    ]
    return "\n\n".join(parts) + "\n"


def title(key: str) -> str:
    """The name of a check: `(a) A/A, quick`."""
    profile = key.partition("-")[2]
    return f"{_TITLES[_kind(key)]}, {profile}" if profile else _TITLES[_kind(key)]


def is_known(key: str) -> bool:
    """Whether a result's check is one of this version."""
    return _kind(key) in _TITLES and (_kind(key) in ("loadgen", "clients")) == ("-" not in key)


def _kind(key: str) -> str:
    return key.partition("-")[0]


def _summary(checks: Mapping[str, Any]) -> str:
    lines = []
    for key, check in checks.items():
        made = f"{check['date'][:16].replace('T', ' ')}, {str(check['git_commit'])[:7]}"
        outcome = Cell(check["outcome"], mark="" if check["outcome"] == "pass" else "bad")
        lines.append((title(key), outcome, check["text"], made))
    return to_markdown(of_lines(("check", "outcome", "found", "when, commit"), lines, words=4))


def _aa(key: str, check: Mapping[str, Any]) -> str:
    widths = ", ".join(f"{name} ±{width:.1%}" for name, width in check["half_widths"].items())
    return (
        f"## {title(key)}\n\n"
        f"One comparison of `{check['endpoint']}` under {check['names']} names: {len(check['false_differences'])} of "
        f"{check['pairs']} pairs show a difference, at most one in a hundred may. Median half-widths of the intervals: "
        f"{widths}."
    )


def _slowdown(key: str, check: Mapping[str, Any]) -> str:
    head = ("planted", "question", "found", "times as slow, median", "intervals lie in")
    lines = []
    for row in check["slowdowns"]:
        span = f"{row['lowest']:.2f} to {row['highest']:.2f}" if row["pairs"] else "-"
        ratio = f"{row['times_as_slow']:.2f}" if row["pairs"] else "-"
        found = f"{row['found']} of {row['pairs']}"
        lines.append((f"+{row['slowdown']:.0%}", row["question"], found, ratio, span))
    return (
        f"## {title(key)}\n\n"
        f"Null servers that keep the processor busy for {check['service_ms']:g} ms on every request, and others that "
        f"do so for longer; a slowdown of {check['must_find']:.0%} and more has to be found in nine of ten pairs. "
        f"{len(check['false_differences'])} of {check['equal_pairs']} pairs of equal servers show a difference. A "
        "ratio above 1 is slower, for throughput as for latency.\n\n" + to_markdown(of_lines(head, lines, words=2))
    )


def _default(key: str, check: Mapping[str, Any]) -> str:
    lines = []
    for question, width in check["half_widths"].items():
        bound = check["bounds"].get(question)
        lines.append((f"median half-width, {question}", f"±{width:.1%}", f"±{bound:.0%}" if bound else "-"))
    limit = f"{check['time_limit_s']:.0f} s" if check["time_limit_s"] else "-"
    lines.append(("points INVALID", f"{check['invalid']} of {check['points']}", "5"))
    lines.append(("time", f"{check['seconds']:.0f} s", limit))
    head = f"The default comparison of {check['endpoints']} endpoints; half-widths are of all pairs."
    return f"## {title(key)}\n\n{head}\n\n" + to_markdown(of_lines(("figure", "found", "bound"), lines))


def _loadgen(key: str, check: Mapping[str, Any]) -> str:
    head = ("scenario", "p50 ours, ms", "p50 LoadGen", "off", "p99 ours", "p99 LoadGen", "off")
    lines = []
    for name, tools in check["figures"].items():
        cells = [name]
        for figure in ("p50", "p99"):
            ours, theirs = (median([run[f"{figure}_ms"] for run in tools[tool]]) for tool in ("ours", "loadgen"))
            cells += [f"{ours:.3f}", f"{theirs:.3f}", f"{check['off'][name][figure]:+.1%}"]
        lines.append(cells)
    return (
        f"## {title(key)}\n\n"
        f"LoadGen's SingleStream and Server scenario (Poisson, {check['rate_rps']:g} queries per second) and our "
        f"`single_stream` and `open` on `{check['endpoint']}`, turn by turn, {check['repeats']} times "
        f"{check['seconds']:g} s; medians over the repeats, and how far ours is off by the median ratio of "
        "neighbouring turns. LoadGen keeps its own clock and computes its own "
        "percentiles; allowed are 10 % at p50 and 15 % at p99.\n\n" + to_markdown(of_lines(head, lines))
    )


def _clients(key: str, check: Mapping[str, Any]) -> str:
    head = ("endpoint", "client", "answers/s ours", "theirs", "off by", "p50 ours, ms", "theirs", "off by")
    lines = []
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
        lines.append(cells)
    return (
        f"## {title(key)}\n\n"
        f"wrk over REST and h2load over gRPC, {check['connections']} connections in a closed loop, {check['repeats']} "
        f"turns of {check['seconds']:g} s each, in turn with ours at the same endpoint and with the same requests. "
        "Medians; the differences are of neighbouring turns, with 95 % intervals; allowed are "
        f"{check['bound']:.0%} on answers per second. The other clients are C and look into no answer; ours checks "
        "every one, and the work between an answer and the next request is part of a closed loop.\n\n"
        + to_markdown(of_lines(head, lines, words=2))
    )


_TITLES = {
    "aa": "(a) one endpoint under ten names",
    "slowdown": "(b) planted slowdowns",
    "default": "(c) the default comparison",
    "loadgen": "(d) MLPerf LoadGen",
    "clients": "(e) wrk and h2load",
}
_SECTIONS = {"aa": _aa, "slowdown": _slowdown, "default": _default, "loadgen": _loadgen, "clients": _clients}
