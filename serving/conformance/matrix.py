"""Prints verdicts: a line an endpoint, then a matrix of cases by endpoint."""

from __future__ import annotations

from collections.abc import Sequence

from serving.conformance.case import LEVELS, brief
from serving.conformance.runner import Result, Verdict

SIGNS = {"pass": "ok", "fail": "FAIL", "observed": "seen", "not applicable": "-"}


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many cases of each level every endpoint passes."""
    rows: list[tuple[str, ...]] = [("endpoint", "engine", "API", "MUST", "SHOULD", "observed", "not applicable")]
    for verdict in verdicts:
        scores = (f"{verdict.count(level, 'pass')}/{verdict.count(level)}" for level in LEVELS[:2])
        absent = sum(case.outcome == "not applicable" for case in verdict.cases)
        seen = verdict.count("REPORT", "observed")
        rows.append((verdict.endpoint, verdict.engine or "?", verdict.api, *scores, str(seen), str(absent)))
    notes = [f"{verdict.endpoint}: {note}" for verdict in verdicts for note in verdict.notes]
    return "\n".join([*_aligned(rows), *notes])


def matrix(verdicts: Sequence[Verdict], *, failures_only: bool = False) -> str:
    """Every case as a row with a column for each endpoint, what failed or was looked at below."""
    parts = []
    for api in dict.fromkeys(verdict.api for verdict in verdicts):
        chosen = [verdict for verdict in verdicts if verdict.api == api]
        parts.append("\n".join(_of_api(api, chosen, failures_only)))
    return "\n\n".join(parts)


def _of_api(api: str, verdicts: Sequence[Verdict], failures_only: bool) -> list[str]:
    by_name = [{case.name: case for case in verdict.cases} for verdict in verdicts]
    cases = {case.name: case for verdict in verdicts for case in verdict.cases}
    if failures_only:
        cases = {n: c for n, c in cases.items() if any(f.get(n) and f[n].outcome == "fail" for f in by_name)}
    letters = [f"({place})" for place in range(1, len(verdicts) + 1)]
    lines = [f"{api}: " + ", ".join(f"{letter} {v.endpoint}" for letter, v in zip(letters, verdicts, strict=True))]
    if not cases:
        return [*lines, "no case failed"]
    rows = [("level", *letters, "case")]
    rows += [
        (c.level, *(SIGNS[_in(results, name)] for results in by_name), brief(name, 110)) for name, c in cases.items()
    ]
    lines += _aligned(rows)
    for letter, results in zip(letters, by_name, strict=True):
        shown = [case for case in results.values() if case.name in cases and case.outcome in ("fail", "observed")]
        lines += [_line(letter, case) for case in shown if case.outcome == "fail" or not failures_only]
    return lines


def _in(results: dict[str, Result], name: str) -> str:
    return results[name].outcome if name in results else "not applicable"


def _line(letter: str, case: Result) -> str:
    source = f" [{case.source}]" if case.outcome == "fail" else ""
    return f"  {letter} {SIGNS[case.outcome]:4} {case.level}: {case.name}: {case.observed}{source}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
