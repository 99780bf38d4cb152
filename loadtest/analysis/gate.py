"""A gate for CI: has the candidate become worse than the baseline by more than a bound?

    python -m loadtest gate --baseline a.json --candidate b.json --max-regression 10%

Both are a `report.json`. Exits 1 on a significant regression beyond the bound, 0 on none, 2 where the input can't tell.
Compared are, for each endpoint that both have, throughput under the busiest closed loop and the median latency of a
single user, with the errors that the reports state: starts, blocks, and what the machine did to all endpoints alike.
All intervals hold together (Bonferroni: the figures of two reports have nothing to do with each other).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contract import StageError
from loadtest.analysis.family import ERROR_RATE, estimate
from loadtest.analysis.figures import Estimate
from loadtest.analysis.intervals import student_quantile
from loadtest.analysis.schema import Report


@dataclass(frozen=True)
class Pair:
    """One figure of one endpoint, before and after."""

    label: str
    baseline: Estimate
    candidate: Estimate
    higher_is_better: bool


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


def pair_up(baseline: Report, candidate: Report) -> list[Pair]:
    """What both reports have VALID figures of, with their errors; raises StageError where there is nothing."""
    before, after = _figures(baseline), _figures(candidate)
    gone = sorted({label.split(" ")[0] for label in before} - {label.split(" ")[0] for label in after})
    if gone:
        raise StageError(f"the candidate has no VALID figures of {', '.join(gone)}: measure both the same way")
    pairs = [Pair(label, before[label], after[label], "throughput_rps" in label) for label in before if label in after]
    if not pairs:
        raise StageError("no figure is VALID in both reports over two starts or more: `make loadtest PROFILE=quick`")
    return pairs


def _figures(report: Report) -> dict[str, Estimate]:
    """The figures that can be compared, by endpoint, scenario and name."""
    figures: dict[str, Estimate] = {}
    for endpoint in report.endpoints:
        for scenario, name in ((f"closed-{report.design.users}", "throughput_rps"), ("single_stream", "p50_ms")):
            point = endpoint.point(scenario)
            if point is None or point.validity == "INVALID" or len(point.starts) < 2:
                continue
            figure = point.throughput_rps if name == "throughput_rps" else point.p50_ms
            if figure is not None and figure.error is not None:
                figures[f"{endpoint.name} {scenario} {name}"] = figure
    return figures


def _change(pair: Pair, comparisons: int) -> Change:
    """Welch's interval of the ratio."""
    one, other = pair.baseline, pair.candidate
    variances = [(one.error or 0.0) ** 2, (other.error or 0.0) ** 2]
    parts = [variance**2 / (figure.degrees or 1.0) for variance, figure in zip(variances, (one, other), strict=True)]
    degrees = sum(variances) ** 2 / sum(parts)
    critical = student_quantile(1 - ERROR_RATE / 2 / comparisons, degrees)
    worse = math.log(other.value / one.value) * (-1 if pair.higher_is_better else 1)
    ratio = estimate(worse, math.sqrt(sum(variances)), degrees, critical)
    return Change(pair.label, ratio.low or 0.0, ratio.high or math.inf)


def main(words: Sequence[str]) -> int:
    """Print every figure's change and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m loadtest gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--baseline", type=Path, required=True, metavar="REPORT_JSON")
    parser.add_argument("--candidate", type=Path, required=True, metavar="REPORT_JSON")
    parser.add_argument("--max-regression", default="10%", help="the largest regression let through: 10%% or 0.1")
    options = parser.parse_args(words)
    try:
        bound = _share(options.max_regression)
        changes = judge(pair_up(Report.read(options.baseline), Report.read(options.candidate)))
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
