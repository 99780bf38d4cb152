"""A gate for CI: has the candidate become worse than the baseline by more than a bound?

    python -m loadtest gate --baseline a.json --candidate b.json --max-regression 10%

Both are a `report.json`. Exits 1 on a significant regression beyond the bound, 0 on none, 2 where the input can't tell.
Compared are, for each endpoint that both have, throughput with 32 users (or the most there are) and the median latency
of a single user; each by Welch's interval on the logarithms of the rounds, all holding together at 99 % (Bonferroni).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract import StageError, shown
from loadtest.analysis.intervals import student_quantile
from loadtest.analysis.verdicts import ERROR_RATE, TINY_VARIANCE

FIGURES = {"throughput_rps": True, "p50_ms": False}
"""The figures compared, and whether more is better: throughput of closed scenarios, latency of the single user."""


@dataclass(frozen=True)
class Pair:
    """One figure of one endpoint, by round, before and after; `sign` is 1 where more is worse."""

    label: str
    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    sign: int


@dataclass(frozen=True)
class Change:
    """By which factor a figure has become worse: an interval; below 1 is an improvement."""

    label: str
    low: float
    high: float

    def verdict(self, bound: float) -> str:
        """`regression` beyond the bound, `worse` and `better` where significant, else `no difference seen`."""
        if self.low > 1 + bound:
            return "regression"
        if self.low > 1:
            return "worse"
        return "better" if self.high < 1 else "no difference seen"


def judge(pairs: Sequence[Pair]) -> list[Change]:
    """The interval of every figure's change, all holding together."""
    return [_change(pair, len(pairs)) for pair in pairs]


def pair_up(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[Pair]:
    """What both reports have VALID figures of, over at least two rounds; raises StageError where there is nothing."""
    before, after = _figures(baseline), _figures(candidate)
    gone = sorted({label.split(" ")[0] for label in before} - {label.split(" ")[0] for label in after})
    if gone:
        raise StageError(f"the candidate has no VALID figures of {', '.join(gone)}: measure both the same way")
    pairs = [Pair(label, before[label][0], after[label][0], before[label][1]) for label in before if label in after]
    if not pairs:
        raise StageError("no figure is VALID in both reports over two rounds or more: `make loadtest PROFILE=quick`")
    return pairs


def _figures(report: Mapping[str, Any]) -> dict[str, tuple[tuple[float, ...], int]]:
    found = {}
    for endpoint in report["endpoints"]:
        for point in endpoint["scenarios"]:
            name = "p50_ms" if point["name"] == "single_stream" else "throughput_rps"
            values = tuple(run[name] for run in point["runs"] if run[name])
            judged = point["name"] == "single_stream" or point["name"].startswith("closed-")
            if judged and point["validity"] == "VALID" and len(values) >= 2:
                found[f"{endpoint['name']} {point['name']} {name}"] = (values, -1 if FIGURES[name] else 1)
    return found


def _change(pair: Pair, comparisons: int) -> Change:
    """Welch's interval: the rounds of two reports have nothing to do with each other."""
    logs = [np.log(pair.baseline), np.log(pair.candidate)]
    parts = [max(float(values.var(ddof=1)), TINY_VARIANCE) / len(values) for values in logs]
    degrees = sum(parts) ** 2 / sum(part**2 / (len(v) - 1) for part, v in zip(parts, logs, strict=True))
    half = student_quantile(1 - ERROR_RATE / 2 / comparisons, degrees) * math.sqrt(sum(parts))
    middle = pair.sign * float(logs[1].mean() - logs[0].mean())
    return Change(pair.label, math.exp(max(middle - half, -700.0)), math.exp(min(middle + half, 700.0)))


def main(words: Sequence[str]) -> int:
    """Print every figure's change and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m loadtest gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--baseline", type=Path, required=True, metavar="REPORT_JSON")
    parser.add_argument("--candidate", type=Path, required=True, metavar="REPORT_JSON")
    parser.add_argument("--max-regression", default="10%", help="the largest regression let through: 10%% or 0.1")
    given = parser.parse_args(words)
    try:
        bound = _share(given.max_regression)
        changes = judge(pair_up(_read(given.baseline), _read(given.candidate)))
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    for change in changes:
        print(f"{change.verdict(bound):18}  {change.low:.3f} to {change.high:.3f} times worse  {change.label}")
    worse = [change.label for change in changes if change.verdict(bound) == "regression"]
    print(f"FAIL: {len(worse)} beyond {bound:.0%}: {', '.join(worse)}" if worse else f"PASS: none beyond {bound:.0%}")
    return 1 if worse else 0


def _share(text: str) -> float:
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise StageError(f"--max-regression {text!r} is no share: write 10% or 0.1")
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StageError(f"{shown(path)} can't be read ({error}): `make loadtest report` writes report.json") from None
    if not isinstance(found, dict) or "endpoints" not in found:
        raise StageError(f"{shown(path)} has no key `endpoints`, so it is no report: `make report` writes one")
    try:
        _figures(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise StageError(f"{shown(path)} is no report of this version ({error!r}): `make report` writes one") from None
    return found
